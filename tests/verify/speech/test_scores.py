"""Scores agree with the command lines of jiwer and sacrebleu, the outside oracles, to the last digit."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from env.errors import EnvironmentMissingError
from verify.speech import edits, normalisers, scores, spelling
from verify.speech.transcripts import Line, Transcripts

PAIRS: dict[str, list[tuple[str, str]]] = {
    "english": [
        ("the quick brown fox", "the quick browne fox jumps"),
        ("hello there", "hello there"),
        ("one two three", "two three"),
        ("twenty one", "twenty won and a half"),
    ],
    "umlauts": [
        ("über die Größe der Straße", "über die Grösse der Strasse"),
        ("fünf zwölf zweiunddreißig", "fünf zwölf zweiunddreisig"),
        ("schöne Grüße", "schöne Grüße"),
    ],
    "japanese": [
        ("東京 大阪 京都", "東京 大坂 京都"),
        ("三十二 四", "三十二 四"),
        ("これは音声認識の試験です", "これは音性認識の試験でした"),
    ],
    "accents": [("ça va très bien", "ca va tres bien"), ("el niño corrió", "el niño corrió a casa")],
    "empty hypotheses": [("never heard", ""), ("seen and heard", "seen and heard")],
    "empty references": [("", "made up words"), ("two words", "two words"), ("", "")],
}
UNIT, NONE = "word", normalisers.load("none")
SPOKEN_BY_BOTH = [name for name in PAIRS if not name.startswith("empty")]  # jiwer's command line drops empty lines


def columns(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]


def command_line(code: str, folder: Path, pairs: Sequence[tuple[str, str]], options: Sequence[str]) -> str:
    """What a metric's own program prints for two files of lines; {r} and {h} in `options` are their paths."""
    paths = {"r": folder / "reference.txt", "h": folder / "hypothesis.txt"}
    for path, lines in zip(paths.values(), columns(pairs), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    arguments = [option.format(**paths) for option in options]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", SPOKEN_BY_BOTH)
@pytest.mark.parametrize("character", [False, True], ids=["wer", "cer"])
def test_error_rate_is_what_jiwers_program_prints(name: str, character: bool, tmp_path: Path) -> None:
    options = ["-r", "{r}", "-h", "{h}", *(["--cer"] if character else [])]
    printed = command_line("from jiwer.cli import cli; cli()", tmp_path, PAIRS[name], options)
    count = edits.character_counts if character else edits.word_counts
    assert scores.error_rate(count(*columns(PAIRS[name])), UNIT, NONE).value == 100 * float(printed)


@pytest.mark.parametrize("name", PAIRS)
def test_error_rate_is_what_jiwer_computes_with_empty_texts_too(name: str) -> None:
    references, hypotheses = columns(PAIRS[name])
    counts = edits.word_counts(references, hypotheses)
    found = jiwer.process_words(references, hypotheses)
    assert scores.error_rate(counts, UNIT, NONE).value == 100 * found.wer
    assert counts.sum(axis=0).tolist() == [found.hits, found.substitutions, found.deletions, found.insertions]
    characters = scores.error_rate(edits.character_counts(references, hypotheses), UNIT, NONE)
    assert characters.value == 100 * jiwer.process_characters(references, hypotheses).cer


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("target", "tokenizer"), [("en", "13a"), ("ja", "char")])
def test_bleu_and_chrf_are_what_sacrebleus_program_prints(
    name: str, target: str, tokenizer: str, tmp_path: Path
) -> None:
    options = ["{r}", "-i", "{h}", "-m", "bleu", "chrf", "-tok", tokenizer, "-w", "12", "--confidence", "--force"]
    code = "from sacrebleu.sacrebleu import main; main()"
    printed = {
        row["name"].lower().rstrip("2"): row for row in json.loads(command_line(code, tmp_path, PAIRS[name], options))
    }
    found = scores.translation_scores(*columns(PAIRS[name]), target)
    for metric, score in found.items():
        assert score.value == pytest.approx(printed[metric]["score"], abs=1e-12)
        assert score.signature == printed[metric]["signature"]
        if "confidence_mean" in printed[metric]:
            low = max(0, printed[metric]["confidence_mean"] - printed[metric]["confidence_var"])
            assert score.low == pytest.approx(low, abs=1e-9)


def test_rates_are_sums_of_edits_not_means_of_rates() -> None:
    counts = edits.word_counts(["a", "b c d e f g h i j"], ["x", "b c d e f g h i j"])
    assert scores.error_rate(counts, UNIT, NONE).value == 10.0


def test_a_rate_without_reference_words_is_undefined_and_its_insertions_are_kept() -> None:
    score = scores.error_rate(edits.word_counts(["", ""], ["a b", ""]), UNIT, NONE)
    assert (score.value, score.low, score.high, score.counts["insertions"]) == (None, None, None, 2)
    assert scores.error_rate(edits.word_counts([], []), UNIT, NONE).value is None


def test_interval_is_seeded_and_holds_the_share_it_promises() -> None:
    """Of 200 samples of a source whose error rate is 20 %, about 95 % have an interval that holds 20 %."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        errors = rng.binomial(10, 0.2, size=60)
        counts = np.stack([10 - errors, errors, 0 * errors, 0 * errors], axis=1)
        score = scores.error_rate(counts, UNIT, NONE)
        assert score.low is not None
        assert score.high is not None
        held += score.low <= 20 <= score.high
    assert 0.90 <= held / 200 <= 0.99
    assert scores.error_rate(counts, UNIT, NONE) == scores.error_rate(counts, UNIT, NONE)


def line(key: str, language: str, reference: str, hypothesis: str, target: str | None = None, **fields: Any) -> Line:
    task = "translate" if target else "transcribe"
    return Line(key, key, language, task, target, reference, hypothesis, duration=2.0, seconds=0.5, **fields)


LINES = (
    line("a", "en", "Mr. Smith can't go.", "mister smith can not go"),
    line("b", "de", "Über Größe", "über größe"),
    line("c", "ja", "東京、大阪", "東京大坂"),
    line("d", "fr", "bonjour", "bon jour", notes=("repetition loop",)),
    line("e", "fr", "good day", "good day", target="en"),
    line("f", "ja", "thank you all", "thank you", target="en"),
    replace(line("g", "en", "lost", ""), hypothesis=None, error="g: no such file"),
)


def test_a_file_is_scored_per_language_and_whole_with_its_failures_listed() -> None:
    found = scores.score(Transcripts({"device": "cpu", "dtype": "float32"}, LINES), normalisers.load("whisper"))
    by_language = {language: row["wer"]["value"] for language, row in found["transcription"].items()}
    assert by_language == {"de": 0.0, "en": 0.0, "fr": 200.0, "ja": 25.0, "all": pytest.approx(100 * 3 / 12)}
    assert found["transcription"]["ja"]["cer"]["value"] == 25.0
    assert found["transcription"]["all"]["accuracy"]["value"] == 50.0
    assert sorted(found["translation"]) == ["all-en", "fr-en", "ja-en"]
    assert found["rtfx"]["value"] == 4.0
    assert (found["utterances"], found["failed"]) == (7, [{"key": "g", "error": "g: no such file"}])
    assert found["notes"] == [{"key": "d", "notes": ["repetition loop"]}]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_score_says_what_it_was_made_with() -> None:
    found = scores.score(Transcripts({"device": "cpu"}, LINES), normalisers.load("whisper"))
    assert found["signature"]["device"] == "cpu"
    assert len(found["signature"]["data_sha256"]) == 64
    signature = found["transcription"]["all"]["wer"]["signature"]
    assert signature == (
        f"unit:word,ja=character|normaliser:whisper.transformers-{version('transformers')}|spelling:{spelling.installed().signature}"
        f"|agg:sum|n:4|jiwer:{version('jiwer')}|bs:1000|seed:12345"
    )


def test_no_utterances_give_no_scores_and_no_error() -> None:
    found = scores.score(Transcripts({}, ()), normalisers.load("none"))
    assert (found["transcription"], found["translation"], found["rtfx"]["value"]) == ({}, {}, None)


def test_counting_holds_the_alignments_of_a_few_utterances_at_a_time() -> None:
    """Jiwer keeps the alignment of every utterance of a call: a hundred thousand at once take gigabytes."""
    rng = np.random.default_rng(2)
    words = np.array([f"word{number}" for number in range(400)])
    lines = [
        line(str(index), "en", " ".join(words[row]), " ".join(words[row[: 8 - index % 2]]))
        for index, row in enumerate(rng.integers(0, 400, (6000, 8)))
    ]
    seen: list[int] = []
    tracemalloc.start()
    counted = edits.count(lines, normalisers.load("basic"), seen.append)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(seen) == len(lines)
    assert len(seen) == len(lines) / edits.TOGETHER
    assert peak < 20e6
    assert counted.words.sum(axis=0).tolist() == [45_000, 0, 3_000, 0]


def test_counting_is_the_same_for_equal_texts_that_are_not_aligned() -> None:
    texts = ["a b c", "", " ", "a  b", "東京 大阪", "a\tb c", "a\u3000b"]
    for count, process in (
        (edits.word_counts, jiwer.process_words),
        (edits.character_counts, jiwer.process_characters),
    ):
        hits = [count([text], [text])[0].tolist() for text in texts]
        assert hits == [[process(text, text).hits, 0, 0, 0] for text in texts]


def test_each_utterance_has_its_own_wer() -> None:
    lines = [line("a", "en", "one two three", "one too three"), line("b", "en", "", "and"), line("c", "en", "", "")]
    counted = edits.count(lines, NONE).by_key()
    assert counted["a"] == {
        "wer": pytest.approx(100 / 3),
        "edits": {"hits": 2, "substitutions": 1, "deletions": 0, "insertions": 0},
    }
    assert counted["b"]["wer"] is None
    assert counted["b"]["edits"]["insertions"] == 1
    assert counted["c"]["wer"] is None


def test_silence_with_an_empty_reference_counts_what_was_said_into_it() -> None:
    lines = (line("a", "en", "two words", "two words"), line("b", "en", "", "noise"), line("c", "en", "", ""))
    found = scores.score(Transcripts({}, lines), NONE)["transcription"]["en"]
    assert found["wer"]["value"] == 100 * jiwer.process_words(["two words", "", ""], ["two words", "noise", ""]).wer
    assert found["accuracy"]["value"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("name", "languages", "remarked"),
    [
        ("whisper", ["ja", "en"], True),
        ("none", ["ja", "en"], False),
        ("whisper", ["ja"], False),
        ("basic", ["de"], False),
    ],
)
def test_a_sum_of_characters_and_words_says_so_first(name: str, languages: list[str], remarked: bool) -> None:
    lines = tuple(line(language, language, "東京 one", "東京 one") for language in languages)
    remarks = scores.score(Transcripts({}, lines), normalisers.load(name))["remarks"]
    assert remarks == (
        [
            "WER and accuracy of all add up characters of ja and words of the other languages: compare the rows of "
            "each language"
        ]
        if remarked
        else []
    )


def test_bleu_of_segments_shorter_than_its_runs_of_words_is_remarked() -> None:
    """An identical translation of two words has BLEU 0 and chrF 100, as sacrebleu has it."""
    short = tuple(line(str(index), "en", "guten Tag", "guten Tag", target="de") for index in range(3))
    found = scores.score(Transcripts({}, short), NONE)
    assert (found["translation"]["en-de"]["bleu"]["value"], found["translation"]["en-de"]["chrf"]["value"]) == (0, 100)
    assert found["remarks"] == [
        "BLEU into de means little: 3 of 3 references are shorter than its runs of 4 words; chrF holds"
    ]
    long = tuple(replace(one, reference="eins zwei drei vier", hypothesis="eins zwei drei vier") for one in short)
    assert scores.score(Transcripts({}, long), NONE)["remarks"] == []


@pytest.mark.parametrize("n", [2, 37, 300])
def test_one_resample_at_a_time_draws_what_sacrebleu_draws_at_once(n: int) -> None:
    rng = np.random.default_rng(n)
    references, hypotheses = (
        [" ".join(f"w{word}" for word in rng.integers(0, 9, 7)) for _ in range(n)] for _side in "rh"
    )
    result = BLEU(force=True).corpus_score(hypotheses, [references], n_bootstrap=scores.RESAMPLES)
    written = json.loads(result.format(width=12, is_json=True, signature="n:x"))
    mean, half = written["confidence_mean"], written["confidence_var"]
    bleu = scores.translation_scores(references, hypotheses, "en")["bleu"]
    assert bleu.low == pytest.approx(max(0, mean - half), abs=1e-9)
    assert bleu.high == pytest.approx(mean + half, abs=1e-9)


def test_mecab_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentMissingError, match="BLEU by MeCab needs MeCab, ipadic"):
        scores.mecab()


def test_bleu_of_japanese_by_mecab_is_what_sacrebleus_program_prints(tmp_path: Path) -> None:
    pytest.importorskip("MeCab", reason="sacrebleu[ja] is an extra, and not installed")
    options = ["{r}", "-i", "{h}", "-m", "bleu", "-tok", "ja-mecab", "-w", "12", "--force"]
    printed = json.loads(
        command_line("from sacrebleu.sacrebleu import main; main()", tmp_path, PAIRS["japanese"], options)
    )
    found = scores.translation_scores(*columns(PAIRS["japanese"]), "ja", scores.MECAB)["bleu"]
    assert found.value == pytest.approx(printed["score"], abs=1e-12)
    assert "tok:ja-mecab" in found.signature


def test_many_rows_are_resampled_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(4).integers(0, 50, (70, 3))
    few = scores.resampled(columns, resamples=90)
    rng = np.random.default_rng(scores.SEED)
    assert few.tolist() == [columns[rng.integers(0, 70, 70)].sum(axis=0).tolist() for _resample in range(90)]
    monkeypatch.setattr(scores, "MANY", 69)
    assert np.array_equal(scores.resampled(columns, resamples=90), few)
