"""Scores made from transcripts: WER, CER, sentence accuracy, BLEU, chrF and RTFx, each with what it was made with.

jiwer aligns, and sacrebleu scores translations; here are only totals over utterances and their confidence intervals.
Rates are sums of edits over sums of words, never means of the utterances' rates.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from model.windows import UNSPACED_LANGUAGES
from verify.speech.normalisers import Normaliser
from verify.speech.transcripts import Line, Transcripts, data_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]  # [utterances, 4]: hits, substitutions, deletions, insertions

RESAMPLES = 1000  # sacrebleu's own number
SEED = 12345  # sacrebleu's own seed
CONFIDENCE = 0.95
RESAMPLE_BYTES = 500_000_000  # for sacrebleu, which resamples the statistics of all sentences at once,
SENTENCE_BYTES = 18 * 4  # of which chrF has 18 a sentence (BLEU 10), as float32
ALL = "all"

# Without word boundaries, BLEU needs a tokenizer of the target language. MeCab, sacrebleu's for Japanese, is not
# part of the stack: characters serve, and the signature says so.
BLEU_TOKENIZERS = {"ja": "char", "zh": "zh"}
DEFAULT_TOKENIZER = "13a"


@dataclass(frozen=True)
class Score:
    """A figure in percent (RTFx: a ratio) with its 95 % interval; `value` is None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    signature: str
    counts: Mapping[str, int]

    @property
    def data(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "signature": self.signature,
            "counts": dict(self.counts),
        }


# In the order in which a signature has them: what was compared, how it was added up, with what, and the interval.
SIGNATURE_FIELDS = ("unit", "normaliser", "spelling", "agg", "n", "jiwer", "test", "bs", "seed")


def signature_text(normaliser: Normaliser | None = None, **fields: object) -> str:
    """name:value pairs as sacrebleu writes them, in the order of SIGNATURE_FIELDS."""
    known = {**(normaliser.signature.as_json() if normaliser else {}), **fields}
    assert known.keys() <= set(SIGNATURE_FIELDS), known
    return "|".join(f"{name}:{known[name]}" for name in SIGNATURE_FIELDS if name in known)


def word_counts(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Edits of each utterance over whitespace-separated words, by jiwer's alignment."""
    import jiwer

    return _counts(jiwer.process_words, references, hypotheses)


def character_counts(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Edits of each utterance over characters, spaces among them, by jiwer's alignment."""
    import jiwer

    return _counts(jiwer.process_characters, references, hypotheses)


def _counts(process: Callable[..., Any], references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    import numpy as np

    counts = np.zeros((len(references), 4), dtype=np.int64)
    if not references:
        return counts
    column = {"equal": 0, "substitute": 1, "delete": 2, "insert": 3}
    for row, chunks in zip(counts, process(list(references), list(hypotheses)).alignments, strict=True):
        for chunk in chunks:
            in_reference = chunk.ref_end_idx - chunk.ref_start_idx
            row[column[chunk.type]] += in_reference or chunk.hyp_end_idx - chunk.hyp_start_idx
    return counts


def resampled(columns: NDArray[np.int64], seed: int = SEED, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Column sums of `resamples` samples of the rows, drawn with replacement: shape [resamples, columns]."""
    import numpy as np

    rng = np.random.default_rng(seed)
    n = len(columns)
    return np.stack([columns[rng.integers(0, n, n)].sum(axis=0) for _ in range(resamples)])


def interval(values: NDArray[np.float64], n: int) -> tuple[float | None, float | None]:
    """The percentile interval that holds 95 % of `values`, resampled from `n` utterances.

    None where no value is defined; and for a single utterance, which says nothing of others.
    """
    import numpy as np

    defined = values[np.isfinite(values)]
    if n < 2 or not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def rate(errors: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    """100 * errors / totals, NaN where there is nothing to divide by."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(totals > 0, 100 * errors / totals, np.nan)


def error_rate(counts: Counts, unit: str, normaliser: Normaliser) -> Score:
    """Edits over reference units, summed over utterances, in percent. Undefined without any reference unit."""
    import numpy as np

    columns = np.stack([counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1)], axis=1)
    names = ("hits", "substitutions", "deletions", "insertions")
    totals = {name: int(total) for name, total in zip(names, counts.sum(axis=0), strict=True)}
    text = signature_text(
        normaliser, unit=unit, agg="sum", n=len(counts), jiwer=version("jiwer"), bs=RESAMPLES, seed=SEED
    )
    errors, units = (int(total) for total in columns.sum(axis=0))
    if not units:
        return Score(None, None, None, len(counts), text, totals)
    drawn = resampled(columns)
    low, high = interval(rate(drawn[:, 0], drawn[:, 1]), len(counts))
    return Score(100 * (errors / units), low, high, len(counts), text, totals)


def accuracy(counts: Counts, normaliser: Normaliser) -> Score:
    """Share of utterances without any edit, in percent."""
    import numpy as np

    right = (counts[:, 1:].sum(axis=1) == 0).astype(np.int64)
    text = signature_text(normaliser, unit="sentence", agg="sum", n=len(counts), bs=RESAMPLES, seed=SEED)
    if not len(right):
        return Score(None, None, None, 0, text, {"correct": 0})
    drawn = resampled(right[:, None])
    low, high = interval(rate(drawn[:, 0], np.full(len(drawn), len(right))), len(right))
    return Score(100 * (int(right.sum()) / len(right)), low, high, len(right), text, {"correct": int(right.sum())})


def transcription_scores(lines: Sequence[Line], normaliser: Normaliser) -> dict[str, Score]:
    """WER, CER and sentence accuracy of transcribed utterances."""
    texts = [(line.reference or "", line.hypothesis or "", line.language) for line in lines]
    words = word_counts(
        [normaliser.words(reference, language) for reference, _, language in texts],
        [normaliser.words(hypothesis, language) for _, hypothesis, language in texts],
    )
    characters = character_counts(
        [normaliser.characters(reference, language) for reference, _, language in texts],
        [normaliser.characters(hypothesis, language) for _, hypothesis, language in texts],
    )
    by_character = sorted({line.language for line in lines} & set(UNSPACED_LANGUAGES))
    unit = "word" if normaliser.name == "none" or not by_character else f"word,{'+'.join(by_character)}=character"
    return {
        "wer": error_rate(words, unit, normaliser),
        "cer": error_rate(characters, "character", normaliser),
        "accuracy": accuracy(words, normaliser),
    }


def translation_scores(references: Sequence[str], hypotheses: Sequence[str], target: str) -> dict[str, Score]:
    """BLEU and chrF of translations into `target`, over the texts as they are, with sacrebleu's own intervals."""
    from sacrebleu.metrics import BLEU, CHRF

    tokenizer = BLEU_TOKENIZERS.get(target, DEFAULT_TOKENIZER)
    metrics = {"bleu": BLEU(tokenize=tokenizer, force=True), "chrf": CHRF()}
    return {name: _sacrebleu(metric, references, hypotheses) for name, metric in metrics.items()}


def _sacrebleu(metric: Any, references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    n = len(references)
    if not n:
        return Score(None, None, None, 0, "", {})
    resamples = max(1, min(RESAMPLES, RESAMPLE_BYTES // (SENTENCE_BYTES * n)))
    result = metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=resamples)
    text = str(metric.get_signature())
    written = json.loads(result.format(width=12, signature=text, is_json=True))
    low = high = None
    if n > 1 and "confidence_mean" in written:
        low = max(0.0, written["confidence_mean"] - written["confidence_var"])
        high = min(100.0, written["confidence_mean"] + written["confidence_var"])
    return Score(float(result.score), low, high, n, text, {})


def rtfx(lines: Iterable[Line]) -> Score:
    """Seconds of audio over seconds of processing, each summed. Undefined where no time was kept."""
    kept = [line for line in lines if line.error is None]
    audio, processing = sum(line.duration for line in kept), sum(line.seconds for line in kept)
    value = audio / processing if processing > 0 else None
    counts = {"audio_ms": round(audio * 1000), "processing_ms": round(processing * 1000)}
    return Score(value, None, None, len(kept), signature_text(agg="sum", n=len(kept)), counts)


def _grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[key(line)].append(line)
    return dict(sorted(groups.items()))


def score(transcripts: Transcripts, normaliser: Normaliser) -> dict[str, Any]:
    """Every score of a file of transcripts, as JSON: per language and whole, per pair of languages and per target.

    Utterances that failed are counted and listed; they are in no score.
    """
    transcribed = [line for line in transcripts.scored if line.target is None]
    translated = [line for line in transcripts.scored if line.target is not None]
    transcription = {
        language: transcription_scores(lines, normaliser)
        for language, lines in _grouped(transcribed, lambda line: line.language).items()
    }
    if transcribed:
        transcription[ALL] = transcription_scores(transcribed, normaliser)
    translation = {}
    for target, lines in _grouped(translated, lambda line: line.target or "").items():
        pairs = _grouped(lines, lambda line: f"{line.language}-{line.target}")
        for pair, members in [*pairs.items(), (f"{ALL}-{target}", lines)]:
            texts = [line.reference or "" for line in members], [line.hypothesis or "" for line in members]
            translation[pair] = translation_scores(*texts, target)
    return {
        "signature": {
            **transcripts.header,
            **normaliser.signature.as_json(),
            "data_sha256": data_sha256(transcripts.lines),
        },
        "transcription": _data(transcription),
        "translation": _data(translation),
        "rtfx": rtfx(transcripts.done).data,
        "utterances": len(transcripts.lines),
        "failed": [{"key": line.key, "error": line.error} for line in transcripts.failed],
        "notes": [{"key": line.key, "notes": list(line.notes)} for line in transcripts.done if line.notes],
    }


def _data(groups: Mapping[str, Mapping[str, Score]]) -> dict[str, dict[str, Any]]:
    return {group: {name: value.data for name, value in scores.items()} for group, scores in groups.items()}
