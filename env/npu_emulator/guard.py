"""Where the emulated NPU must not start: on a machine that has a real one, or beside a real CANN."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..language import _  # noqa: TID252 (an emulated program sees this project under another name)
from . import SYMBOL

RUNTIME = "libascendcl.so"
LOADER_CACHE = Path("/etc/ld.so.cache")  # the libraries in the folders of ld.so.conf
MARKER = SYMBOL.encode()


def real_npu(
    environ: Mapping[str, str] = os.environ, devices: Path = Path("/dev"), loader_cache: Path = LOADER_CACHE
) -> str | None:
    """What shows that this machine has a real NPU or CANN, as a sentence; None where nothing does.

    Device nodes are looked for under `devices`; CANN's runtime in the folders of LD_LIBRARY_PATH, of the
    variables that CANN's set_env.sh exports, and in the loader's cache.
    """
    for node in sorted(devices.glob("davinci*")):
        return _("{node} is there: this machine has a real NPU", node=str(node))
    for folder in _library_folders(environ):
        library = folder / RUNTIME
        if library.is_file() and MARKER not in library.read_bytes():
            return _("{library} is a real CANN on the loader path", library=str(library))
    if loader_cache.is_file() and RUNTIME.encode() in loader_cache.read_bytes():
        return _(
            "{library} of a real CANN is in the loader's cache ({cache})", library=RUNTIME, cache=str(loader_cache)
        )
    return None


def _library_folders(environ: Mapping[str, str]) -> list[Path]:
    folders = [Path(entry) for entry in environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    for variable in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"):
        if environ.get(variable):
            root = Path(environ[variable])
            folders += [root / "lib64", root / "runtime" / "lib64"]
    return folders
