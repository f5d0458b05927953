"""What is wrong with the texts and scores of the bundled clips, from the figures that `speech` leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from env.language import Message, _
from env.toml import load_toml
from verify.reference import bounds
from verify.reference.figures import Bound
from verify.run.figures.speech import ScoreFigures, SpeechFigures, TranscriptFigures
from verify.run.figures.words import DistanceFigures, WordsFigures

LIMITS = Path(__file__).parents[1] / "speech" / "limits.toml"
LOGITS = "out of GraniteSpeechForConditionalGeneration"  # their kind in bounds.toml
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
    if figures.words is not None:
        problems += of_words(figures.words)
    return problems


def of_words(figures: WordsFigures) -> list[Message]:
    """Every clip whose text or scores are not the reference's, as far as arithmetic decides them."""
    return [
        _("{clip}: {problem}", clip=row.clip, problem=problem)
        for row in figures.rows
        for problem in row.problems(figures.expected.rel_l2)
    ]


def words_bound(arithmetic: str, dtype: str, noise: tuple[float, float]) -> Bound:
    """How far the scores of any step of a clip may be from the reference's, by the noise of ideal devices on the clips.

    Raises:
        KeyError: the table has nothing for the dtype.
    """
    return bounds.bound(arithmetic, dtype, bounds.END_TO_END, LOGITS, noise)


def _end(score: ScoreFigures, end: float | None) -> float:
    """An end of the score's interval; without one, of a single utterance, the score itself.

    Raises:
        ValueError: the score is undefined.
    """
    value = score.value if end is None else end
    if value is None:
        raise ValueError("an undefined score cannot be judged")
    return value


def problems(figures: SpeechFigures, dtype: str | None, arithmetic: str = "cpu") -> Iterator[str]:
    """What keeps a record of `speech` from having passed: judged by the limits that ship, and against its own texts."""
    yield from judge(_tightened(figures, dtype))
    if figures.words is not None:
        yield from _contradicted(figures.words, dtype, arithmetic)
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


def _contradicted(figures: WordsFigures, dtype: str | None, arithmetic: str) -> Iterator[str]:
    """What in the figures of texts denies that they passed: a bound wider than its noise, choices that are missing,
    texts that are not what their tokens say, a distance that is not that of its counts.
    """
    if dtype is not None:
        noise = figures.noise.rel_l2, figures.noise.worst_element
        bound = words_bound(arithmetic, dtype, noise).rel_l2
        if figures.expected.rel_l2 > bound * (1 + 1e-9):
            yield _("scores may be off by {bound:.1e}, not by {wider:.1e}", bound=bound, wider=figures.expected.rel_l2)
    for row in figures.rows:
        if row.followed and row.text != row.cpu:
            yield _("{clip}: whether its text is the CPU's is not so", clip=row.clip)
        choices = row.forced.same + row.forced.ties + len(row.forced.wrong)
        if choices != row.tokens or len(row.rel_l2) != row.tokens:
            yield _("{clip}: {problem}", clip=row.clip, problem=_("choices are missing"))
    if not _distant(figures.distance, equal=all(row.text == row.cpu for row in figures.rows)):
        yield _("the distance to the CPU's texts is not that of its counts")


def _distant(figures: DistanceFigures, *, equal: bool) -> bool:
    """Whether both rates are those of their counts, and 0 where all texts are `equal` and nowhere else."""
    rates = (figures.words, figures.word_counts), (figures.characters, figures.character_counts)
    right = all(_rated(rate, counts) for rate, counts in rates)
    return right and (figures.characters in (0.0, None) or not equal) and (equal or figures.characters != 0.0)


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
    return not score.counts or _rated(score.value, score.counts)


def _rated(value: float | None, counts: Mapping[str, int]) -> bool:
    """Whether a rate in percent is that of its edits; one without a unit is undefined."""
    if value is None:
        return True
    hits, errors = (
        sum(counts.get(name, 0) for name in names)
        for names in (("hits",), ("substitutions", "deletions", "insertions"))
    )
    units = hits + counts.get("substitutions", 0) + counts.get("deletions", 0)
    return not units or abs(value - 100 * errors / units) < 1e-6
