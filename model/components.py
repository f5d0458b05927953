"""The model's parts, run one at a time on raw tensors: encoder, CTC head, projector, splice, language model, generate.

The model is the library's own, from `AutoModelForSpeechSeq2Seq.from_pretrained`. Encoder and projector outputs are
taken with `getattr(x, "last_hidden_state", x)`: transformers 5.x returns objects where 4.57.6 returns tensors.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from env import options
from env.device_name import JOINED
from env.errors import CheckpointError, DeviceError, UsageError
from env.language import Message, _
from model import device_map, gate, layout, rotary, startup
from model.architecture import Architecture
from model.cards import Cards
from model.checkpoint import Checkpoint
from model.device import Device, runtime_errors, set_threads
from model.device_map import Rooms

if TYPE_CHECKING:
    import torch

DTYPES = options.DTYPES
# The prompt of the real model: 3 tokens ("USER: ") before the audio, 16 after it (raw transcription instruction).
PREFIX_TOKENS = 3
SUFFIX_TOKENS = 16
TBE_MODULES = "decorator, attr, psutil, scipy, numpy, cffi, yaml"  # of those that CANN's installation guide asks for


@dataclass
class Loaded:
    """A checkpoint on a device, ready to run."""

    model: Any
    device: Device
    checkpoint: Checkpoint
    dtype: str
    attention: str
    seconds: float  # from_pretrained and the move to the device
    threads: int
    adapted: tuple[Message, ...] = ()  # what of the library's model computes otherwise here, for the chip's sake
    first_ms: dict[str, float] = field(default_factory=dict)  # each component's first call in this process
    device_map: Mapping[str, str] | None = None  # where each part is, of a model that is split (model/device_map.py)

    @property
    def architecture(self) -> Architecture:
        return self.checkpoint.architecture

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch_dtype(self.dtype)

    @property
    def place(self) -> str:
        """The device's name; of a model that is split every place of it, "npu:0+npu:1"."""
        if self.device_map is None:
            return self.device.label
        return JOINED.join(device_map.places_used(self.device_map, self.device.label))

    def on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor where the model takes its inputs, in its dtype if it is floating point; rounded on its own side."""
        return (tensor.to(self.torch_dtype) if tensor.is_floating_point() else tensor).to(self.device.torch_device)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Logits [B, S, vocab_size] of the library's own forward pass, on the device."""
        return forward(self.model, self.on_device(inputs.features), self.on_device(inputs.input_ids))


@dataclass(frozen=True)
class Inputs:
    """Seeded raw inputs, on the CPU. Rows are of equal length, so nothing is padded."""

    features: torch.Tensor  # [B, T, input_dim], float32
    input_ids: torch.Tensor  # [B, S], int64, audio_tokens(T) of them the audio token

    @property
    def batch(self) -> int:
        return int(self.features.shape[0])

    @property
    def frames(self) -> int:
        return int(self.features.shape[1])

    @property
    def positions(self) -> int:
        return int(self.input_ids.shape[1])


def torch_dtype(name: str) -> torch.dtype:
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def choose_dtype(name: str, checkpoint: Checkpoint, device: Device) -> str:
    """`auto` is the checkpoint's own dtype: what ships is what is verified. On a chip that lacks it, float16 is.

    Raises:
        UsageError: no such dtype, or none that the chip computes in.
    """
    if name == "auto":
        return "float16" if device.refusal(checkpoint.dtype) else checkpoint.dtype
    if name not in DTYPES:
        raise UsageError(_("no dtype {name}", name=repr(name)), next=f"--dtype auto, {', '.join(DTYPES)}")
    if why := device.refusal(name):
        raise UsageError(why, next="--dtype float16")
    return name


def load(
    checkpoint: Checkpoint, device: Device, dtype: str, attention: str | None = None, *, rooms: Rooms | None = None
) -> Loaded:
    """Load an inspected checkpoint with the library's own loader; `attention` None is the library's own choice.

    `rooms` say what weights may take on each of several cards.

    Raises:
        CheckpointError: the loader left a tensor out or met another one, whatever the headers declare.
        OutOfMemoryError: the device, or all cards and the host, cannot hold it.
    """
    threads = set_threads(checkpoint.parameters)
    quiet()
    # The class is imported before the clock starts: its 10 s are the process's, not the checkpoint's.
    with startup.importing(startup.MODEL):
        from transformers import GraniteSpeechForConditionalGeneration  # noqa: F401

    full_precision(device, dtype)
    started = time.perf_counter()
    with runtime_errors(device, _("loading {name}", name=checkpoint.name)):
        try:
            model, info = gate.load_model(checkpoint.folder, dtype=torch_dtype(dtype))
        except (OSError, ValueError) as error:  # after inspection: a file that changed, or a disk that fails
            raise CheckpointError(
                _("{folder} cannot be loaded: {error}", folder=checkpoint.folder, error=str(error)),
                next=_("run it again"),
            ) from error
        except (AttributeError, ImportError, KeyError, TypeError) as error:
            raise CheckpointError(
                _(
                    "{folder} asks of transformers what it does not have: {error}",
                    folder=checkpoint.folder,
                    error=f"{type(error).__name__}: {error}".splitlines()[0],
                ),
                why=_("config.json names an activation, a rotary type, a quantisation or an attention of its own"),
                next=_("hold config.json against the publisher's"),
            ) from error
        adapted = _adapt(model.eval(), device)
        places = device_map.dispatch(model, device, rooms) if device.split else None
        if places is None:
            model = model.to(device.torch_device)
        elif isinstance(device, Cards):
            device = device.only(places.values())
        device.synchronize()
    seconds = time.perf_counter() - started
    left = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
    if left:
        raise CheckpointError(
            _("{folder} was not loaded whole: {left}", folder=checkpoint.folder, left=str(left)),
            next="nox -s verify -- --level 1",
        )
    if attention is not None:
        model.language_model.set_attn_implementation(attention)  # the encoder's own is torch's, the projector's eager
    implementation = attention or str(model.config._attn_implementation)
    return Loaded(model, device, checkpoint, dtype, implementation, seconds, threads, adapted, device_map=places)


def _adapt(model: Any, device: Device) -> tuple[Message, ...]:
    """Keep the model's numbers where the chip would change them; what was done, as sentences."""
    if device.refusal("float32") and rotary.multiply_one_by_one(model):
        return (_("rotary angles multiplied one by one in float32"),)
    return ()


def full_precision(device: Device, dtype: str) -> None:
    """Make float32 mean float32: convolutions default to HF32 on NPU and to TF32 on CUDA.

    On an NPU that starts the graph engine and with it CANN's operator compiler, some 5 s the first time (torch-npu
    v7.3.1, EnvVariables.cpp, AclSetCompileopt): nothing else does where all is bfloat16.

    Raises:
        DeviceError: it does not start.
    """
    if dtype != "float32" or device.kind == "cpu":
        return
    import torch

    if device.kind == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        return
    try:
        with runtime_errors(device, _("starting CANN's operator compiler")), startup.timed(startup.COMPILER):
            torch.npu.conv.allow_hf32 = False  # type: ignore[attr-defined]
            torch.npu.matmul.allow_hf32 = False  # type: ignore[attr-defined]
    except DeviceError as error:
        modules = f"{sys.executable} -c 'import {TBE_MODULES}'"
        raise DeviceError(
            error.what,
            why=_("{why}; it runs in this Python, and mostly misses a module there", why=error.why),
            next=_("{command}; the first ERROR of CANN's log (plog) names the module", command=modules),
        ) from error


def quiet() -> None:
    """Silence the library's advice: what matters is checked here and told in this bundle's words."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|torch_npu)(\.|$)")


def prompt_positions(architecture: Architecture, seq_len: int) -> int:
    """How many positions of the language model go with `seq_len` encoder frames."""
    return max(seq_len, PREFIX_TOKENS + architecture.audio_tokens(seq_len) + SUFFIX_TOKENS)


def make_inputs(architecture: Architecture, batch: int, seq_len: int, seed: int) -> Inputs:
    """Seeded inputs: `seq_len` encoder frames, and as many language-model positions.

    The positions are never fewer than a real prompt has: 3 before the audio tokens, 16 after them. Features are normal
    with the front end's spread (about -1.5 to 2), text tokens are uniform over the vocabulary without special tokens.

    Raises:
        UsageError: the positions do not fit the language model.
    """
    import torch

    audio = architecture.audio_tokens(seq_len)
    positions = prompt_positions(architecture, seq_len)
    limit = architecture.text.max_position_embeddings
    if positions > limit:
        raise UsageError(
            _(
                "--seq-len {seq_len} needs {positions} positions, the language model has {limit}",
                seq_len=seq_len,
                positions=positions,
                limit=limit,
            ),
            next=_("a smaller --seq-len"),
        )
    generator = torch.Generator().manual_seed(seed)
    features = 0.7 * torch.randn(batch, seq_len, architecture.encoder.input_dim, generator=generator)
    special = architecture.special_tokens | {architecture.audio_token}
    choices = torch.tensor([token for token in range(architecture.text.vocab_size) if token not in special])
    ids = choices[torch.randint(len(choices), (batch, positions), generator=generator)]
    ids[:, PREFIX_TOKENS : PREFIX_TOKENS + audio] = architecture.audio_token
    return Inputs(features, ids)


def encode(model: Any, features: torch.Tensor) -> torch.Tensor:
    """[B, T, input_dim] -> [B, T, hidden_dim]."""
    return _tensor(layout.base(model).encoder(features))


def ctc_head(model: Any, encoded: torch.Tensor) -> torch.Tensor:
    """[B, T, hidden_dim] -> [B, T, output_dim]; inside the encoder the same layer feeds its middle back.

    Of what -plus gives, layers side by side, the last layer is last.
    """
    out = layout.base(model).encoder.out
    width = out.in_features
    return _tensor(out(encoded if encoded.shape[-1] == width else encoded[..., -width:]))


def project(model: Any, encoded: torch.Tensor) -> torch.Tensor:
    """[B, T, hidden_dim] -> [B, queries * ceil(T / window), text hidden_size]."""
    return _tensor(layout.base(model).projector(encoded))


def splice(model: Any, input_ids: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Text embeddings [B, S, hidden] with `audio` put, in order, where the ids hold the audio token."""
    return _tensor(layout.base(model).get_merged_audio_embeddings(input_ids=input_ids, audio_features=audio))


def language_model(
    model: Any, embeddings: torch.Tensor, mask: torch.Tensor | None = None, positions: torch.Tensor | None = None
) -> torch.Tensor:
    """[B, S, hidden] -> logits [B, S, vocab_size]. `mask` and `positions` [B, S] are those of a padded batch."""
    whole = model if layout.is_nested(model) else model.language_model  # the head is the whole model's own there
    return _tensor(whole(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False).logits)


def forward(model: Any, features: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    """Audio features and prompt to logits [B, S, vocab_size], through everything."""
    return _tensor(model(input_ids=input_ids, input_features=features, use_cache=False).logits)


def _tensor(output: Any) -> torch.Tensor:
    tensor: torch.Tensor = getattr(output, "last_hidden_state", output)
    return tensor


@dataclass(frozen=True)
class Step:
    """One component with its input bound: calling it runs it on the device."""

    name: str
    run: Callable[[], torch.Tensor]
    output: torch.Tensor


def run_parts(loaded: Loaded, inputs: Inputs) -> dict[str, Step]:
    """Run every component once, each on its predecessor's output, and keep them to be run again.

    The names are those of `Architecture.output_shapes`; "end_to_end" is the library's own forward pass.

    Raises:
        OutOfMemoryError, DeviceError: as `device.runtime_errors`.
    """
    import torch

    model, device = loaded.model, loaded.device
    features, ids = loaded.on_device(inputs.features), loaded.on_device(inputs.input_ids)
    steps: dict[str, Step] = {}

    def step(name: str, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        with runtime_errors(device, _("running {name}", name=name)), torch.inference_mode():
            started = time.perf_counter()
            output = run()
            device.synchronize()
            loaded.first_ms.setdefault(name, (time.perf_counter() - started) * 1e3)
        steps[name] = Step(name, run, output)
        return output

    encoded = step("encoder", lambda: encode(model, features))
    step("ctc_head", lambda: ctc_head(model, encoded))
    audio = step("projector", lambda: project(model, encoded))
    merged = step("splice", lambda: splice(model, ids, audio))
    step("language_model", lambda: language_model(model, merged))
    step("end_to_end", lambda: forward(model, features, ids))
    return steps
