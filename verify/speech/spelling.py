"""Whisper's map of British to American spelling: published data, read where it is installed or given.

openai/whisper carries it as whisper/normalizers/english.json; transformers does not ship it, the package
whisper-normalizer does, the same bytes (sha256 6607f948be98...).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from env import elsewhere
from env.errors import InputError
from env.language import _
from verify.speech.whisper_normalisers import version

PACKAGE = "whisper-normalizer"
FILE = Path("normalizers", "english.json")


@dataclass(frozen=True)
class Spelling:
    """A map of words. `source` names it beside its digest, empty for a file of the user's."""

    words: Mapping[str, str]
    source: str = ""

    @property
    def signature(self) -> str:
        """What scores say of it: "none", or where it is from and the first twelve digits of its digest."""
        if not self.words:
            return "none"
        digest = sha256(json.dumps(dict(self.words), sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.source}.{digest}" if self.source else digest


NONE = Spelling({})


def from_file(path: Path) -> Spelling:
    """A JSON object of British to American words, as Whisper checkpoints carry it in normalizer.json.

    Raises:
        InputError: the file is no such object.
    """
    try:
        words = elsewhere.read_json(path, "settings")
    except (OSError, ValueError) as error:
        raise InputError(_("{path}: cannot be read as a spelling map", path=path), why=str(error)) from error
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise InputError(
            _("{path}: is not a JSON object of words", path=path),
            next=_("use a Whisper checkpoint's normalizer.json"),
        )
    return Spelling(words)


@cache
def installed() -> Spelling:
    """The map of the package whisper-normalizer; NONE where it is not installed."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return NONE
    path = Path(spec.origin).parent / FILE
    return Spelling(from_file(path).words, f"{PACKAGE}-{version(PACKAGE)}") if path.is_file() else NONE
