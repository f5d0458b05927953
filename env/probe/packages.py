"""Installed distributions by their metadata alone, and the folders that an import would take. Nothing is imported."""

from __future__ import annotations

import csv
import importlib.metadata
import posixpath
from collections.abc import Mapping, Sequence

from packaging.utils import canonicalize_name

from env.language import _
from env.probe.host import Distribution, Module
from env.probe.tree import Tree

# Packages that are known to be half removed or overwritten: the files that their RECORD lists are looked for.
WATCHED = ("torch-npu", "triton-ascend")
# Modules that are known to be shadowed, and the sub-folders that tell whose they are.
MODULES: Mapping[str, tuple[str, ...]] = {"torch": (), "torch_npu": (), "triton": ("backends/ascend",)}
_MOST_FILES = 20_000  # of a RECORD that are looked for: of torch's 13,000 files 300 are not deeper
_LONGEST_VERSION = 200  # characters: a folder's name, which holds it, may have 255
_DEEPEST = 3  # how many parts a path of RECORD may have to be looked for: torch_npu/lib/libtorch_npu.so


class _MetadataFile:
    """A path of a tree, as much of `importlib.metadata.SimplePath` as a distribution asks for."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.tree = tree
        self.path = path

    def joinpath(self, *parts: str) -> _MetadataFile:
        return _MetadataFile(self.tree, posixpath.join(self.path, *parts))

    def read_text(self, encoding: str = "utf-8") -> str:
        text = self.tree.read(self.path)
        if text is None:
            raise FileNotFoundError(self.path)
        return text


def distributions(tree: Tree, sites: Sequence[str]) -> tuple[Distribution, ...]:
    """Every installed distribution, in the order of the sites. One whose metadata cannot be read is noted."""
    distributions = []
    for site in sites:
        for folder in (*tree.names(site, "*.dist-info"), *tree.names(site, "*.egg-info")):
            path = f"{site}/{folder}"
            read = importlib.metadata.PathDistribution(_MetadataFile(tree, path))  # type: ignore[arg-type]
            # Of an egg-info the metadata is PKG-INFO, or the file itself.
            names = ("METADATA", "PKG-INFO") if tree.is_folder(path) else ("",)
            written = any(read.read_text(name) for name in names)
            headers = read.metadata if written else None
            name, version = (headers["Name"], headers["Version"]) if headers else (None, None)
            if headers is None or not name or not version or len(version) > _LONGEST_VERSION:
                tree.note(path, _("no Name and Version in its metadata"))
                name, _dash, version = folder.rpartition(".")[0].partition("-")
            name = canonicalize_name(name)
            requires = tuple(headers.get_all("Requires-Dist") or ()) if headers else ()
            absent = _absent(tree, site, path) if name in WATCHED else ()
            distributions.append(Distribution(name, version, site, requires, _tags(tree, path), absent))
    return tuple(distributions)


def _tags(tree: Tree, path: str) -> tuple[str, ...]:
    lines = (tree.read(f"{path}/WHEEL") or "").splitlines()
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Tag:"))


def listed(record: str) -> list[str]:
    """The files of a RECORD that are looked for: not byte code, not deep inside, not outside the site."""
    try:
        paths = [row[0] for row in csv.reader(record.splitlines()) if row]
    except csv.Error:
        return []
    return [
        path
        for path in paths
        if path.count("/") < _DEEPEST and not path.endswith(".pyc") and not path.startswith(("/", "../"))
    ]


def _absent(tree: Tree, site: str, path: str) -> tuple[str, ...]:
    record = tree.read(f"{path}/RECORD")
    paths = listed(record or "")
    if record and not paths:
        tree.note(f"{path}/RECORD", _("no list of files"))
    if len(paths) > _MOST_FILES:
        tree.note(
            f"{path}/RECORD", _("{count} files are listed, {most} looked for", count=len(paths), most=_MOST_FILES)
        )
        paths = paths[:_MOST_FILES]
    return tuple(name for name in paths if not tree.exists(f"{site}/{name}"))


def modules(tree: Tree, folder: str, python_path: str, sites: Sequence[str]) -> tuple[Module, ...]:
    """The folders that imports of the watched modules may take, in import order: working folder, PYTHONPATH, sites."""
    places = [folder, *python_path.split(":"), *sites]
    modules = []
    for name, parts in MODULES.items():
        for place in dict.fromkeys(place.rstrip("/") for place in places if place.startswith("/")):
            path = f"{place}/{name}"
            if tree.is_folder(path):
                present = tuple(part for part in parts if tree.exists(f"{path}/{part}"))
                modules.append(Module(name, path, tree.exists(f"{path}/__init__.py"), present))
    return tuple(modules)


def leftovers(tree: Tree, sites: Sequence[str]) -> tuple[str, ...]:
    """Folders that an interrupted pip renamed: "~orch_npu" of torch_npu."""
    return tuple(f"{site}/{name}" for site in sites for name in tree.names(site, "~*"))
