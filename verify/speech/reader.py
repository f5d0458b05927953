"""What listens: the loaded model or its encoder as a reader of speech, and what its texts were made with."""

from __future__ import annotations

from typing import Any

from model import device as devices
from model.decoding import CtcReader, Decoding, Reader, Transcriber, load_processor
from verify.context import Context
from verify.subject import the_checkpoint, the_digest, the_model


def the_reader(context: Context, decoding: Decoding, *, ctc: bool = False) -> Reader:
    """The reader for a run; its processor is looked at before the weights are loaded.

    Raises:
        CheckpointError: the checkpoint lacks a processor file, or is damaged.
        DeviceError, OutOfMemoryError, UsageError: as `the_model`.
    """
    if "processor" not in context.shared:
        context.shared["processor"] = load_processor(the_checkpoint(context))
    processor = context.shared["processor"]
    loaded = the_model(context)
    return CtcReader(loaded, processor) if ctc else Transcriber(loaded, processor, decoding)


def signature(context: Context, reader: Reader, **more: Any) -> dict[str, Any]:
    """What transcripts were made with. It is the same in every process of a run, so no card's number is in it."""
    loaded = the_model(context)
    return {
        "weights_name": loaded.checkpoint.name,
        "weights_kind": loaded.checkpoint.kind,
        "weights_sha256": the_digest(context),
        "device": loaded.device.kind,
        "device_name": loaded.device.name,
        "dtype": loaded.dtype,
        "attention": loaded.attention,
        "decoding": reader.signature,
        "versions": devices.versions(),
        "emulated": devices.emulated(),
        **more,
    }
