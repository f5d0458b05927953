"""The tags that granite_speech_plus writes into a text: turns of speakers, and the times at which words end.

    [Speaker 1]: hello how are you [Speaker 2]: i'm fine
    hello [T:45] world [T:82] _ [T:130]

As docs/source/en/model_doc/granite_speech_plus.md of transformers 5.9.0 reads them, and the model card defines them:
speakers are numbered as they appear; N of [T:N] is the end of the word before it in hundredths of a second, its last
three digits alone, so that it begins again every ten seconds; a silence is a word _ with an end of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from env.language import Message, _
from model.alignment import Word
from model.prompts import SPEAKERS, TIMESTAMPS

ROLLOVER = 10.0  # seconds: the tag is modulo 1000
SILENCE = "_"
TOLERANCE = 1.0  # seconds beyond the recording's end at which times are no longer believed
_SPEAKER = re.compile(r"\[(Speaker \d+)\]:?")
_TIME = re.compile(r"\[T:(\d{1,3})\]")  # no longer number: times would roll over to it without an end


@dataclass(frozen=True)
class Turn:
    """What one speaker says until the next one does; `speaker` is None of text before the first tag."""

    speaker: str | None
    text: str

    def __str__(self) -> str:
        return self.text if self.speaker is None else f"[{self.speaker}]: {self.text}"


@dataclass(frozen=True)
class Untagged:
    """A text without its tags, and what they said; `notes` say what could not be read of them."""

    text: str
    turns: tuple[Turn, ...] = ()
    words: tuple[Word, ...] = ()
    notes: tuple[Message, ...] = ()


def read(text: str, task: str, seconds: float) -> Untagged:
    """The text of `task` for a window of `seconds`: of other tasks than those with tags it is left as it is."""
    if task == SPEAKERS:
        return _turns(text)
    if task == TIMESTAMPS:
        return _times(text, seconds)
    return Untagged(text)


def _turns(text: str) -> Untagged:
    before, *parts = _SPEAKER.split(text)
    pairs = [(None, before), *zip(parts[::2], parts[1::2], strict=True)]
    turns = tuple(Turn(speaker, " ".join(spoken.split())) for speaker, spoken in pairs if spoken.strip())
    plain = " ".join(turn.text for turn in turns)
    if not parts and plain:
        return Untagged(plain, notes=(_("no speaker is named in the text"),))
    return Untagged(plain, turns)


def _times(text: str, seconds: float) -> Untagged:
    """Words with the end that the tag after them has, and the beginning where the one before, or a silence, ends."""
    parts = _TIME.split(text)
    plain = " ".join(word for word in " ".join(parts[::2]).split() if word != SILENCE)
    if len(parts) == 1:
        return Untagged(plain, notes=(_("no times are in the text"),) if plain else ())
    words: list[Word] = []
    start = rolled = 0.0
    for said, tag in zip(parts[::2], parts[1::2], strict=False):
        end = int(tag) / 100
        while end + rolled < start:
            rolled += ROLLOVER
        end = round(end + rolled, 2)
        spoken = " ".join(word for word in said.split() if word != SILENCE)
        if spoken:
            words.append(Word(start, end, spoken))
        start = end
    if start > seconds + TOLERANCE:
        late = _("its times go on to {end:.1f} s of {seconds:.1f}: they are not used", end=start, seconds=seconds)
        return Untagged(plain, notes=(late,))
    untimed = parts[-1].split()
    words += [Word(start, start, word) for word in untimed if word != SILENCE]  # cut off before its tag
    return Untagged(plain, words=tuple(words))
