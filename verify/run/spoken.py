"""What is wrong with the texts and scores of the bundled clips, from the figures that `speech` leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from env.language import Message, _
from env.toml import load_toml
from verify.run.figures.speech import ScoreFigures, SpeechFigures, TranscriptFigures

LIMITS = Path(__file__).parents[1] / "speech" / "limits.toml"
ALL = "all"  # the name of the whole among the scores by language


@cache
def table() -> dict[str, Any]:
    """limits.toml: how far the texts may be from what is known of the checkpoint."""
    return load_toml(LIMITS)


def implausible(texts: Sequence[TranscriptFigures]) -> list[Message]:
    """What no trained model does with clear recordings, whatever its weights: most of them give no text, or one that
    does not end.
    """
    most = len(texts) * table()["plausible"]["at_most"]
    silent = sum(text.hypothesis is not None and not text.hypothesis.strip() for text in texts)
    endless = sum(text.endless for text in texts)
    problems: list[Message] = []
    if silent > most:
        problems.append(_("{count} of {all} recordings give no text", count=silent, all=len(texts)))
    if endless > most:
        problems.append(_("{count} of {all} recordings give a text that does not end", count=endless, all=len(texts)))
    return problems


def judge(figures: SpeechFigures) -> list[Message]:
    """What is wrong with the scores. A rate is too high when its whole 95 % interval is above the limit."""
    problems: list[Message] = [_("{clip}: {error}", clip=clip.key, error=clip.error) for clip in figures.failed]
    wer = figures.transcription[ALL].wer if ALL in figures.transcription else None
    english = f"{ALL}-en"
    bleu = figures.translation[english].bleu if english in figures.translation else None
    ceiling, floor = figures.limits.wer_at_most, figures.limits.bleu_at_least
    if wer is not None and ceiling is not UNSET and _end(wer, wer.low) > ceiling:
        problems.append(_("WER {wer:.1f} % is above {limit:.1f} %", wer=wer.value, limit=ceiling))
    if bleu is not None and floor is not UNSET and _end(bleu, bleu.high) < floor:
        problems.append(_("BLEU {bleu:.1f} is below {limit:.1f}", bleu=bleu.value, limit=floor))
    agreement, least = figures.agreement, figures.limits.agreement_at_least
    if agreement is not None and least is not UNSET and agreement.same < least * agreement.of:
        problems.append(
            _(
                "{same} of {all} texts are the CPU's, {share:.0%} needed",
                same=agreement.same,
                all=agreement.of,
                share=least,
            )
        )
    if figures.held_out is None:
        problems += implausible(figures.transcripts)
    return problems


def _end(score: ScoreFigures, end: float | None) -> float:
    """An end of the score's interval; without one, of a single utterance, the score itself.

    Raises:
        ValueError: the score is undefined.
    """
    value = score.value if end is None else end
    if value is None:
        raise ValueError("an undefined score cannot be judged")
    return value


def problems(figures: SpeechFigures, dtype: str | None) -> Iterator[str]:
    """What keeps a record of `speech` from having passed: judged by the limits that ship, and against its own texts."""
    yield from judge(_tightened(figures, dtype))
    for text in figures.transcripts:
        if text.correct is not (text.hypothesis == text.reference):
            yield _("{clip}: whether its text is right is not so", clip=text.clip)
    if figures.agreement is not None:
        same = sum(text.hypothesis == text.cpu for text in figures.transcripts)
        if (figures.agreement.same, figures.agreement.of) != (same, len(figures.transcripts)):
            yield _("{same} of {all} texts are the CPU's", same=same, all=len(figures.transcripts))
    for name, scores in figures.transcription.items():
        if not _counted(scores.wer):
            yield _("{name}: the word error rate is not that of its counts", name=name)


def _tightened(figures: SpeechFigures, dtype: str | None) -> SpeechFigures:
    """The figures with no limit wider than this version's."""
    limits: dict[str, float] = {}
    ours, own = table(), figures.limits
    if figures.held_out is not None:
        ceiling = figures.held_out.wer + ours["word_error_rate"]["points"]
        floor = figures.held_out.bleu - ours["bleu"]["points"]
        limits["wer_at_most"] = ceiling if own.wer_at_most is UNSET else min(own.wer_at_most, ceiling)
        limits["bleu_at_least"] = floor if own.bleu_at_least is UNSET else max(own.bleu_at_least, floor)
    if figures.agreement is not None and dtype in ours["agreement"]:
        least = ours["agreement"][dtype]
        limits["agreement_at_least"] = least if own.agreement_at_least is UNSET else max(own.agreement_at_least, least)
    return structs.replace(figures, limits=structs.replace(own, **limits))


def _counted(score: ScoreFigures) -> bool:
    """Whether a word error rate is that of its own counts, within what JSON keeps."""
    if score.value is None or not score.counts:
        return True
    hits, errors = (
        sum(score.counts.get(name, 0) for name in names)
        for names in (("hits",), ("substitutions", "deletions", "insertions"))
    )
    units = hits + score.counts.get("substitutions", 0) + score.counts.get("deletions", 0)
    return not units or abs(score.value - 100 * errors / units) < 1e-6
