"""How much memory of a device a checkpoint takes at least, counted from its config.json before anything is loaded.

    python -m env memory --model-dir DIR --dtype bfloat16 --batch-size 8 --seq-len 1500

What is counted is what the library's own code must hold at the same time, tensor by tensor, so the sum is a lower
bound: where it does not fit nothing will. An allocator's rounding, a runtime's workspace and the fused operators' own
come on top; what a runtime has taken already is not in what it calls free.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from env.arguments import Parser, at_least
from env.errors import OutOfMemoryError, UsageError, run_main
from env.language import Message, _, joined, translate
from env.options import AUTO, BATCH_SIZE, DTYPE, MODEL_DIR, SEQ_LEN
from model import cards, checkpoint, components, cpu, stand_in
from model.architecture import Architecture
from model.device import Device
from model.device_map import SHARE, UNKNOWN, Rooms
from model.location import resolve_model_dir

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOAT32, INT64 = 4, 8
GIB = 2**30
MEMINFO = Path("/proc/meminfo")
BATCHES = 1 << 16  # larger ones are not looked for


@dataclass(frozen=True)
class Memory:
    """Bytes at least, by what takes them. Encoder and language model run one after the other."""

    weights: int
    encoder: int  # the feed-forward or the attention of one conformer block
    cache: int  # keys and values of every layer and position
    language_model: int  # the MLP of one layer, or the logits of all positions

    @property
    def total(self) -> int:
        return self.weights + max(self.encoder, self.cache + self.language_model)


def count(architecture: Architecture, dtype: str, batch: int, frames: int) -> Memory:
    """What one pass over `batch` rows of `frames` encoder frames, and as many prompt positions, takes at least.

    As transformers' GraniteSpeech code holds them: a conformer block the encoder's and its own input, the features,
    and then either a projection and its SiLU or queries, keys, values and the scores of relative positions twice; the
    language model the gate, the up projection and their product, or the logits before and after their scaling.
    """
    size = BYTES[dtype]
    encoder, text = architecture.encoder, architecture.text
    positions = components.prompt_positions(architecture, frames)
    inner = encoder.num_heads * encoder.dim_head
    feed_forward = 2 * encoder.hidden_dim * encoder.feedforward_mult
    attention = 3 * inner + 2 * encoder.num_heads * encoder.context_size
    block = encoder.hidden_dim + max(feed_forward, attention)
    layer = 3 * text.intermediate_size + text.hidden_size
    return Memory(
        weights=_weights(architecture, size),
        encoder=batch * frames * (block * size + encoder.input_dim * FLOAT32),
        cache=batch * positions * 2 * text.num_hidden_layers * text.key_value_heads * text.head_size * size,
        language_model=batch * positions * max(layer, 2 * text.vocab_size) * size,
    )


def _weights(architecture: Architecture, size: int) -> int:
    """Of floating-point tensors in the dtype; a count of batches is a 64-bit number."""
    return sum(
        math.prod(shape) * (INT64 if name.endswith("num_batches_tracked") else size)
        for name, shape in architecture.tensors().items()
    )


def largest_batch(architecture: Architecture, dtype: str, frames: int, available: int) -> int:
    """The largest batch that `available` bytes may hold; 0 where one row does not fit."""
    fitting = 0
    step = BATCHES
    while step:
        if count(architecture, dtype, fitting + step, frames).total <= available:
            fitting += step
        step //= 2
    return fitting


def available(device: Device) -> int | None:
    """Bytes that are free on an NPU or a GPU, whoever took the others; None of a CPU: its weights may stay on disk."""
    if device.kind == "cpu":
        return None
    import torch

    try:
        free, _total = getattr(torch, device.kind).mem_get_info(device.index)
    except RuntimeError:  # a runtime that does not tell: nothing is refused for it
        return None
    return int(free)


def require(device: Device, architecture: Architecture, dtype: str, batch: int, frames: int) -> None:
    """Refuse what cannot fit before it is loaded.

    Raises:
        OutOfMemoryError: with what is needed, what is free, and what would fit.
    """
    free = available(device)
    needed = count(architecture, dtype, batch, frames)
    if free is None or needed.total <= free:
        return
    raise OutOfMemoryError(
        _(
            "{device} has {free:.2f} GiB free of {total:.2f}, and at least {needed:.2f} GiB are needed in {dtype}: "
            "weights {weights:.2f}, cache {cache:.2f}, the largest layer {layer:.2f}",
            device=device.label,
            free=free / GIB,
            total=(device.total_memory_bytes or 0) / GIB,
            needed=needed.total / GIB,
            dtype=dtype,
            weights=needed.weights / GIB,
            cache=needed.cache / GIB,
            layer=max(needed.encoder, needed.language_model) / GIB,
        ),
        why=_("counted from config.json for {batch} rows of {frames} frames", batch=batch, frames=frames),
        next=joined(_fitting(device, architecture, dtype, frames, free), _together(device, needed)),
    )


def require_together(
    device: Device, architecture: Architecture, dtype: str, batch: int, frames: int, *, must_split: bool = True
) -> Rooms:
    """What weights may take on each card of a device and in the host's memory, the work of a pass left free on each.

    `must_split`: a single card that holds the model is a mistake.

    Raises:
        OutOfMemoryError: not even cards and host together hold it.
        UsageError: there is one card, and it holds the model.
    """
    needed = count(architecture, dtype, batch, frames)
    working = needed.total - needed.weights
    rooms = Rooms(_rooms(device.cards, working), cpu.kilobytes(MEMINFO, "MemAvailable") or UNKNOWN)
    labels = ", ".join(card.label for card in device.cards)
    if must_split and len(device.cards) == 1 and rooms.cards[0] >= needed.weights:
        raise UsageError(
            _("{device} is the only card here and holds the model: there is nothing to split", device=labels),
            next=_("leave --device-map out"),
        )
    if any(rooms.cards) and needed.weights <= sum(rooms.cards) + rooms.host:
        return rooms
    raise OutOfMemoryError(
        _(
            "{room:.2f} GiB on {cards} and {host:.2f} in the host's memory are left for weights, which take "
            "{weights:.2f} in {dtype}, beside {working:.2f} for a pass on each card",
            cards=labels,
            room=sum(rooms.cards) / GIB,
            host=rooms.host / GIB,
            weights=needed.weights / GIB,
            dtype=dtype,
            working=working / GIB,
        ),
        why=_("counted from config.json for {batch} rows of {frames} frames", batch=batch, frames=frames),
        next=_("a smaller --batch-size or --seq-len, or more cards"),
    )


def _rooms(several: Sequence[Device], working: int) -> list[int]:
    """Bytes that weights may take of each card, beside what a pass takes there."""
    free = [available(card) for card in several]
    return [UNKNOWN if bytes_ is None else max(0, int(SHARE * bytes_) - working) for bytes_ in free]


def _together(device: Device, needed: Memory) -> Message:
    """What splitting the model would bring where one card cannot hold it."""
    several = cards.visible(device)
    room = sum(_rooms(several, needed.total - needed.weights))
    if len(several) == 1:
        return _("--device-map auto keeps in the host's memory what the card cannot hold, and is slow")
    if room >= needed.weights:
        return _(
            "--device-map auto splits it over the {count} visible cards, which have room for {room:.2f} GiB of weights",
            count=len(several),
            room=room / GIB,
        )
    return _(
        "the {count} visible cards together have room for {room:.2f} GiB of weights, and do not hold it either",
        count=len(several),
        room=room / GIB,
    )


def _fitting(device: Device, architecture: Architecture, dtype: str, frames: int, free: int) -> Message:
    show = {"npu": "npu-smi info", "cuda": "nvidia-smi"}[device.kind]
    if batch := largest_batch(architecture, dtype, frames, free):
        return _("--batch-size {batch} may fit; {show} says who holds the rest", batch=batch, show=show)
    if dtype == "float32" and (batch := largest_batch(architecture, "bfloat16", frames, free)):
        return _(
            "--dtype bfloat16 --batch-size {batch} may fit; {show} says who holds the rest", batch=batch, show=show
        )
    return _("{show} says who holds the rest; nothing of this model fits into what is free", show=show)


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env memory",
        description=_("What a checkpoint takes of a device's memory at least, from its config.json alone."),
        epilog=_("Exit status: 0; {code} where it does not fit into --available.", code=OutOfMemoryError.exit_code),
    )
    MODEL_DIR.add(parser)
    DTYPE.add(parser)
    BATCH_SIZE.add(parser, type=at_least(1), help=_("rows of equal length"))
    SEQ_LEN.add(parser)
    parser.add_argument("--available", type=_gib, metavar="GIB", help=_("memory that is free, to be judged by"))
    parser.add_argument("--json", action="store_true", help=_("bytes, as JSON"))
    options = parser.parse_args(argv)
    config, architecture = checkpoint.read_architecture(stand_in.config_file(resolve_model_dir(options.model_dir)))
    dtype = options.dtype if options.dtype != AUTO else _declared(config)
    memory = count(architecture, dtype, options.batch_size, options.seq_len)
    if options.json:
        print(json.dumps({"dtype": dtype, **asdict(memory), "total": memory.total}))
    else:
        print(table(memory, dtype, options.batch_size, options.seq_len))
    if options.available is None:
        return 0
    if not options.json:
        batch = largest_batch(architecture, dtype, options.seq_len, options.available)
        print(
            translate(
                _("the largest batch that {free:.2f} GiB may hold: {batch}", free=options.available / GIB, batch=batch)
            )
        )
    return 0 if memory.total <= options.available else OutOfMemoryError.exit_code


def table(memory: Memory, dtype: str, batch: int, frames: int) -> str:
    """What takes how much, in the user's language."""
    rows = {
        _("weights"): memory.weights,
        _("encoder, one block"): memory.encoder,
        _("language model, cache"): memory.cache,
        _("language model, one layer or the logits"): memory.language_model,
        _("at least, at the same time"): memory.total,
    }
    head = _("{dtype}, {batch} rows of {frames} frames", dtype=dtype, batch=batch, frames=frames)
    return "\n".join([translate(head), *(f"{size / GIB:10.3f} GiB  {translate(name)}" for name, size in rows.items())])


def _gib(text: str) -> int:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(translate(_("{text} is no size in GiB", text=repr(text))))
    return int(size * GIB)


def _declared(config: Mapping[str, Any]) -> str:
    """The dtype that config.json declares, which is what its weights were saved in."""
    name = config.get("dtype", config.get("torch_dtype"))
    return name if isinstance(name, str) and name in BYTES else "bfloat16"


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
