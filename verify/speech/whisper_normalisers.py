"""Whisper's text normalisers, as transformers ships them, made fast enough for a hundred thousand texts.

Transformers is read, not imported: importing it takes ten seconds, its normaliser file needs only `regex`. The file is
where transformers 4.57.6 has it; a test reads it there.

What is made faster gives the same texts, which a test holds on texts of every kind: a substitution is not tried where
the letters that its pattern needs are absent, what happens to a character is looked up once, and words without a
number in them are not counted through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from env.errors import EnvironmentMissingError
from env.language import _

_PLAIN = re.compile(r"(?:\\b)?([a-z' ]+)(?:\\b)?")  # a pattern of letters alone, as most of the replacements have
_DIGIT = re.compile(r"\d")


def version(package: str) -> str:
    """The installed version. `importlib.metadata` is imported late: --help asks for names alone."""
    from importlib import metadata

    return metadata.version(package)


def module() -> ModuleType:
    """Transformers' file of normalisers, run as a module of its own.

    Raises:
        EnvironmentMissingError: transformers is not installed, or has no such file.
    """
    import importlib.util

    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        raise EnvironmentMissingError(
            _("transformers is not installed: its text normalisers are needed"), next="nox -s setup"
        )
    path = Path(package.origin).parent / "models" / "whisper" / "english_normalizer.py"
    spec = importlib.util.spec_from_file_location("whisper_english_normalizer", path)
    if spec is None or spec.loader is None or not path.exists():
        raise EnvironmentMissingError(
            _("transformers {version} has no {file}", version=version("transformers"), file=path.name),
            next="nox -s setup",
        )
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class _Regex:
    """The module `re`, for one file of code: patterns are looked up without being compared, and not tried in vain."""

    def __init__(self) -> None:
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._needed: dict[str, str] = {}

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        plain = _PLAIN.fullmatch(pattern)
        self._needed[pattern] = plain[1] if plain else ""
        return self._patterns.setdefault(pattern, re.compile(pattern))

    def sub(self, pattern: str, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        compiled = self._patterns.get(pattern) or self._compiled(pattern)
        return compiled.sub(replacement, text) if self._needed[pattern] in text else text

    def match(self, pattern: str, text: str) -> re.Match[str] | None:
        return (self._patterns.get(pattern) or self._compiled(pattern)).match(text)

    def split(self, pattern: str, text: str) -> list[str | Any]:
        return (self._patterns.get(pattern) or self._compiled(pattern)).split(text)


class _Characters(dict[int, str]):
    """What becomes of each character, for str.translate: asked of `clean` once."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        super().__init__()
        self._clean = clean

    def __missing__(self, point: int) -> str:
        cleaned = self[point] = self._clean(chr(point))
        return cleaned


def _by_character(clean: Callable[..., str], form: Any) -> Callable[..., str]:
    """`clean`, which works on each character of the normal form `form` alone, with its answers kept."""
    tables: dict[str, _Characters] = {}

    def cleaned(text: str, keep: str = "") -> str:
        if keep not in tables:
            tables[keep] = _Characters((lambda mark: clean(mark, keep=keep)) if keep else clean)
        return unicodedata.normalize(form, text).translate(tables[keep])

    return cleaned


@cache
def fast() -> ModuleType:
    """The module with what it looks up in itself replaced; of another shape than expected, it is left as it is.

    Raises:
        EnvironmentMissingError: as `module`.
    """
    loaded: Any = module()
    cleaners = {"remove_symbols": "NFKC", "remove_symbols_and_diacritics": "NFKD"}
    if all(hasattr(loaded, name) for name in ("re", *cleaners)):
        loaded.re = _Regex()
        for name, form in cleaners.items():
            setattr(loaded, name, _by_character(getattr(loaded, name), form))
    return loaded  # type: ignore[no-any-return]


def english(spelling: dict[str, str]) -> Callable[[str], str]:
    """The English normaliser with a map of British to American words.

    Raises:
        EnvironmentMissingError: as `module`.
    """
    loaded: Any = fast()
    normalise = loaded.EnglishTextNormalizer(spelling)
    numbers = getattr(normalise, "standardize_numbers", None)
    if isinstance(getattr(numbers, "words", None), set):

        class Numbers(loaded.EnglishNumberNormalizer):  # type: ignore[misc]
            """Passes on the words of a text that has no digit, and of number words only "and": none of them changes."""

            def process_words(self, words: list[str]) -> Iterable[str]:
                if self.words.intersection(words) <= {"and"} and not _DIGIT.search(" ".join(words)):
                    return iter(words)
                counted: Iterator[str] = super().process_words(words)
                return counted

        normalise.standardize_numbers = Numbers()
    return normalise  # type: ignore[no-any-return]


def basic(*, split_letters: bool) -> Callable[[str], str]:
    """The normaliser of every other language.

    Raises:
        EnvironmentMissingError: as `module`.
    """
    return fast().BasicTextNormalizer(split_letters=split_letters)  # type: ignore[no-any-return]
