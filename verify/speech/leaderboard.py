"""The Open ASR Leaderboard's own normaliser, run from a checkout of its repository, which is on no package index.

Source: github.com/huggingface/open_asr_leaderboard, normalizer/ (tried with commit d1e99b25, 2026-08-21). English is
by normalizer.EnglishTextNormalizer; other languages are by normalizer.data_utils.ml_normalizer, which spells numbers
out and needs what the leaderboard itself needs (num2words, datasets, kaldialign). The leaderboard's scorer then also
forgives compounds written apart (kaldialign's merge_compounds), which is no matter of texts and is not done here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib import import_module, util
from pathlib import Path
from typing import Any

from env.errors import EnvironmentMissingError, InputError
from env.language import _

PACKAGE = "normalizer"
CLONE = "git clone https://github.com/huggingface/open_asr_leaderboard"


@cache
def digest(folder: Path) -> str:
    """The first twelve digits of the sha256 over the package's sources, for the signature."""
    total = sha256()
    for path in sorted((folder / PACKAGE).glob("*.py")):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


@cache
def _package(folder: Path) -> Any:
    initial = folder / PACKAGE / "__init__.py"
    spec = util.spec_from_file_location(PACKAGE, initial, submodule_search_locations=[str(initial.parent)])
    if not initial.is_file() or spec is None or spec.loader is None:
        raise InputError(
            _("{folder}: is no checkout of the Open ASR Leaderboard", folder=folder),
            why=_("it has no {file}", file=f"{PACKAGE}/__init__.py"),
            next=CLONE,
        )
    package = util.module_from_spec(spec)
    sys.modules[PACKAGE] = package  # its modules import one another by this name
    try:
        spec.loader.exec_module(package)
    except ImportError as error:
        raise _lacking(error) from error
    return package


def _lacking(error: ImportError) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        _("the leaderboard's normaliser needs {module}", module=error.name or str(error)),
        next="pip install num2words datasets kaldialign",
    )


@cache
def english(folder: Path) -> Callable[[str], str]:
    """The normaliser of English.

    Raises:
        InputError: `folder` is no checkout of it.
        EnvironmentMissingError: it needs what is not installed.
    """
    return _package(folder).EnglishTextNormalizer()  # type: ignore[no-any-return]


@cache
def other(folder: Path, language: str | None) -> Callable[[str], str]:
    """The normaliser of any other language.

    Raises:
        InputError, EnvironmentMissingError: as `english`.
    """
    _package(folder)
    try:
        normalise = import_module(f"{PACKAGE}.data_utils").ml_normalizer
    except ImportError as error:
        raise _lacking(error) from error
    return lambda text: str(normalise(text, lang=language))
