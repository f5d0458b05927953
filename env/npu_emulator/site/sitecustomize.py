"""Read by every Python that starts with this folder on PYTHONPATH: turns an unmodified program's import of torch_npu
into the emulated NPU, and puts faults in. Child processes inherit it with the environment.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PROJECT = Path(__file__).resolve().parents[3]
ROOT = "bundle"  # the name under which a program's process sees this project


def _load(name: str) -> Any:
    """A module of this project, without putting its folder onto the program's path."""
    if ROOT not in sys.modules:
        root = ModuleType(ROOT)
        root.__path__ = [str(PROJECT)]
        sys.modules[ROOT] = root
    return importlib.import_module(f"{ROOT}.{name}")


class _Around(importlib.abc.MetaPathFinder):
    """Runs steps before and after the import of some modules, whoever imports them."""

    def __init__(self) -> None:
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, list[Callable[[], None]]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.after:
            return None
        # Asked for by importlib.util.find_spec too (transformers does, before it imports): the steps must stay.
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            if fullname in self.before:
                self.before[fullname]()
            run(module)
            for step in self.after[fullname]:
                step()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _emulate(around: _Around) -> None:
    around.before["torch_npu"] = lambda: _load("env.npu_emulator.runtime").open_libraries()
    around.after["torch_npu"] = [lambda: _load("env.npu_emulator.runtime").install_kernels()]


def _inject(around: _Around, text: str) -> None:
    spec, inject = _load("verify.faults.spec"), _load("verify.faults.inject")
    try:
        injection = inject.Injection(spec.parse(text))
    except spec.FaultError as error:
        # Raised here it would only be printed, and the program would run without the faults it was to have.
        print(f"error: {spec.VARIABLE}: {error}", file=sys.stderr, flush=True)
        os._exit(2)  # as UsageError; an exception here would end in the interpreter's own traceback
    if "torch_npu" in around.after:
        kernels = "env.npu_emulator.kernels"
        around.after["torch_npu"].append(lambda: injection.after_torch_npu(_load(kernels)))
    around.after["torch"] = [injection.after_torch]
    around.after[inject.MODEL_MODULE] = [lambda: injection.after_model(sys.modules[inject.MODEL_MODULE])]


_around = _Around()
if os.environ.get("NPU_EMU") == "1":
    _emulate(_around)
if os.environ.get("NPU_EMU_FAULTS"):
    _inject(_around, os.environ["NPU_EMU_FAULTS"])
sys.meta_path.insert(0, _around)
