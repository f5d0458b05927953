"""Two files of transcripts of the same recordings, utterance by utterance: do they differ by more than chance?

To be run after moving to another device. The texts that differ are shown aligned; the difference of the error
rates comes with a paired bootstrap interval: the same resampled utterances on both sides
(Bisani & Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from env.errors import InputError
from env.language import Message, _, translate
from model.captions import columns
from model.windows import UNSPACED_LANGUAGES
from verify.speech import edits, scores
from verify.speech.normalisers import Normaliser
from verify.speech.transcripts import Line, Transcripts

SHOWN = 20  # differing utterances printed; all are in the data


@dataclass(frozen=True)
class Difference:
    """B's score less A's in points, with its 95 % interval; significant where the interval leaves out zero."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int
    signature: str

    @property
    def significant(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def sentence(self) -> Message:
        figures = {"metric": self.metric, "difference": self.difference, "low": self.low, "high": self.high}
        if self.difference is None:
            return _("{metric} difference undefined: no reference words", metric=self.metric)
        if self.low is None or self.high is None:
            return _("{metric} difference {difference:+.2f}; too few utterances to judge", **figures)
        if self.significant:
            return _("{metric} difference {difference:+.2f} [{low:+.2f}, {high:+.2f}]; significant", **figures)
        return _("{metric} difference {difference:+.2f} [{low:+.2f}, {high:+.2f}]; not significant", **figures)


@dataclass(frozen=True)
class Disagreement:
    """An utterance whose two texts differ. `alignment` shows them word below word."""

    key: str
    language: str
    reference: str
    a: str
    b: str
    alignment: str


@dataclass(frozen=True)
class Comparison:
    """`left_out` says why an utterance is in neither figure: key -> reason, a message."""

    names: tuple[str, str]
    compared: int
    disagreements: tuple[Disagreement, ...]
    differences: tuple[Difference, ...]
    left_out: Mapping[str, str]

    @property
    def agreed(self) -> int:
        return self.compared - len(self.disagreements)

    def sentence(self) -> Message:
        a, b = self.names
        agreement = _(
            "{a} and {b} transcripts agree on {agreed} of {compared}",
            a=a,
            b=b,
            agreed=self.agreed,
            compared=self.compared,
        )
        return _("{parts}.", parts=[agreement, *(row.sentence() for row in self.differences)])

    @property
    def data(self) -> dict[str, Any]:
        return {
            "sentence": self.sentence(),
            "names": list(self.names),
            "compared": self.compared,
            "agreed": self.agreed,
            "differences": [{**asdict(row), "significant": row.significant} for row in self.differences],
            "disagreements": [asdict(row) for row in self.disagreements],
            "left_out": dict(self.left_out),
        }


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _pairs(a: Transcripts, b: Transcripts, names: tuple[str, str]) -> tuple[list[tuple[Line, Line]], dict[str, str]]:
    """The utterances that both have, in the order of their keys, and why each other one is left out.

    Raises:
        InputError: the two files are about different recordings or references.
    """
    first, second = ({line.key: line for line in side.lines} for side in (a, b))
    pairs: list[tuple[Line, Line]] = []
    left_out: dict[str, str] = {}
    for key in sorted(first.keys() | second.keys()):
        sides = first.get(key), second.get(key)
        for name, line in zip(names, sides, strict=True):
            if line is None or line.error is not None:
                left_out[key] = (
                    _("not in {name}", name=name)
                    if line is None
                    else _("failed in {name}: {error}", name=name, error=_first_line(line.error))
                )
        left, right = sides
        if left is None or right is None or key in left_out:
            continue
        if left.reference != right.reference:
            raise InputError(
                _("{key}: the two files have different references", key=key),
                why=_("{first} and {second}", first=repr(left.reference), second=repr(right.reference)),
            )
        if left.audio_sha256 and right.audio_sha256 and left.audio_sha256 != right.audio_sha256:
            raise InputError(
                _("{key}: the two files were made from different audio", key=key),
                next=_("sha256sum it on both machines"),
            )
        pairs.append((left, right))
    if not pairs:
        raise InputError(_("the two files have no utterance in common"), next=_("make both from the same manifest"))
    return pairs, left_out


def _words(text: str, language: str) -> list[str]:
    """Raw words to align for reading; characters in languages written without spaces."""
    return [*"".join(text.split())] if language in UNSPACED_LANGUAGES else text.split()


def align(a: str, b: str, language: str, names: tuple[str, str] = ("A", "B")) -> str:
    """Two texts with equal words below each other, a row of *** where one has no word, and ^ under what differs."""
    import jiwer

    left, right = _words(a, language), _words(b, language)
    pairs: list[tuple[str, str]] = []
    for chunk in jiwer.process_words(" ".join(left), " ".join(right)).alignments[0]:
        above = left[chunk.ref_start_idx : chunk.ref_end_idx]
        below = right[chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs += zip_longest(above, below, fillvalue="")
    label = max(len(name) for name in names)
    rows = [f"{names[0]:{label}} ", f"{names[1]:{label}} ", " " * (label + 1)]
    for one, other in pairs:
        width = max(columns(one), columns(other))
        marks = "" if one == other else "^" * width
        for index, word in enumerate((one or "*" * width, other or "*" * width, marks)):
            rows[index] += f" {word}{' ' * (width - columns(word))}"
    return "\n".join(row.rstrip() for row in rows)


def _error_rate_difference(pairs: Sequence[tuple[Line, Line]], normaliser: Normaliser) -> Difference:
    """The WER of transcripts, B less A."""
    import numpy as np

    languages = [left.language for left, _ in pairs]
    references = [normaliser.words(left.reference or "", left.language) for left, _ in pairs]
    sides = []
    for side in (0, 1):
        texts = [pair[side].hypothesis or "" for pair in pairs]
        hypotheses = [normaliser.words(text, language) for text, language in zip(texts, languages, strict=True)]
        sides.append(edits.word_counts(references, hypotheses))
    columns = np.stack([sides[0][:, 1:].sum(axis=1), sides[1][:, 1:].sum(axis=1), sides[0][:, :3].sum(axis=1)], axis=1)
    errors_a, errors_b, words = (int(total) for total in columns.sum(axis=0))
    signature = scores.signature_text(
        normaliser, agg="sum", n=len(pairs), test="paired-bootstrap", bs=scores.RESAMPLES, seed=scores.SEED
    )
    if not words:
        return Difference("WER", None, None, None, None, None, len(pairs), signature)
    drawn = scores.resampled(columns)
    low, high = scores.interval(scores.rate(drawn[:, 1] - drawn[:, 0], drawn[:, 2]), len(pairs))
    a, b = 100 * errors_a / words, 100 * errors_b / words
    return Difference("WER", a, b, b - a, low, high, len(pairs), signature)


def _translation_difference(pairs: Sequence[tuple[Line, Line]], target: str) -> Difference:
    """The chrF of translations into `target`, B less A: over sentences of a few words it is steadier than BLEU.

    sacrebleu's own PairedTest gives a p-value and each side's interval, not the interval of the difference. That is the
    spread of corpus_score over resampled sentences on both sides, which takes ten minutes for a thousand sentences;
    from the metric's statistics of each sentence, as PairedTest itself does it, a second. A test holds both equal.
    """
    import numpy as np
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    references = [[left.reference or "" for left, _ in pairs]]
    texts = ([left.hypothesis or "" for left, _ in pairs], [right.hypothesis or "" for _, right in pairs])
    a, b = (metric.corpus_score(side, references).score for side in texts)
    statistics = [np.array(metric._extract_corpus_statistics(side, references), dtype=np.int64) for side in texts]
    drawn = scores.resampled(np.concatenate(statistics, axis=1))
    width = statistics[0].shape[1]
    differences = [
        metric._compute_score_from_stats(row[width:]).score - metric._compute_score_from_stats(row[:width]).score
        for row in drawn
    ]
    low, high = scores.interval(np.array(differences), len(pairs))
    signature = f"{metric.get_signature()}|test:paired-bootstrap|bs:{scores.RESAMPLES}|seed:{scores.SEED}"
    return Difference(f"chrF into {target}", a, b, b - a, low, high, len(pairs), signature)


def compare(a: Transcripts, b: Transcripts, normaliser: Normaliser, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare B with A.

    Raises:
        InputError: the files have no utterance in common, or differ in references or audio.
    """
    pairs, left_out = _pairs(a, b, names)
    scored = [pair for pair in pairs if pair[0].reference is not None]  # the others are compared word by word alone
    transcribed = [pair for pair in scored if pair[0].target is None]
    differences = [_error_rate_difference(transcribed, normaliser)] if transcribed else []
    for target in sorted({left.target for left, _right in scored if left.target is not None}):
        differences.append(_translation_difference([pair for pair in scored if pair[0].target == target], target))
    disagreements = tuple(
        Disagreement(
            left.key,
            left.language,
            left.reference or "",
            left.hypothesis or "",
            right.hypothesis or "",
            align(left.hypothesis or "", right.hypothesis or "", left.target or left.language, names),
        )
        for left, right in pairs
        if left.hypothesis != right.hypothesis
    )
    return Comparison(names, len(pairs), disagreements, tuple(differences), left_out)


def report(comparison: Comparison) -> str:
    """The comparison for a terminal, in the user's language."""
    blocks = [translate(comparison.sentence())]
    for row in comparison.disagreements[:SHOWN]:
        head = _(
            "{key} ({language}), reference: {reference}",
            key=row.key,
            language=row.language,
            reference=row.reference,
        )
        blocks.append(f"{translate(head)}\n{row.alignment}")
    if len(comparison.disagreements) > SHOWN:
        blocks.append(translate(_("and {more} more", more=len(comparison.disagreements) - SHOWN)))
    if comparison.left_out:
        listed = "\n".join(f"  {key}: {translate(reason)}" for key, reason in comparison.left_out.items())
        blocks.append(f"{translate(_('left out: {count}', count=len(comparison.left_out)))}\n{listed}")
    return "\n\n".join(blocks) + "\n"
