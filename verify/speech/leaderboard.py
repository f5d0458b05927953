"""The Open ASR Leaderboard's own normaliser, which is on no package index: a checkout's, where it is the published one.

Source: github.com/huggingface/open_asr_leaderboard, normalizer/ (tried with commit d1e99b25, 2026-08-21). English is
by normalizer.EnglishTextNormalizer; other languages are by normalizer.data_utils.ml_normalizer, which spells numbers
out and needs what the leaderboard itself needs (num2words, datasets, kaldialign). The leaderboard's scorer then also
forgives compounds written apart (kaldialign's merge_compounds), which is no matter of texts and is not done here.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from importlib import import_module, util
from pathlib import Path
from typing import Any

from env import elsewhere
from env.errors import EnvironmentMissingError, InputError
from env.language import _

PACKAGE = "normalizer"
COMMIT = "d1e99b25"
# sha256 over the names and bytes of normalizer/*.py at that commit, in their order: what may be run.
PUBLISHED = frozenset({"e4bee6d73841b4e6cd1fad092cb38a49877ddabf359d59264389ccc6753a5214"})
CLONE = "git clone https://github.com/huggingface/open_asr_leaderboard"


@cache
def digest(folder: Path) -> str:
    """The first twelve digits of the sha256 over the package's sources, for the signature."""
    return _digest(_sources(folder))[:12]


def _sources(folder: Path) -> dict[str, bytes]:
    """The bytes of the package's files by name.

    Raises:
        InputError: one cannot be read, or is no regular file of a source's size.
    """
    paths = sorted((folder / PACKAGE).glob("*.py"))
    try:
        return {path.name: elsewhere.read_bytes(path, "normaliser") for path in paths}
    except OSError as error:
        raise InputError(_("{folder} cannot be read: {reason}", folder=folder, reason=str(error))) from error


def _digest(sources: Mapping[str, bytes]) -> str:
    total = sha256()
    for name, content in sources.items():
        total.update(name.encode() + b"\0" + content)
    return total.hexdigest()


@cache
def _package(folder: Path) -> Any:
    """The package, run from a copy of the very bytes that were looked at: a folder that a user names is never code."""
    sources = _sources(folder)
    if "__init__.py" not in sources:
        raise InputError(
            _("{folder}: is no checkout of the Open ASR Leaderboard", folder=folder),
            why=_("it has no {file}", file=f"{PACKAGE}/__init__.py"),
            next=CLONE,
        )
    if _digest(sources) not in PUBLISHED:
        raise InputError(
            _("{folder}: its normaliser is not the published one", folder=folder),
            why=_("it is code, and other code than the one that was looked at is not run"),
            next=_("git -C {folder} checkout {commit}", folder=folder, commit=COMMIT),
        )
    copy = Path(tempfile.mkdtemp(prefix="leaderboard-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for name, content in sources.items():
        (copy / name).write_bytes(content)
    spec = util.spec_from_file_location(PACKAGE, copy / "__init__.py", submodule_search_locations=[str(copy)])
    assert spec is not None
    assert spec.loader is not None
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
