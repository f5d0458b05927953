"""What is verified: the device, the checkpoint, the loaded model and its inputs, made once a process and shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from env.stack import ROOT, load_stack
from model import checkpoint as checkpoints
from model import components, device, stand_in, sums
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, Step
from model.device import Device
from verify import expected
from verify.context import Context
from verify.expected import Expected

T = TypeVar("T")

DIGESTS = ROOT / ".cache" / "weights-sha256.json"


def _once(context: Context, key: str, make: Callable[[], T]) -> T:
    if key not in context.shared:
        context.shared[key] = make()
    found: T = context.shared[key]
    return found


def the_device(context: Context) -> Device:
    """Raises: UsageError, DeviceError."""
    return _once(context, "device", lambda: device.resolve(context.device))


def the_checkpoint(context: Context) -> Checkpoint:
    """Raises: CheckpointError; UsageError for an unknown stand-in; StorageError where one cannot be written."""

    def make() -> Checkpoint:
        folder = stand_in.folder_of(context.model_dir, context.seed, progress=lambda line: print(line, flush=True))
        return checkpoints.inspect(folder)

    return _once(context, "checkpoint", make)


def the_digest(context: Context) -> str:
    """SHA-256 of the weights, read once a process and kept between processes by size and time of change."""
    return _once(context, "digest", lambda: checkpoints.weights_sha256(the_checkpoint(context), DIGESTS))


def the_listed(context: Context) -> tuple[str, ...] | None:
    """The files that SHA256SUMS lists, found as listed; None where there is no such list.

    Raises: CheckpointError, where they are not.
    """
    return sums.compare(the_checkpoint(context), DIGESTS)


def the_model(context: Context) -> Loaded:
    """The loaded model, with as many CPU threads as its size asks for: another one may have run since.

    Raises:
        CheckpointError, DeviceError, OutOfMemoryError, UsageError.
    """

    def make() -> Loaded:
        found = the_device(context)
        checkpoint = the_checkpoint(context)
        return components.load(checkpoint, found, components.choose_dtype(context.dtype, checkpoint))

    loaded = _once(context, "model", make)
    device.set_threads(loaded.checkpoint.parameters)
    return loaded


def the_inputs(context: Context) -> Inputs:
    """Raises: UsageError where the sequence does not fit."""
    architecture = the_checkpoint(context).architecture
    return _once(
        context,
        "inputs",
        lambda: components.make_inputs(architecture, context.batch_size, context.seq_len, context.seed),
    )


def the_parts(context: Context) -> dict[str, Step]:
    """Every component with its output on the seeded inputs, run once a process."""
    return _once(context, "parts", lambda: components.run_parts(the_model(context), the_inputs(context)))


def the_expected(context: Context) -> Expected:
    """What the reference says of the inputs: from the file that --reference names, else made once and kept.

    Raises: ReferenceFileError, where that file is damaged or does not fit; StorageError, where none can be kept.
    """

    def make() -> Expected:
        checkpoint, inputs = the_checkpoint(context), the_inputs(context)
        dtype = components.choose_dtype(context.dtype, checkpoint)
        wanted = expected.about(checkpoint, the_digest(context), inputs, dtype)
        if context.reference is None:
            return expected.cached(checkpoint, inputs, wanted)
        given = Path(context.reference)
        found = expected.read(given)
        expected.require(found, wanted, given)
        return found

    return _once(context, "expected", make)


def the_small(context: Context) -> Context:
    """The same device with the bundled small checkpoint in float32, where no rounding hides a fault of one layer."""

    def make() -> Context:
        shared = {"device": the_device(context)}
        return replace(context, model_dir=load_stack().stand_in, dtype="float32", reference=None, shared=shared)

    return _once(context, "small", make)


def is_small(context: Context) -> bool:
    """Whether every layer can be watched, and passes are cheap."""
    return the_checkpoint(context).parameters < expected.SMALL


def signature(context: Context, **more: Any) -> dict[str, Any]:
    """What a figure of this run was taken with; `more` adds n and warm-up where there were repeats."""
    loaded = the_model(context)
    checkpoint = loaded.checkpoint
    return {
        "device": loaded.device.label,
        "device_name": loaded.device.name,
        "dtype": loaded.dtype,
        "attention": loaded.attention,
        "batch": context.batch_size,
        "seq_len": context.seq_len,
        "positions": the_inputs(context).positions,
        "seed": context.seed,
        "weights_sha256": the_digest(context),
        "weights_kind": checkpoint.kind,
        "weights_name": checkpoint.name,
        "versions": device.versions(),
        "threads": loaded.threads,
        "deterministic": device.deterministic(),
        "emulated": device.emulated(),
        **more,
    }
