"""Figures of recordings: texts, and the scores that are made of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from env.language import Message
from verify.reference.figures import Count, Figures, Name, Positive, Share, Size
from verify.run.figures.words import WordsFigures

_SOURCES = {name: ["sources"] for name in ("wer_at_most", "bleu_at_least", "agreement_at_least")}


class TranscriptFigures(Figures, frozen=True, kw_only=True):
    """One recording and its text. `target` is the language that it was to be translated into."""

    clip: Name
    audio_sha256: str | None
    language: Name
    target: str | None
    reference: str
    hypothesis: str | None
    ctc: str | None = None  # what the CTC head alone reads
    cpu: str | None  # the text of the same weights on a CPU, where it is known
    correct: bool
    endless: bool = False  # the model did not end it


class ScoreFigures(Figures, frozen=True, kw_only=True):
    """A score with its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: Count
    signature: Name
    counts: dict[str, Count]


class TranscriptionScores(Figures, frozen=True, kw_only=True):
    """Percent."""

    wer: ScoreFigures
    cer: ScoreFigures
    accuracy: ScoreFigures


class TranslationScores(Figures, frozen=True, kw_only=True):
    """As sacrebleu has them."""

    bleu: ScoreFigures
    chrf: ScoreFigures


class FailedClip(Figures, frozen=True, kw_only=True):
    """A recording without a text."""

    key: str
    error: Message


class ClipNotes(Figures, frozen=True, kw_only=True):
    """What is to be known of a recording's text."""

    key: str
    notes: Annotated[list[Message], Meta(min_length=1)]


class HeldOutFigures(Figures, frozen=True, kw_only=True):
    """What the checkpoint scored on its held-out clips when it was trained."""

    wer: Size
    bleu: Size


class CpuAgreement(Figures, frozen=True, kw_only=True):
    """Texts that are those of a CPU; `differ` names the others."""

    same: Count
    of: Positive
    differ: list[str]


class SpeechLimits(Figures, frozen=True, kw_only=True):
    """The limits that apply; none to weights of which nothing is known."""

    wer_at_most: float | UnsetType = UNSET
    bleu_at_least: float | UnsetType = UNSET
    agreement_at_least: Share | UnsetType = UNSET
    sources: dict[str, Name] | UnsetType = UNSET


class SpeechFigures(Figures, frozen=True, kw_only=True):
    """Of `speech`. Scores are by language, or by pair of languages; "all" is the whole."""

    transcripts: Annotated[list[TranscriptFigures], Meta(min_length=1)]
    transcription: dict[str, TranscriptionScores]
    translation: dict[str, TranslationScores]
    rtfx: ScoreFigures  # seconds of audio over seconds of processing
    utterances: Positive
    failed: list[FailedClip]
    notes: list[ClipNotes]
    held_out: HeldOutFigures | None
    agreement: CpuAgreement | None
    limits: Annotated[SpeechLimits, Meta(extra_json_schema={"dependentRequired": _SOURCES})]
    words: WordsFigures | None = None  # against the reference's texts, where no scores are known
