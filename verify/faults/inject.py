"""Puts the faults of NPU_EMU_FAULTS into this process. Called by env/npu_emulator/site/sitecustomize.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from .spec import LIBRARY, Fault

MODEL_MODULE = "transformers.models.granite_speech.modeling_granite_speech"
MODEL_CLASS = "GraniteSpeechForConditionalGeneration"


class Injection:
    """The faults of one process; each `after_...` is called once the named module is imported."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._scopes: Any = None

    def after_torch(self) -> None:
        """On plain CPU: the faults in operators of CPU tensors."""
        faults = [fault for fault in self._faults if fault.at == "op" and fault.device == "cpu"]
        if faults:
            from .ops import CpuOpFaults, OpFaults

            CpuOpFaults(OpFaults(faults, self._shared_scopes()), "cpu").__enter__()  # type: ignore[no-untyped-call]

    def after_torch_npu(self, kernels: Any) -> None:
        """On the emulated NPU: the faults in its operators, by interceptors of its kernels, and in ACL calls."""
        from .events import HANG, fail_call

        for fault in self._faults:
            if fault.at == "call":
                code = HANG if fault.kind == "hang" else fault.code
                assert code is not None
                fail_call(fault.target, fault.nth, fault.times, code)
        faults = [fault for fault in self._faults if fault.at == "op" and fault.device == "npu"]
        if faults:
            from .ops import OpFaults

            kernels.interceptors.append(OpFaults(faults, self._shared_scopes(), lambda: kernels.card))

    def after_model(self, module: Any) -> None:
        """In the library and the model: hooks on every instance that is built from now on, and the key-value cache."""
        from .library import plant
        from .modules import CacheFaults, attach

        for fault in self._faults:
            if fault.at == LIBRARY:
                plant(fault.target)

        model_class = getattr(module, MODEL_CLASS)
        build = model_class.__init__

        @wraps(build)
        def init(model: Any, *args: Any, **kwargs: Any) -> None:
            build(model, *args, **kwargs)
            attach(model, self._faults, self._shared_scopes())

        model_class.__init__ = init
        cache_faults = [fault for fault in self._faults if fault.at == "cache"]
        if cache_faults:
            from transformers.cache_utils import Cache

            CacheFaults(cache_faults).attach(Cache)

    def _shared_scopes(self) -> Any:
        if self._scopes is None:
            from .modules import Scopes

            self._scopes = Scopes()
        return self._scopes
