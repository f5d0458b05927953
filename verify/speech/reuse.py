"""Which texts of an earlier run stand: those of the same audio, the same piece of it and the same prompt.

Weights, settings and versions are in the header, which is compared whole (transcripts.check_header). A name is no
evidence: two manifests may name their recordings alike, and a recording may be replaced under its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from env.digest import file_sha256
from env.language import Message, _
from model.prompts import Prompt
from model.windows import UNSPACED_LANGUAGES
from verify.speech.manifest import Utterance
from verify.speech.transcripts import Line

FAILED = _("failed before")
UNKNOWN = _("the earlier run did not keep what it was made of")
AUDIO = _("the recording is another one now")
PIECE = _("another segment or channel of the recording")
PROMPT = _("another prompt")
JOINED = _("a language whose windows are joined in another way")


@dataclass(frozen=True)
class Standing:
    """The earlier lines that stand, by key; and why each other one is made again."""

    lines: Mapping[str, Line] = field(default_factory=dict)
    again: Mapping[str, str] = field(default_factory=dict)

    def reasons(self) -> list[Message]:
        """How many are made again for each reason; those that failed are not told, they have a line of their own."""
        counted = Counter(reason for reason in self.again.values() if reason != FAILED)
        return [_("{count}: {reason}", count=count, reason=Message(reason)) for reason, count in counted.items()]


class Digests:
    """SHA-256 of recordings, each read once, since many segments are of one file; again where it was changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int, int, int], str] = {}

    def of(self, path: Path) -> str | None:
        """None for a file that cannot be read."""
        try:
            state = path.stat()
            key = (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
            if key not in self._known:
                self._known[key] = file_sha256(path)
            return self._known[key]
        except OSError:
            return None


def judge(
    utterances: Iterable[Utterance],
    earlier: Mapping[str, Line],
    prompt_of: Callable[[Utterance], Prompt],
    digests: Digests,
) -> Standing:
    """Hold each earlier line against what would be transcribed now."""
    lines: dict[str, Line] = {}
    again: dict[str, str] = {}
    for utterance in utterances:
        line = earlier.get(utterance.key)
        if line is None:
            continue
        reason = _difference(line, utterance, prompt_of(utterance), digests)
        if reason is None:
            lines[utterance.key] = line
        else:
            again[utterance.key] = str(reason)
    return Standing(lines, again)


def _difference(line: Line, utterance: Utterance, prompt: Prompt, digests: Digests) -> Message | None:
    """Why a line is not the text of an utterance; the file is read last."""
    if line.error is not None:
        return FAILED
    if line.prompt is None or line.audio_sha256 is None:
        return UNKNOWN
    piece = utterance.piece
    if (line.offset, line.span, line.channels) != (piece.start, piece.seconds, piece.channels):
        return PIECE
    if line.prompt != prompt.content:
        return PROMPT
    before = line.language if line.target is None else line.target
    if (before in UNSPACED_LANGUAGES) != (prompt.output_language in UNSPACED_LANGUAGES):
        return JOINED
    return None if digests.of(utterance.path) == line.audio_sha256 else AUDIO


def together(parts: Iterable[Standing]) -> Standing:
    """What several processes have judged, each its share."""
    lines: dict[str, Line] = {}
    again: dict[str, str] = {}
    for part in parts:
        lines.update(part.lines)
        again.update(part.again)
    return Standing(lines, again)
