"""CANN toolkits in the old layout (ascend-toolkit/<version>) and the new (cann-<version>), NNAL, the loader path."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from env.language import _
from env.probe import vendor
from env.probe.host import Library, Nnal, Toolkit
from env.probe.tree import Tree

CANN_RECORD = "/etc/Ascend/ascend_cann_install.info"
LIBRARIES = ("libascend_hal.so", "libascendcl.so", "libhccl.so", "libatb.so")
FOLDERS = ("runtime", "compiler", "opp")
_PARTS = ("toolkit", "runtime", "compiler", "opp", "opp_kernel", "hccl")
_KERNELS = "built-in/op_impl/ai_core/tbe/kernel"


def toolkits(tree: Tree, places: Sequence[str], environ: Mapping[str, str], home: str) -> tuple[Toolkit, ...]:
    """Every CANN that is installed, each once, however many links lead to it; and which one is active."""
    record = vendor.assignments(tree.read(CANN_RECORD) or "")
    chosen = environ.get("ASCEND_HOME_PATH") or environ.get("ASCEND_TOOLKIT_HOME")
    # Whoever comes first is taken as the default when no variable chooses: the links that set_env.sh goes by.
    candidates = [record[key].rstrip("/") for key in ("Toolkit_InstallPath",) if record.get(key)]
    for root in _roots(record, places, home):
        candidates += [f"{root}/cann", f"{root}/ascend-toolkit/latest"]
        candidates += [f"{root}/{name}" for name in tree.names(root, "cann-[0-9]*")]
        candidates += [f"{root}/ascend-toolkit/{name}" for name in tree.names(f"{root}/ascend-toolkit", "[0-9]*")]
    places_of: dict[str, str] = {}
    for path in dict.fromkeys(([chosen] if chosen else []) + candidates):
        if (identity := _identity(tree, path)) is not None:
            places_of.setdefault(identity, path)
    active = _identity(tree, chosen) if chosen else next(iter(places_of), None)
    return tuple(_toolkit(tree, path, identity, identity == active) for identity, path in places_of.items())


def _roots(record: Mapping[str, str], places: Sequence[str], home: str) -> list[str]:
    """Where CANN and NNAL may be installed: beside the driver, where the record says, or in this user's home."""
    roots = [*places]
    roots += [record["Install_Path"].rstrip("/")] if record.get("Install_Path") else []
    roots += [f"{home.rstrip('/')}/Ascend"] if home else []
    return list(dict.fromkeys(roots))


def _info_files(tree: Tree, path: str) -> list[str]:
    folders = [path, *(f"{path}/{name}" for name in tree.names(path, "*-linux"))]
    return [f"{folder}/{name}" for folder in folders for name in tree.names(folder, "ascend_*_install.info")]


def _identity(tree: Tree, path: str) -> str | None:
    """The one real folder behind a path that leads to a toolkit, or None where it leads to none.

    `ascend-toolkit/latest` is a folder of links, so it is known by where its record really lies.
    """
    for info in _info_files(tree, path):
        folder = posixpath.dirname(tree.real(info))
        return posixpath.dirname(folder) if folder.endswith("-linux") else folder
    if any(tree.exists(f"{path}/{name}") for name in ("version.cfg", "toolkit/version.info", *FOLDERS)):
        return tree.real(path)
    return None


def _toolkit(tree: Tree, path: str, identity: str, active: bool) -> Toolkit:
    packages: list[tuple[str, str]] = []
    main: dict[str, str] = {}
    for info in _info_files(tree, path):
        fields = vendor.assignments(tree.read(info) or "")
        if "version" not in fields:
            tree.note(info, _("no version in it"))
            continue
        if posixpath.basename(info) == "ascend_toolkit_install.info" or not main:
            main = fields
        packages.append((fields.get("package_name", posixpath.basename(info)), fields["version"]))
    parts = _parts(tree, path)
    release = main.get("version") or _release_of_parts(parts) or _release_of_name(identity)
    return Toolkit(
        path=identity,
        layout=_layout(identity),
        release=release,
        innerversion=main.get("innerversion"),
        driver_families=vendor.bracketed(main.get("compatible_version", "")),
        arch=main.get("arch") or next((name.removesuffix("-linux") for name in tree.names(path, "*-linux")), None),
        active=active,
        packages=tuple(dict.fromkeys(packages)),
        parts=tuple(sorted(parts.items())),
        folders=tuple(name for name in FOLDERS if tree.is_folder(f"{path}/{name}")),
        kernels=_kernels(tree, path),
        set_env=_set_env(tree, path, identity),
    )


def _layout(identity: str) -> str:
    if posixpath.basename(identity).startswith("cann-"):
        return "cann-<version>"
    return "ascend-toolkit" if "/ascend-toolkit" in identity else "other"


def _parts(tree: Tree, path: str) -> dict[str, str]:
    """The release of each part: version.cfg's (8.0.0 of "7.6.0.1.220:8.0.0"), else its version.info's version_dir."""
    parts = {
        part: version.partition(":")[2] or version
        for part, version in vendor.part_versions(tree.read(f"{path}/version.cfg") or "").items()
    }
    for part in _PARTS:
        fields = vendor.assignments(tree.read(f"{path}/{part}/version.info") or "")
        version = fields.get("version_dir") or fields.get("Version")
        if version:
            parts.setdefault(part, version)
    return parts


def _release_of_parts(parts: Mapping[str, str]) -> str | None:
    return next((parts[part] for part in _PARTS if part in parts), None)


def _release_of_name(identity: str) -> str | None:
    name = posixpath.basename(identity).removeprefix("cann-")
    return name if name[:1].isdigit() else None


def _kernels(tree: Tree, path: str) -> tuple[str, ...]:
    """The chips that there are operator binaries for: the toolkit alone brings folders with nothing but ops_oam."""
    folder = f"{path}/opp/{_KERNELS}"
    return tuple(name for name in tree.names(folder, "ascend*") if tree.holds_more_than(f"{folder}/{name}", "ops_oam"))


def _set_env(tree: Tree, path: str, identity: str) -> str | None:
    parent = posixpath.dirname(identity)
    for script in (f"{path}/set_env.sh", f"{identity}/set_env.sh", f"{parent}/set_env.sh"):
        if tree.exists(script):
            return script
    return None


def nnal(tree: Tree, places: Sequence[str], environ: Mapping[str, str], home: str) -> tuple[Nnal, ...]:
    """NNAL's ATB wherever a toolkit may be, and where ATB_HOME_PATH leads: `atb/latest`, and the versions beside it."""
    versions: dict[str, Nnal] = {}
    record = vendor.assignments(tree.read(CANN_RECORD) or "")
    folders = [f"{root}/nnal/atb" for root in _roots(record, places, home)]
    chosen = environ.get("ATB_HOME_PATH", "").rstrip("/")  # <version>/atb/cxx_abi_1
    version = posixpath.dirname(posixpath.dirname(tree.real(chosen))) if chosen.startswith("/") else ""
    folders += [posixpath.dirname(version)] if posixpath.basename(posixpath.dirname(chosen)) == "atb" else []
    for folder in dict.fromkeys(folders):
        for name in ("latest", *tree.names(folder, "[0-9]*")):
            path = tree.real(f"{folder}/{name}")
            text = tree.read(f"{path}/version.info")
            if text is None or path in versions:
                continue
            fields = vendor.labels(text) or vendor.assignments(text)
            if not fields.get("Ascend-cann-atb"):
                tree.note(f"{path}/version.info", _("no Ascend-cann-atb line in it"))
            abis = tuple(tree.names(f"{path}/atb", "cxx_abi_[01]"))
            versions[path] = Nnal(path, fields.get("Ascend-cann-atb"), fields.get("Ascend-cann-atb Version"), abis)
    return tuple(versions.values())


def libraries(tree: Tree, environ: Mapping[str, str]) -> tuple[Library, ...]:
    """Where LD_LIBRARY_PATH has the libraries that torch_npu needs: the first one is the one that loads."""
    folders = [folder for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/")]
    libraries = []
    for name in LIBRARIES:
        paths = [tree.real(f"{folder}/{name}") for folder in folders if tree.exists(f"{folder}/{name}")]
        libraries.append(Library(name, tuple(dict.fromkeys(paths))))
    return tuple(libraries)
