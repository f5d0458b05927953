"""Scores agree with the command lines of jiwer and sacrebleu, the outside oracles, to the last digit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from env.errors import InputError
from verify.speech import normalisers, scores
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
    count = scores.character_counts if character else scores.word_counts
    assert scores.error_rate(count(*columns(PAIRS[name])), UNIT, NONE).value == 100 * float(printed)


@pytest.mark.parametrize("name", PAIRS)
def test_error_rate_is_what_jiwer_computes_with_empty_texts_too(name: str) -> None:
    references, hypotheses = columns(PAIRS[name])
    counts = scores.word_counts(references, hypotheses)
    found = jiwer.process_words(references, hypotheses)
    assert scores.error_rate(counts, UNIT, NONE).value == 100 * found.wer
    assert counts.sum(axis=0).tolist() == [found.hits, found.substitutions, found.deletions, found.insertions]
    characters = scores.error_rate(scores.character_counts(references, hypotheses), UNIT, NONE)
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
    counts = scores.word_counts(["a", "b c d e f g h i j"], ["x", "b c d e f g h i j"])
    assert scores.error_rate(counts, UNIT, NONE).value == 10.0


def test_a_rate_without_reference_words_is_undefined_and_its_insertions_are_kept() -> None:
    score = scores.error_rate(scores.word_counts(["", ""], ["a b", ""]), UNIT, NONE)
    assert (score.value, score.low, score.high, score.counts["insertions"]) == (None, None, None, 2)
    assert scores.error_rate(scores.word_counts([], []), UNIT, NONE).value is None


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
        f"unit:word,ja=character|normaliser:whisper.transformers-{version('transformers')}|spelling:none"
        f"|agg:sum|n:4|jiwer:{version('jiwer')}|bs:1000|seed:12345"
    )


def test_no_utterances_give_no_scores_and_no_error() -> None:
    found = scores.score(Transcripts({}, ()), normalisers.load("none"))
    assert (found["transcription"], found["translation"], found["rtfx"]["value"]) == ({}, {}, None)


@pytest.mark.parametrize(
    ("name", "language", "text", "words", "characters"),
    [
        ("whisper", "en", "Mr. Smith's 21 dogs!", "mister smith is 21 dogs", "mister smith is 21 dogs"),
        ("whisper", "en", "(laughs) um twenty-one", "21", "21"),
        ("whisper", "de", "Über, Größe: Straße!", "über größe straße", "über größe straße"),
        ("whisper", "ja", "東京、 ＡＢ", "東 京 a b", "東京ab"),
        ("basic", "en", "Mr. Smith's", "mr smith s", "mr smith s"),
        ("none", "ja", "東京、 大阪", "東京、 大阪", "東京、 大阪"),
    ],
)
def test_normaliser_follows_the_language(name: str, language: str, text: str, words: str, characters: str) -> None:
    normaliser = normalisers.load(name)
    assert (normaliser.words(text, language), normaliser.characters(text, language)) == (words, characters)


def test_a_spelling_map_joins_british_and_american_and_is_in_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "normalizer.json"
    path.write_text('{"colour": "color"}', encoding="utf-8")
    normaliser = normalisers.load("whisper", path)
    assert normaliser.words("Colour", "en") == "color"
    assert normaliser.signature.spelling not in (None, "none")
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match="is not a JSON object of words"):
        normalisers.load("whisper", path)


def test_normalising_and_scoring_import_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from verify.speech import normalisers, scores\n"
        "normalisers.load('whisper').words('a', 'en'); scores.word_counts(['a'], ['b'])\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
