"""How texts are made comparable: Whisper's normaliser, what was made fast of it, its spelling map, and others' own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.errors import InputError, UsageError
from verify.speech import leaderboard, normalisers, spelling, whisper_normalisers


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
        "from verify.speech import edits, leaderboard, normalisers\n"
        "normalisers.load('whisper').words('a', 'en'); edits.word_counts(['a'], ['b'])\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


WORDS = [
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "can't",
    "won't",
    "i'd",
    "don't",
    "he's",
    "'s",
    "got",
    "mr.",
    "Mrs.",
    "DR.",
    "(laughs)",
    "[noise]",
    "<unk>",
    "uh,",
    "um",
    "hmm",
    "co-operate",
    "naïve",
    "Straße",
    "Œuvre",
    "ﬁ",
    "東京",
    "é",
    "…",
    "—",
    "colour",
    "organise",
    ".",
    ".5",
    "5.",
    "$",
    "%",
    "a.b",
    "U.S.A.",
    "i'ma",
    "y'all",
    "ma'am",
    "'",
    "zero",
    "oh",
    "o",
    "one",
    "two",
    "twelve",
    "nineteen",
    "twenty",
    "thirty",
    "hundred",
    "thousand",
    "million",
    "point",
    "double",
    "triple",
    "half",
    "minus",
    "plus",
    "negative",
    "dollars",
    "cents",
    "percent",
    "pounds",
    "first",
    "second",
    "third",
    "twenties",
    "ones",
    "1",
    "2.5",
    "3rd",
    "1960s",
    "0.07",
    "1,000",
    "$5",
    "£20",
    "¢7",
    "€3.50",
    "5%",
    "007",
    "½",
    "٣",
    "x2",
    "b2b",
    "mister",
]


@cache
def both_normalisers() -> list[tuple[Callable[[str], str], Callable[[str], str]]]:
    """Each normaliser as it was made fast, and as transformers has it."""
    own: Any = whisper_normalisers.module()
    british = {"colour": "color", "organise": "organize"}
    pairs = [(whisper_normalisers.english(british), own.EnglishTextNormalizer(british))]
    for split in (False, True):
        pairs.append((whisper_normalisers.basic(split_letters=split), own.BasicTextNormalizer(split_letters=split)))
    return pairs


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(WORDS), max_size=12), st.sampled_from([" ", "  ", "\n"]), st.text(max_size=6))
def test_what_was_made_fast_gives_the_texts_of_transformers_own_code(words: list[str], between: str, odd: str) -> None:
    text = between.join([*words, odd])
    for fast, own in both_normalisers():
        assert fast(text) == own(text)


def test_the_installed_spelling_map_is_whispers() -> None:
    """openai/whisper's own english.json, by its size and words; the scorer's table of the field is made with it."""
    pytest.importorskip("whisper_normalizer", reason="whisper-normalizer is not installed")
    found = spelling.installed()
    assert len(found.words) == 1739
    assert normalisers.load("whisper").words("The colour of the neighbour's grey car", "en") == (
        "the color of the neighbor is gray car"
    )
    assert found.signature.startswith("whisper-normalizer-")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none", {"spelling": Path("x.json")}, "--spelling is for --normaliser whisper"),
        ("leaderboard", {}, "--normaliser leaderboard and --leaderboard DIR go together"),
        ("whisper", {"folder": Path("x")}, "--normaliser leaderboard and --leaderboard DIR go together"),
    ],
)
def test_options_of_another_normaliser_are_not_ignored(name: str, options: dict[str, Path], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        normalisers.load(name, **options)


def test_the_leaderboards_normaliser_is_run_from_its_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "normalizer", None)  # and put back after the test
    with pytest.raises(InputError, match="is no checkout of the Open ASR Leaderboard"):
        normalisers.load("leaderboard", folder=tmp_path).words("a", "en")
    package = tmp_path / "normalizer"
    package.mkdir()
    (package / "__init__.py").write_text("from .normalizer import EnglishTextNormalizer\n")
    (package / "normalizer.py").write_text(
        "class EnglishTextNormalizer:\n"
        "    def __call__(self, text):\n"
        "        return text.lower().replace('colour', 'color')\n"
    )
    mark = tmp_path / "ran"
    own = (package / "normalizer.py").read_text()
    (package / "normalizer.py").write_text(f"open({str(mark)!r}, 'w')\n" + own)
    with pytest.raises(InputError, match="its normaliser is not the published one"):
        normalisers.load("leaderboard", folder=tmp_path).words("a", "en")
    assert not mark.exists()  # what a user names is not run
    (package / "normalizer.py").write_text(own)
    languages = "def ml_normalizer(text, lang=None):\n    return f'{lang} {text}'\n"
    (package / "data_utils.py").write_text(languages)
    known = leaderboard._digest(leaderboard._sources(tmp_path))
    monkeypatch.setattr(leaderboard, "PUBLISHED", {known})
    made = normalisers.load("leaderboard", folder=tmp_path)
    assert made.both("Colour  b", "en") == ("color b", "color b")
    assert made.signature.as_json()["normaliser"].startswith("leaderboard.")
    assert made.both("zwei", "de") == ("de zwei", "de zwei")
    assert made.both("東京", "ja") == ("j a 東 京", "ja東京")
