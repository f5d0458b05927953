"""Number words 0 to 99 in six languages, in the forms that speech, transcripts and the CTC head need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from env.toml import load_toml

LANGUAGES = ("en", "fr", "de", "es", "pt", "ja")
"""The languages that Granite-Speech-4.1-2B transcribes (its model card)."""

_WORDS = Path(__file__).with_name("number_words.toml")


@cache
def _tables() -> dict[str, Any]:
    return load_toml(_WORDS)


def _english(number: int, join: str) -> str:
    words = _tables()["en"]
    if number < 20:
        return str(words["units"][number])
    ten, unit = divmod(number, 10)
    return str(words["tens"][ten - 2]) + (join + words["units"][unit] if unit else "")


def _french(number: int) -> str:
    words = _tables()["fr"]
    units, tens = words["units"], words["tens"]
    if number < 20:
        return str(units[number])
    if number >= 80:
        # "quatre-vingts" alone takes an s; before another number it does not, and 81 and 91 take no "et".
        return "quatre-vingts" if number == 80 else "quatre-vingt-" + units[number - 80]
    base = 60 if number >= 60 else number // 10 * 10
    rest = number - base
    ten = tens[base // 10 - 2]
    if rest == 0:
        return str(ten)
    return f"{ten} et {units[rest]}" if rest in (1, 11) else f"{ten}-{units[rest]}"


def _german(number: int) -> str:
    words = _tables()["de"]
    if number < 20:
        return str(words["units"][number])
    ten, unit = divmod(number, 10)
    if unit == 0:
        return str(words["tens"][ten - 2])
    return ("ein" if unit == 1 else str(words["units"][unit])) + "und" + str(words["tens"][ten - 2])


def _joined(language: str, number: int, conjunction: str) -> str:
    """Spanish and Portuguese: a ten, the conjunction, a unit."""
    words = _tables()[language]
    if number < len(words["units"]):
        return str(words["units"][number])
    ten, unit = divmod(number, 10)
    return str(words["tens"][ten - 2]) + (f" {conjunction} {words['units'][unit]}" if unit else "")


def _japanese(number: int, units: Sequence[str], ten_word: str) -> str:
    if number < 10:
        return units[number]
    ten, unit = divmod(number, 10)
    return ("" if ten == 1 else units[ten]) + ten_word + (units[unit] if unit else "")


def _written_japanese(number: int) -> str:
    words = _tables()["ja"]
    return _japanese(number, words["units"], words["tens"][0])


_HYPHENATED: dict[str, Callable[[int], str]] = {
    "en": lambda number: _english(number, "-"),
    "fr": _french,
    "de": _german,
    "es": lambda number: _joined("es", number, "y"),
    "pt": lambda number: _joined("pt", number, "e"),
    "ja": _written_japanese,
}


def written(language: str, number: int) -> str:
    """`number` (0 to 99) as correct prose writes it: "twenty-three", "vingt et un", "einundzwanzig", "二十三"."""
    if not 0 <= number <= 99:
        raise ValueError(f"number words cover 0 to 99, not {number}")
    return _HYPHENATED[language](number)


def spoken(language: str, number: int) -> str:
    """`number` as the synthesiser should read it: as written, but kana for Japanese so that readings are certain."""
    if language == "ja":
        words = _tables()["ja"]
        return _japanese(number, words["kana"], words["kana_ten"])
    return written(language, number)


def plain(language: str, number: int) -> str:
    """`number` as a raw transcript holds it: lower case, no hyphens."""
    return written(language, number).replace("-", " ")


def graphemic(language: str, number: int) -> str:
    """`number` in characters that the CTC head has: as `plain`, but Latin letters (Hepburn) for Japanese."""
    if language == "ja":
        words = _tables()["ja"]
        return _japanese(number, words["romaji"], words["romaji_ten"])
    return plain(language, number)


def transcript(language: str, numbers: Sequence[int]) -> str:
    """The raw transcript of one utterance: "twenty three four"."""
    return " ".join(plain(language, number) for number in numbers)


def sentence(language: str, numbers: Sequence[int]) -> str:
    """The punctuated and capitalised transcript of one utterance: "Twenty-three, four."."""
    if language == "ja":
        return "、".join(written(language, number) for number in numbers) + "。"
    text = ", ".join(written(language, number) for number in numbers) + "."
    return text[0].upper() + text[1:]


def ctc_transcript(language: str, numbers: Sequence[int]) -> str:
    """What the CTC head should spell for one utterance."""
    return " ".join(graphemic(language, number) for number in numbers)


def speech_text(language: str, numbers: Sequence[int], *, pauses: bool) -> str:
    """What the synthesiser reads: numbers between commas when `pauses`, else in one go."""
    separator = ("、" if language == "ja" else ", ") if pauses else " "
    return separator.join(spoken(language, number) for number in numbers)
