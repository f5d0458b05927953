"""Scores made from transcripts: WER, CER, sentence accuracy, BLEU, chrF and RTFx, each with what it was made with.

jiwer aligns, and sacrebleu scores translations; here are only totals over utterances and their confidence intervals.
Rates are sums of edits over sums of words, never means of the utterances' rates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from env.errors import EnvironmentMissingError
from env.language import Message, _
from model.windows import UNSPACED_LANGUAGES
from verify.speech import edits
from verify.speech.edits import Edits
from verify.speech.normalisers import Normaliser
from verify.speech.transcripts import Line, Transcripts, data_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from verify.speech.edits import Counts

RESAMPLES = 1000  # sacrebleu's own number
SEED = 12345  # sacrebleu's own seed
CONFIDENCE = 0.95
MANY = 50_000  # rows that are drawn at once
BLEU_ORDER = 4  # BLEU counts runs of up to four words: sacrebleu's max_ngram_order
ALL = "all"

# Without word boundaries, BLEU needs a tokenizer of the target language. MeCab, sacrebleu's for Japanese, is not
# part of the stack: characters serve where it is not asked for, and the signature says so.
MECAB = "ja-mecab"
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


def resampled(columns: NDArray[np.int64], seed: int = SEED, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Column sums of `resamples` samples of the rows, drawn with replacement: shape [resamples, columns].

    Many rows are taken times how often each was drawn, which float64 adds up exactly below 2^53; few, many samples at
    once. The draws are the same.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    n = len(columns)
    if n > MANY:
        values = columns.astype(np.float64)
        drawn = [np.bincount(rng.integers(0, n, n), minlength=n) @ values for _resample in range(resamples)]
        return np.asarray(np.stack(drawn).round(), dtype=np.int64)
    together = MANY // max(n, 1)
    sizes = [min(together, resamples - start) for start in range(0, resamples, together)]
    return np.concatenate([columns[rng.integers(0, n, (size, n))].sum(axis=1) for size in sizes])


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


def rate_columns(counts: Counts) -> NDArray[np.int64]:
    """[utterances, 2]: errors and reference units."""
    import numpy as np

    return np.stack([counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1)], axis=1)


def right_columns(counts: Counts) -> NDArray[np.int64]:
    """[utterances, 1]: 1 for an utterance without any edit."""
    import numpy as np

    return np.asarray(counts[:, 1:].sum(axis=1) == 0, dtype=np.int64)[:, None]


def error_rate(counts: Counts, unit: str, normaliser: Normaliser, drawn: NDArray[np.int64] | None = None) -> Score:
    """Edits over reference units, summed over utterances, in percent. Undefined without any reference unit.

    `drawn`, [resamples, 2], are resampled sums of `rate_columns`; they are made where none are passed.
    """
    columns = rate_columns(counts)
    made = edits.totals(counts)
    text = signature_text(
        normaliser, unit=unit, agg="sum", n=len(counts), jiwer=version("jiwer"), bs=RESAMPLES, seed=SEED
    )
    errors, units = (int(total) for total in columns.sum(axis=0))
    if not units:
        return Score(None, None, None, len(counts), text, made)
    drawn = resampled(columns) if drawn is None else drawn
    low, high = interval(rate(drawn[:, 0], drawn[:, 1]), len(counts))
    return Score(100 * (errors / units), low, high, len(counts), text, made)


def accuracy(counts: Counts, normaliser: Normaliser, drawn: NDArray[np.int64] | None = None) -> Score:
    """Share of utterances without any edit, in percent. `drawn`, [resamples, 1], as in `error_rate`."""
    import numpy as np

    columns = right_columns(counts)
    text = signature_text(normaliser, unit="sentence", agg="sum", n=len(counts), bs=RESAMPLES, seed=SEED)
    if not len(columns):
        return Score(None, None, None, 0, text, {"correct": 0})
    drawn = resampled(columns) if drawn is None else drawn
    low, high = interval(rate(drawn[:, 0], np.full(len(drawn), len(columns))), len(columns))
    right = int(columns.sum())
    return Score(100 * (right / len(columns)), low, high, len(columns), text, {"correct": right})


def transcription_scores(counted: Edits, languages: Collection[str], normaliser: Normaliser) -> dict[str, Score]:
    """WER, CER and sentence accuracy of utterances in `languages`; the three are resampled together."""
    import numpy as np

    parts = rate_columns(counted.words), rate_columns(counted.characters), right_columns(counted.words)
    drawn = resampled(np.concatenate(parts, axis=1)) if len(counted.keys) else np.zeros((0, 5), dtype=np.int64)
    by_character = sorted(set(languages) & set(UNSPACED_LANGUAGES))
    unit = "word" if normaliser.name == "none" or not by_character else f"word,{'+'.join(by_character)}=character"
    return {
        "wer": error_rate(counted.words, unit, normaliser, drawn[:, :2]),
        "cer": error_rate(counted.characters, "character", normaliser, drawn[:, 2:4]),
        "accuracy": accuracy(counted.words, normaliser, drawn[:, 4:]),
    }


def mecab() -> None:
    """Look for what sacrebleu's MeCab tokenizer of Japanese needs.

    Raises:
        EnvironmentMissingError: it is not installed.
    """
    missing = [name for name in ("MeCab", "ipadic") if find_spec(name) is None]
    if missing:
        raise EnvironmentMissingError(
            _("BLEU by MeCab needs {names}", names=", ".join(missing)), next='pip install "sacrebleu[ja]"'
        )


def translation_scores(
    references: Sequence[str], hypotheses: Sequence[str], target: str, japanese: str = BLEU_TOKENIZERS["ja"]
) -> dict[str, Score]:
    """BLEU and chrF of translations into `target`, over the texts as they are, with sacrebleu's own intervals."""
    from sacrebleu.metrics import BLEU, CHRF

    tokenizer = {**BLEU_TOKENIZERS, "ja": japanese}.get(target, DEFAULT_TOKENIZER)
    metrics = {"bleu": BLEU(tokenize=tokenizer, force=True), "chrf": CHRF()}
    return {name: _sacrebleu(metric, references, hypotheses) for name, metric in metrics.items()}


def _sacrebleu(metric: Any, references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Sacrebleu's corpus_score with its bootstrap, from the same draws.

    Its own resamples the statistics of all sentences at once, 100,000 of them take 7 GB; here one resample at a time.
    """
    import numpy as np
    from sacrebleu.significance import estimate_ci

    n = len(references)
    if not n:
        return Score(None, None, None, 0, "", {})
    statistics = np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.float64)
    value = metric._compute_score_from_stats(statistics.sum(axis=0)).score
    metric.n_bootstrap, metric.seed = RESAMPLES, str(SEED)
    text = str(metric.get_signature())
    if n < 2:
        return Score(float(value), None, None, n, text, {})
    rng = np.random.default_rng(SEED)
    sums = (np.bincount(rng.choice(n, size=n), minlength=n) @ statistics for _resample in range(RESAMPLES))
    drawn = [metric._compute_score_from_stats(row.astype(np.float32)).score for row in sums]  # as sacrebleu has it
    mean, half = estimate_ci(np.array(drawn))
    return Score(float(value), max(0.0, float(mean - half)), min(100.0, float(mean + half)), n, text, {})


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


def score(
    transcripts: Transcripts,
    normaliser: Normaliser,
    counted: Edits | None = None,
    *,
    japanese: str = BLEU_TOKENIZERS["ja"],
) -> dict[str, Any]:
    """Every score of a file of transcripts, as JSON: per language and whole, per pair of languages and per target.

    Utterances that failed are counted and listed; they are in no score. `counted` are the edits of those that were
    transcribed, in their order; `japanese` is BLEU's tokenizer for that language.
    """
    transcribed = [line for line in transcripts.scored if line.target is None]
    translated = [line for line in transcripts.scored if line.target is not None]
    counted = edits.count(transcribed, normaliser) if counted is None else counted
    rows: dict[str, list[int]] = defaultdict(list)
    for index, line in enumerate(transcribed):
        rows[line.language].append(index)
    transcription = {
        language: transcription_scores(counted.rows(rows[language]), [language], normaliser)
        for language in sorted(rows)
    }
    if transcribed:
        alone = transcription[transcribed[0].language] if len(rows) == 1 else None
        transcription[ALL] = alone or transcription_scores(counted, rows, normaliser)
    translation = {}
    for target, lines in _grouped(translated, lambda line: line.target or "").items():
        pairs = _grouped(lines, lambda line: f"{line.language}-{line.target}")
        for pair, members in pairs.items():
            translation[pair] = _translated(members, target, japanese)
        whole = f"{ALL}-{target}"
        translation[whole] = translation[pair] if len(pairs) == 1 else _translated(lines, target, japanese)
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
        "remarks": [*_sums_of_unlike(rows, normaliser), *_short_segments(translated)],
    }


def _translated(lines: Sequence[Line], target: str, japanese: str) -> dict[str, Score]:
    texts = [line.reference or "" for line in lines], [line.hypothesis or "" for line in lines]
    return translation_scores(*texts, target, japanese)


def _sums_of_unlike(languages: Collection[str], normaliser: Normaliser) -> list[Message]:
    """That `all` adds up words of some languages and characters of others, where it does."""
    unspaced = sorted(set(languages) & set(UNSPACED_LANGUAGES))
    if normaliser.name == "none" or not unspaced or len(unspaced) == len(languages):
        return []
    return [
        _(
            "WER and accuracy of {all} add up characters of {unspaced} and words of the other languages: compare the "
            "rows of each language",
            all=ALL,
            unspaced=", ".join(unspaced),
        )
    ]


def _short_segments(lines: Iterable[Line]) -> list[Message]:
    """That BLEU means little where most references are too short to have a 4-gram, for each such target."""
    remarks = []
    for target, members in _grouped(lines, lambda line: line.target or "").items():
        unit = len if target in UNSPACED_LANGUAGES else lambda text: len(text.split())
        short = sum(unit(line.reference or "") < BLEU_ORDER for line in members)
        if 2 * short > len(members):
            remarks.append(
                _(
                    "BLEU into {target} means little: {short} of {count} references are shorter than its runs of "
                    "{order} words; chrF holds",
                    target=target,
                    short=short,
                    count=len(members),
                    order=BLEU_ORDER,
                )
            )
    return remarks


def _data(groups: Mapping[str, Mapping[str, Score]]) -> dict[str, dict[str, Any]]:
    return {group: {name: value.data for name, value in scores.items()} for group, scores in groups.items()}
