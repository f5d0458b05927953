"""Configurations that break in the field, each held against the float64 reference or against its sibling.

They run on the small checkpoint, where limits can be tight. Lengths are neighbours of the checkpoint's own block
(context_size) and window, so that it meets the edges that the real model has at 200 and at 15 frames.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from msgspec import structs

from env.language import Message, _
from model import components, gelu, generation, layout
from model.architecture import Architecture
from model.components import DTYPES, PREFIX_TOKENS, SUFFIX_TOKENS, Inputs, Loaded, make_inputs
from model.device import runtime_errors
from model.reference import Reference
from verify.checks.tokens import decoded, logits_bound
from verify.reference import bounds, numerics
from verify.reference.numerics import as_array
from verify.reference.values import LOGITS_POINT, SPLICED, Expected, Noise
from verify.run.figures.configurations import ConfigurationsFigures, Row
from verify.run.judgement import of_configurations
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

FRAMES_PER_S = 50  # encoder frames: two mel frames of 160 samples at 16 kHz each
SHORTEST = 5  # frames: 0.1 s
LONGEST = 15  # blocks: 60 s, at the real model's 4 s a block
BATCH = 3
PADDING = 5  # positions before a shorter prompt
STATIC_TOKENS = 8
FAR = 48  # positions at the end of the language model's range
REFERENCE = _("float64 on CPU")
SIBLING = _("the same row alone")
LENGTH, BATCHED, PROMPT = _("length"), _("batch"), _("prompt")
CACHE, ATTENTION, DTYPE = _("cache"), _("attention"), _("dtype")


@dataclass(frozen=True)
class Pair:
    """A checkpoint on the device and its reference, for the same inputs."""

    loaded: Loaded
    reference: Reference
    seed: int
    expected: Expected  # of the run's own inputs; the noise of others is much like theirs

    @property
    def architecture(self) -> Architecture:
        return self.loaded.architecture

    @property
    def limit(self) -> float:
        """How far the logits may be from the reference, as parity has it end to end."""
        return limits(self.loaded, self.expected)["rel_l2"]

    def inputs(self, frames: int, batch: int = 1) -> Inputs:
        return make_inputs(self.architecture, batch, frames, self.seed)

    def ours(self, component: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> numerics.Array:
        """What a component of the device gives for CPU tensors."""
        loaded = self.loaded
        with runtime_errors(loaded.device, "running a configuration"), torch.inference_mode():
            return as_array(component(loaded.model, *map(loaded.on_device, tensors)))

    def theirs(self, component: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> numerics.Array:
        """What the reference gives for them."""
        return as_array(self.reference.run(component, *tensors))

    def compare(self, group: str, name: str, component: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> Row:
        """A row that must agree with the reference."""
        return judged(
            group, name, REFERENCE, self.ours(component, *tensors), self.theirs(component, *tensors), self.limit
        )


def limits(loaded: Loaded, expected: Expected) -> Mapping[str, float]:
    """The limits of the logits of a whole pass, also in a dtype whose noise `expected` does not hold."""
    noise = noise_of(expected, loaded.dtype)
    return bounds.limits(bounds.arithmetic(loaded), loaded.dtype, "end_to_end", noise, classes=True).values


def noise_of(expected: Expected, dtype: str) -> Noise:
    """Of the logits of a whole pass of ideal devices."""
    known = dtype if dtype in expected.noise_of else expected.description.dtypes[0]
    return bounds.in_dtype(expected.noise_of[known].components["end_to_end"], known, dtype)


def judged(
    group: str, name: str, against: str, actual: numerics.Array, reference: numerics.Array, limit: float | None
) -> Row:
    """The row of a result that is to be near `reference`; of another shape it has no figure."""
    try:
        value = numerics.compare(actual, reference).figures.rel_l2
    except ValueError:
        value = None
    return Row.of(group, name, against, "rel_l2", value, limit)


def edges(architecture: Architecture) -> dict[int, Message]:
    """Frames to try, and why: around the edges of the window and of the block, the shortest and the longest audio."""
    block, window = architecture.encoder.context_size, architecture.window_size
    frames = {SHORTEST: _("the shortest")}
    frames |= {window - 1: _("window - 1"), window: _("one window"), window + 1: _("window + 1")}
    frames |= {block - 1: _("block - 1"), block: _("one block"), block + 1: _("block + 1")}
    frames |= {2 * block - 1: _("2 blocks - 1"), 2 * block + 1: _("2 blocks + 1")}
    frames |= {LONGEST * block: _("{count} blocks", count=LONGEST)}
    return dict(sorted(frames.items()))


def lengths(pair: Pair) -> Iterator[Row]:
    """Audio from 0.1 s to 60 s, in the checkpoint's own blocks."""
    for frames, why in edges(pair.architecture).items():
        inputs = pair.inputs(frames)
        name = _("{frames} frames ({seconds:g} s, {why})", frames=frames, seconds=frames / FRAMES_PER_S, why=why)
        yield pair.compare(LENGTH, name, components.forward, inputs.features, inputs.input_ids)


def batches(pair: Pair) -> Iterator[Row]:
    """Rows of equal and of unequal length. The encoder has no mask: padding changes the shorter row, by design."""
    block = pair.architecture.encoder.context_size
    equal = pair.inputs(block + 1, BATCH)
    name = _("{rows} rows of equal length", rows=BATCH)
    yield pair.compare(BATCHED, name, components.forward, equal.features, equal.input_ids)

    long, short = pair.inputs(2 * block).features, pair.inputs(block + 1).features
    silence = torch.full_like(long[:, short.shape[1] :], float(short.min()))
    padded = torch.cat([long, torch.cat([short, silence], dim=1)])
    both, alone = pair.ours(_hear, padded), pair.ours(_hear, long)
    yield judged(BATCHED, _("rows of unequal length"), REFERENCE, both, pair.theirs(_hear, padded), pair.limit)
    yield judged(BATCHED, _("the longer row"), SIBLING, both[:1], alone, 2 * pair.limit)
    own = pair.ours(_hear, short)
    yield judged(BATCHED, _("the padded row"), SIBLING, both[1:, : own.shape[1]], own, None)


def _hear(model: Any, features: torch.Tensor) -> torch.Tensor:
    return components.project(model, components.encode(model, features))


def prompts(pair: Pair, expected: Expected, inputs: Inputs) -> Iterator[Row]:
    """A prompt that is padded on the left beside a longer one, as in a batch; and one at the end of the range."""
    merged = expected.values[SPLICED]
    batch, positions, width = merged.shape
    padded = torch.cat([merged.new_zeros(batch, PADDING, width), merged], dim=1)
    longer = torch.cat([merged, merged[:, :PADDING]], dim=1)
    mask = torch.ones(2 * batch, PADDING + positions, dtype=torch.int64)
    mask[:batch, :PADDING] = 0
    place = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = pair.ours(components.language_model, torch.cat([padded, longer]), mask, place)[:batch, PADDING:]
    reference = as_array(expected.values[LOGITS_POINT])
    name = _("{positions} positions of padding before it", positions=PADDING)
    yield judged(PROMPT, name, REFERENCE, logits, reference, pair.limit)

    last = pair.architecture.text.max_position_embeddings
    count = min(FAR, positions, last)
    far = torch.arange(last - count, last).expand(batch, count)
    ones = torch.ones(batch, count, dtype=torch.int64)
    name = _("positions {first} to {last}", first=last - count, last=last - 1)
    yield pair.compare(PROMPT, name, components.language_model, merged[:, :count], ones, far)


def caches(pair: Pair, expected: Expected, inputs: Inputs) -> Iterator[Row]:
    """Decoding with every kind of cache, against the reference's tokens, which took none."""
    kinds: dict[Message, dict[str, Any]] = {
        _("dynamic"): {},
        _("static"): {"cache_implementation": "static"},
        _("none"): {"use_cache": False},
    }
    for name, options in kinds.items():
        rows = decoded(pair.loaded, inputs, expected, **options)
        same = all(row.first_difference is None or row.passed for row in rows)
        errors = [math.nan if error is None else error for row in rows for error in row.rel_l2]
        worst = max(errors) if same and not any(map(math.isnan, errors)) else None
        yield Row.of(CACHE, name, REFERENCE, "rel_l2", worst, logits_bound(pair.loaded, expected).rel_l2)


def attentions(pair: Pair, expected: Expected, inputs: Inputs) -> Iterator[Row]:
    """Both implementations of attention that the language model has."""
    reference = as_array(expected.values[LOGITS_POINT])
    for name in ("sdpa", "eager"):
        with attention(pair.loaded, name):
            logits = pair.ours(components.forward, inputs.features, inputs.input_ids)
        yield judged(ATTENTION, name, REFERENCE, logits, reference, pair.limit)


@contextlib.contextmanager
def attention(loaded: Loaded, name: str) -> Iterator[None]:
    """The language model with another implementation of attention for a while."""
    model = layout.base(loaded.model).language_model
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def dtypes(others: list[Loaded], pair: Pair, expected: Expected, inputs: Inputs) -> Iterator[Row]:
    """The checkpoint in every dtype."""
    reference = as_array(expected.values[LOGITS_POINT])
    for loaded in (pair.loaded, *others):
        one = replace(pair, loaded=loaded)
        logits = one.ours(components.forward, inputs.features, inputs.input_ids)
        yield judged(DTYPE, loaded.dtype, REFERENCE, logits, reference, one.limit)


def hf32(pair: Pair, expected: Expected, inputs: Inputs) -> Iterator[Row]:
    """On an NPU: float32 with and without the reduced precision that its convolutions have by default."""
    if pair.loaded.device.kind != "npu":
        return
    switch = torch.npu.conv  # type: ignore[attr-defined]
    reference = as_array(expected.values[LOGITS_POINT])
    before = switch.allow_hf32
    try:
        for allowed, limit in ((False, pair.limit), (True, None)):
            switch.allow_hf32 = allowed
            logits = pair.ours(components.forward, inputs.features, inputs.input_ids)
            yield judged("HF32", f"conv.allow_hf32 = {allowed}", REFERENCE, logits, reference, limit)
    finally:
        switch.allow_hf32 = before


def long_audio(pair: Pair) -> Iterator[Row]:
    """As much audio as the language model has positions for: about 6 minutes where there are 4096."""
    architecture = pair.architecture
    room = architecture.text.max_position_embeddings - PREFIX_TOKENS - SUFFIX_TOKENS
    frames = room // architecture.queries * architecture.window_size
    features = pair.inputs(architecture.window_size).features
    repeated = features.repeat(1, frames // architecture.window_size, 1)
    name = _("{frames} frames ({seconds:g} s)", frames=frames, seconds=frames / FRAMES_PER_S)
    yield pair.compare(LENGTH, name, _hear, repeated)


def siblings(loaded: Loaded, expected: Expected, inputs: Inputs) -> Iterator[Row]:
    """The run's own checkpoint at its own size: two ways to the same result, each with its noise."""
    allowed, checkpoint = limits(loaded, expected), loaded.checkpoint.name
    width = 2 * allowed["rel_l2"]
    alone = _forward(loaded, inputs)
    wide = Inputs(inputs.features.repeat(BATCH, 1, 1), inputs.input_ids.repeat(BATCH, 1))
    batch = _forward(loaded, wide)[: inputs.batch]
    name = _("{rows} rows, {checkpoint}", rows=BATCH, checkpoint=checkpoint)
    yield judged(BATCHED, name, SIBLING, batch, alone, width)
    other = "eager" if loaded.attention != "eager" else "sdpa"
    with attention(loaded, other):
        logits = _forward(loaded, inputs)
    name = _("{kind}, {checkpoint}", kind=other, checkpoint=checkpoint)
    yield judged(ATTENTION, name, loaded.attention, logits, alone, width)
    taken = generation.generate(loaded, inputs, STATIC_TOKENS, cache_implementation="static").tokens
    lost = numerics.regret(taken.numpy(), generation.score(loaded, inputs, taken))
    name = _("{kind}, {checkpoint}", kind=_("static"), checkpoint=checkpoint)
    yield Row.of(CACHE, name, _("an uncached pass"), "regret", lost, allowed["top1_regret"])


def _forward(loaded: Loaded, inputs: Inputs) -> numerics.Array:
    with runtime_errors(loaded.device, "running a configuration"), torch.inference_mode():
        return as_array(loaded.forward(inputs))


def measure(pair: Pair, others: list[Loaded], expected: Expected, inputs: Inputs, *, full: bool) -> list[Row]:
    """Every row. `full` adds audio up to the last position.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    rows = [
        *lengths(pair),
        *batches(pair),
        *prompts(pair, expected, inputs),
        *caches(pair, expected, inputs),
        *attentions(pair, expected, inputs),
        *dtypes(others, pair, expected, inputs),
        *hf32(pair, expected, inputs),
    ]
    return [*rows, *long_audio(pair)] if full else rows


FULL_FROM_LEVEL = 3


def check(session: Verification) -> Outcome:
    """Every configuration agrees with the reference; what padding does to a shorter row is reported."""
    bundled = session.bundled
    loaded, checkpoint = bundled.model, bundled.checkpoint
    device = bundled.device
    names = [name for name in DTYPES if name != loaded.dtype and not device.refusal(name)]
    others = [components.load(checkpoint, device, name) for name in names]
    pair = Pair(loaded, Reference(checkpoint, "float64", gelu.of(device).form), session.seed, bundled.reference)
    full = session.context.level >= FULL_FROM_LEVEL
    figures = ConfigurationsFigures(
        rows=measure(pair, others, bundled.reference, bundled.inputs, full=full),
        noise={one.dtype: noise_of(bundled.reference, one.dtype)[0] for one in (loaded, *others)},
        scores_noise=bundled.reference.scores_noise[loaded.dtype][0],
    )
    if full and not session.layer_by_layer:
        rows = [*figures.rows, *siblings(session.model, session.reference, session.inputs)]
        own, dtype = session.reference, session.model.dtype
        figures = structs.replace(figures, rows=rows, own_dtype=dtype, own_noise=noise_of(own, dtype)[0])
    if problems := of_configurations(figures):
        return failed(problems, figures, bundled.signature())
    count = sum(row.passed is True for row in figures.rows)
    reason = _("{count} configurations as the reference has them", count=count)
    return passed(reason, figures, bundled.signature())
