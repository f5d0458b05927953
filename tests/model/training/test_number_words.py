from __future__ import annotations

import pytest

from model.training.number_words import (
    LANGUAGES,
    ctc_transcript,
    graphemic,
    plain,
    sentence,
    speech_text,
    spoken,
    transcript,
    written,
)

# Written forms: Académie française (traditional hyphens), Duden, RAE, Portuguese of Brazil, Japanese numerals.
WRITTEN = [
    ("en", 0, "zero"),
    ("en", 13, "thirteen"),
    ("en", 20, "twenty"),
    ("en", 21, "twenty-one"),
    ("en", 40, "forty"),
    ("en", 99, "ninety-nine"),
    ("fr", 0, "zéro"),
    ("fr", 17, "dix-sept"),
    ("fr", 21, "vingt et un"),
    ("fr", 22, "vingt-deux"),
    ("fr", 60, "soixante"),
    ("fr", 61, "soixante et un"),
    ("fr", 70, "soixante-dix"),
    ("fr", 71, "soixante et onze"),
    ("fr", 72, "soixante-douze"),
    ("fr", 77, "soixante-dix-sept"),
    ("fr", 80, "quatre-vingts"),
    ("fr", 81, "quatre-vingt-un"),
    ("fr", 90, "quatre-vingt-dix"),
    ("fr", 91, "quatre-vingt-onze"),
    ("fr", 99, "quatre-vingt-dix-neuf"),
    ("de", 1, "eins"),
    ("de", 16, "sechzehn"),
    ("de", 17, "siebzehn"),
    ("de", 21, "einundzwanzig"),
    ("de", 30, "dreißig"),
    ("de", 61, "einundsechzig"),
    ("de", 76, "sechsundsiebzig"),
    ("es", 16, "dieciséis"),
    ("es", 20, "veinte"),
    ("es", 21, "veintiuno"),
    ("es", 22, "veintidós"),
    ("es", 26, "veintiséis"),
    ("es", 30, "treinta"),
    ("es", 31, "treinta y uno"),
    ("es", 99, "noventa y nueve"),
    ("pt", 3, "três"),
    ("pt", 14, "quatorze"),
    ("pt", 16, "dezesseis"),
    ("pt", 21, "vinte e um"),
    ("pt", 50, "cinquenta"),
    ("pt", 99, "noventa e nove"),
    ("ja", 0, "ゼロ"),
    ("ja", 7, "七"),
    ("ja", 10, "十"),
    ("ja", 11, "十一"),
    ("ja", 20, "二十"),
    ("ja", 99, "九十九"),
]


@pytest.mark.parametrize(("language", "number", "text"), WRITTEN)
def test_number_is_written_as_its_language_writes_it(language: str, number: int, text: str) -> None:
    assert written(language, number) == text


@pytest.mark.parametrize(
    ("number", "kana", "romaji"),
    [
        (0, "ゼロ", "zero"),
        (4, "よん", "yon"),
        (10, "じゅう", "juu"),
        (19, "じゅうきゅう", "juukyuu"),
        (74, "ななじゅうよん", "nanajuuyon"),
    ],
)
def test_japanese_is_spoken_from_kana_and_spelled_in_latin_letters(number: int, kana: str, romaji: str) -> None:
    assert spoken("ja", number) == kana
    assert graphemic("ja", number) == romaji


@pytest.mark.parametrize("language", LANGUAGES)
def test_hundred_numbers_have_a_hundred_names(language: str) -> None:
    assert len({written(language, number) for number in range(100)}) == 100
    assert len({plain(language, number) for number in range(100)}) == 100
    assert len({graphemic(language, number) for number in range(100)}) == 100


@pytest.mark.parametrize("language", LANGUAGES)
def test_ctc_head_has_every_letter(language: str) -> None:
    letters = {letter for number in range(100) for letter in graphemic(language, number)}
    assert all(0 < ord(letter) < 348 for letter in letters)


@pytest.mark.parametrize("number", [-1, 100])
def test_number_outside_the_tables_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="0 to 99"):
        written("en", number)


def test_utterance_has_a_form_for_each_use() -> None:
    numbers = (21, 80)
    assert transcript("fr", numbers) == "vingt et un quatre vingts"
    assert sentence("fr", numbers) == "Vingt et un, quatre-vingts."
    assert speech_text("fr", numbers, pauses=True) == "vingt et un, quatre-vingts"
    assert speech_text("fr", numbers, pauses=False) == "vingt et un quatre-vingts"
    assert transcript("ja", numbers) == "二十一 八十"
    assert sentence("ja", numbers) == "二十一、八十。"
    assert ctc_transcript("ja", numbers) == "nijuuichi hachijuu"
