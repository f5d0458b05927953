"""The same checkpoint in float32 or float64 on the CPU, read from its files apart from the loaded model.

Weights are read from the shards as each layer needs them and dropped after it, so the reference of a 2.3 billion
parameter model takes a few hundred megabytes beside the model under test, not another nine gigabytes. What the device
holds is never read: a weight that was damaged on its way there shows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from model import gate, layout, threads
from model.checkpoint import Checkpoint
from model.components import ctc_head, encode, forward, language_model, project, quiet, splice, torch_dtype
from model.stored_tensors import StoredTensors

if TYPE_CHECKING:
    import torch


class Reference:
    """The model class on the CPU with weights that are only there while a layer runs.

    `gelu` is the form that the device computes: where it has no other than "tanh", the reference's is the same, so that
    what else is wrong there still shows.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: str, gelu: str = "erf") -> None:
        quiet()
        import torch
        from accelerate import init_empty_weights
        from transformers import AutoModelForSpeechSeq2Seq

        from model.gelu import use_tanh

        self.dtype = dtype
        self._parameters = checkpoint.parameters
        self._files = StoredTensors(checkpoint, torch_dtype(dtype) if dtype != "float64" else torch.float64)
        config = gate.load_config(checkpoint.folder)
        # Parameters have no storage; computed buffers (positions, RoPE frequencies) are real.
        with init_empty_weights(include_buffers=False):
            self.model = AutoModelForSpeechSeq2Seq.from_config(config, dtype=torch.float32, trust_remote_code=False)
        for parameter in self.model.parameters():  # not the computed buffers: the loader leaves them in float32 as well
            parameter.data = parameter.data.to(self._files.dtype)
        if gelu == "tanh":
            use_tanh(self.model)
        self.model.eval()
        with contextlib.suppress(OSError):  # most checkpoints have none; the model's config then says when to stop
            self.model.generation_config = gate.load_generation_config(checkpoint.folder)
        tied = bool(checkpoint.architecture.text.tie_word_embeddings)
        for name, module in layout.named_modules(self.model):
            stored = "language_model.model.embed_tokens" if tied and name == "language_model.lm_head" else name
            _Layer(self._files, stored, module).attach()

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        return self.run(encode, features)

    def ctc_head(self, encoded: torch.Tensor) -> torch.Tensor:
        return self.run(ctc_head, encoded)

    def project(self, encoded: torch.Tensor) -> torch.Tensor:
        return self.run(project, encoded)

    def splice(self, input_ids: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        return self.run(splice, input_ids, audio)

    def language_model(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.run(language_model, embeddings)

    def forward(self, features: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        return self.run(forward, features, input_ids)

    def run(self, component: Any, *tensors: torch.Tensor) -> torch.Tensor:
        """`component(model, *tensors)`, what is floating point widened."""
        import torch

        wide = [tensor.to(self._files.dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.inference_mode(), threads.for_reference(self._parameters):
            output: torch.Tensor = component(self.model, *wide)
        return output


class _Layer:
    """One module's own parameters and buffers, put in before it runs and taken out after."""

    def __init__(self, files: StoredTensors, name: str, module: torch.nn.Module) -> None:
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        prefix = f"{name}." if name else ""
        self.module = module
        self.empty = {key: tensor for key, tensor in own if prefix + key in files}
        self._files = files
        self._prefix = prefix

    def attach(self) -> None:
        if self.empty:
            self.module.register_forward_pre_hook(lambda module, inputs: self._fill())
            self.module.register_forward_hook(lambda module, inputs, output: self._drain())

    def _fill(self) -> None:
        import torch

        for key in self.empty:
            tensor = self._files[self._prefix + key]
            is_parameter = key in self.module._parameters
            setattr(self.module, key, torch.nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)

    def _drain(self) -> None:
        for key, tensor in self.empty.items():
            setattr(self.module, key, tensor)


def stored_rows(checkpoint: Checkpoint, token_ids: torch.Tensor) -> torch.Tensor:
    """Rows [n, hidden] of the stored token embeddings for `token_ids` [n], as they lie in the file."""
    import torch
    from safetensors import safe_open

    name = "language_model.model.embed_tokens.weight"
    with safe_open(checkpoint.entries[name][0], framework="pt") as file:
        table = file.get_slice(name)
        rows: torch.Tensor = torch.cat([table[token : token + 1] for token in token_ids.tolist()])
    return rows
