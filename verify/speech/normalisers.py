"""Text normalisers for scoring: Whisper's, the Open ASR Leaderboard's, or none.

In languages written without spaces every character counts as a word, so that WER is the character error rate
(Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", appendix C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from env.errors import UsageError
from env.language import _
from model.signature import Signature
from model.windows import UNSPACED_LANGUAGES
from verify.speech import leaderboard, whisper_normalisers
from verify.speech.spelling import NONE, Spelling, from_file, installed
from verify.speech.whisper_normalisers import version

NAMES = ("whisper", "basic", "leaderboard", "none")


@dataclass(frozen=True)
class Normaliser:
    """Turns texts into what is compared. `spelling` maps British to American spelling, for English alone."""

    name: str
    spelling: Spelling = NONE
    folder: Path | None = None  # the leaderboard's checkout

    @property
    def signature(self) -> Signature:
        """The fields `normaliser` and, where it counts, `spelling`."""
        if self.name == "none":
            return Signature(normaliser="none")
        if self.folder is not None:
            return Signature(normaliser=f"leaderboard.{leaderboard.digest(self.folder)}")
        name = f"{self.name}.transformers-{version('transformers')}"
        if self.name != "whisper":
            return Signature(normaliser=name)
        return Signature(normaliser=name, spelling=self.spelling.signature)

    def words(self, text: str, language: str | None) -> str:
        """The text as words with single spaces; in languages of `UNSPACED_LANGUAGES` each character is a word."""
        return self.both(text, language)[0]

    def characters(self, text: str, language: str | None) -> str:
        """The text whose characters are compared; without spaces in languages of `UNSPACED_LANGUAGES`."""
        return self.both(text, language)[1]

    def both(self, text: str, language: str | None) -> tuple[str, str]:
        """What `words` and `characters` give: in most languages one text, made once."""
        if self.name == "none":
            return text, text
        words = " ".join(self._normalise(language)(text).split())
        if language not in UNSPACED_LANGUAGES:
            return words, words
        if self.folder is not None:
            whole = "".join(words.split())
            return " ".join(whole), whole
        return words, "".join(_basic(split_letters=False)(text).split())

    def _normalise(self, language: str | None) -> Callable[[str], str]:
        if self.folder is not None:
            english = language == "en"
            return leaderboard.english(self.folder) if english else leaderboard.other(self.folder, language)
        if self.name == "whisper" and language == "en":
            return _english(tuple(sorted(self.spelling.words.items())))
        return _basic(split_letters=language in UNSPACED_LANGUAGES)


@cache
def _basic(*, split_letters: bool) -> Callable[[str], str]:
    return whisper_normalisers.basic(split_letters=split_letters)


@cache
def _english(spelling: tuple[tuple[str, str], ...]) -> Callable[[str], str]:
    return whisper_normalisers.english(dict(spelling))


def load(name: str, spelling: Path | None = None, folder: Path | None = None) -> Normaliser:
    """The normaliser `name`, one of `NAMES`.

    `spelling` is a file with a map of British to American words; without it, the one that is installed is used. Without
    any, "colour" and "color" differ, and the signature says so. `folder` is the leaderboard's checkout.

    Raises:
        InputError: the spelling file is no such map.
        UsageError: an option belongs to another normaliser, or is lacking.
    """
    if name not in NAMES:
        raise ValueError(f"{name}: no such normaliser")
    if spelling is not None and name != "whisper":
        raise UsageError(
            _("--spelling is for --normaliser whisper"), why=_("{name} uses no map", name=name), next="--help"
        )
    if (folder is not None) != (name == "leaderboard"):
        raise UsageError(
            _("--normaliser leaderboard and --leaderboard DIR go together"),
            why=_("it is run from a checkout of the leaderboard's repository"),
            next=leaderboard.CLONE,
        )
    if name != "whisper":
        return Normaliser(name, folder=folder)
    return Normaliser(name, installed() if spelling is None else from_file(spelling))
