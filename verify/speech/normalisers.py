"""Text normalisers for scoring: Whisper's, as transformers ships them, or none.

In languages written without spaces every character counts as a word, so that WER is the character error rate
(Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", appendix C).

Transformers is read, not imported: importing it takes ten seconds, its normaliser file needs only `regex`. The file is
where transformers 4.57.6 has it; a test reads it there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from env import elsewhere
from env.errors import EnvironmentMissingError, InputError
from env.language import _
from model.signature import Signature
from model.windows import UNSPACED_LANGUAGES

NAMES = ("whisper", "basic", "none")


def version(package: str) -> str:
    """The installed version. `importlib.metadata` is imported late: --help asks for `NAMES` alone."""
    from importlib import metadata

    return metadata.version(package)


@cache
def _whisper() -> ModuleType:
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
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Normaliser:
    """Turns texts into what is compared. `spelling` maps British to American spelling, for English alone."""

    name: str
    spelling: Mapping[str, str]

    @property
    def signature(self) -> Signature:
        """The fields `normaliser` and, where it counts, `spelling`."""
        if self.name == "none":
            return Signature(normaliser="none")
        name = f"{self.name}.transformers-{version('transformers')}"
        if self.name != "whisper":
            return Signature(normaliser=name)
        mapping = json.dumps(dict(self.spelling), sort_keys=True)
        spelling = sha256(mapping.encode()).hexdigest()[:12] if self.spelling else "none"
        return Signature(normaliser=name, spelling=spelling)

    def words(self, text: str, language: str | None) -> str:
        """The text as words with single spaces; in languages of `UNSPACED_LANGUAGES` each character is a word."""
        return self._normalised(text, language, split=language in UNSPACED_LANGUAGES)

    def characters(self, text: str, language: str | None) -> str:
        """The text whose characters are compared; without spaces in languages of `UNSPACED_LANGUAGES`."""
        normalised = self._normalised(text, language, split=False)
        unspaced = self.name != "none" and language in UNSPACED_LANGUAGES
        return "".join(normalised.split()) if unspaced else normalised

    def _normalised(self, text: str, language: str | None, *, split: bool) -> str:
        if self.name == "none":
            return text
        if self.name == "whisper" and language == "en":
            return " ".join(_english(tuple(sorted(self.spelling.items())))(text).split())
        return " ".join(_basic(split)(text).split())


@cache
def _basic(split_letters: bool) -> Callable[[str], str]:
    normalise: Callable[[str], str] = _whisper().BasicTextNormalizer(split_letters=split_letters)
    return normalise


@cache
def _english(spelling: tuple[tuple[str, str], ...]) -> Callable[[str], str]:
    normalise: Callable[[str], str] = _whisper().EnglishTextNormalizer(dict(spelling))
    return normalise


def load(name: str, spelling: Path | None = None) -> Normaliser:
    """The normaliser `name`, one of `NAMES`.

    `spelling` is a JSON object of British to American words, as Whisper checkpoints carry it in normalizer.json;
    transformers does not ship one, and without it "colour" and "color" differ.

    Raises:
        InputError: the spelling file is no such object.
    """
    if name not in NAMES:
        raise ValueError(f"{name}: no such normaliser")
    if spelling is None:
        return Normaliser(name, {})
    try:
        mapping = elsewhere.read_json(spelling, "settings")
    except (OSError, ValueError) as error:
        raise InputError(_("{path}: cannot be read as a spelling map", path=spelling), why=str(error)) from error
    if not isinstance(mapping, dict) or not all(isinstance(word, str) for word in mapping.values()):
        raise InputError(
            _("{path}: is not a JSON object of words", path=spelling),
            next=_("use a Whisper checkpoint's normalizer.json"),
        )
    return Normaliser(name, mapping)
