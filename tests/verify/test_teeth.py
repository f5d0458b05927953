"""Each limit and each comparison has teeth: weaken it, and a fault goes unseen that is seen as it is.

A row names what is weakened (a limit times 100, or a comparison dropped) and a fault that nothing else sees. Whoever
weakens it in the code fails the first test of its row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs

from model import components, generation
from model.components import Inputs, Loaded, run_parts
from model.reference import Reference
from tests.verify.wrong_models import FF2, NORM, UP_PROJ, WRONG
from verify.checks import configurations, generate, layers, parity, repeatability, tokens, weights
from verify.checks import repeatability as repeats
from verify.checks.configurations import Pair
from verify.checks.repeatability import Repeats
from verify.reference import bounds, pairs
from verify.reference.figures import Bound
from verify.reference.limits import Limits, cosine_of, judge
from verify.reference.values import Expected
from verify.run import judgement
from verify.run.figures.repeats import ProcessFigures, RepeatabilityFigures, RepeatsFigures

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Subjects:
    float32: Loaded
    bfloat16: Loaded
    inputs: Inputs
    expected: Expected
    patch: Patch


@dataclass(frozen=True)
class Tooth:
    """What is weakened, the faults that `seen` reports in a planted model, and how it is weakened."""

    name: str
    seen: Callable[[Subjects], Sequence[str]]
    weaken: Callable[[Patch], None]


def scaled(loaded: Loaded, layer: str, factor: float, *, passes: Callable[[int], bool] = lambda n: True) -> Loaded:
    """A layer's output times `factor` in those passes, counted from 1."""
    model = copy.deepcopy(loaded.model)
    count = [0]

    def hook(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        return output * factor if passes(count[0]) else output

    model.get_submodule(layer).register_forward_hook(hook)
    return replace(loaded, model=model)


def planted(loaded: Loaded, name: str) -> Loaded:
    model = copy.deepcopy(loaded.model)
    next(fault for fault in WRONG if fault.name == name).plant(model)
    return replace(loaded, model=model)


def of_layers(loaded: Loaded, subjects: Subjects) -> list[str]:
    return judgement.of_layers(layers.measure(loaded, subjects.inputs, subjects.expected))


def one_layer_in_bfloat16(subjects: Subjects) -> list[str]:
    return of_layers(scaled(subjects.bfloat16, UP_PROJ, 1.01), subjects)


def one_channel_in_bfloat16(subjects: Subjects) -> list[str]:
    return of_layers(planted(subjects.bfloat16, "a weight's top mantissa bit flipped"), subjects)


def one_layer_in_float32(subjects: Subjects) -> list[str]:
    return of_layers(scaled(subjects.float32, NORM, 1 + 1e-5), subjects)


def one_layer_on_an_npu(subjects: Subjects) -> list[str]:
    subjects.patch.setattr(bounds, "arithmetic", lambda loaded: "npu")
    return of_layers(scaled(subjects.float32, FF2, 1.001), subjects)


def the_second_pass(subjects: Subjects) -> list[str]:
    return of_layers(scaled(subjects.float32, FF2, 1.01, passes=lambda n: n == 2), subjects)


def a_layer_that_never_ran(subjects: Subjects) -> list[str]:
    model = copy.deepcopy(subjects.float32.model)
    inner = model.encoder.layers[0].ff1
    inner.forward = lambda x: inner.down_proj(inner.silu(inner.up_proj(inner.pre_norm(x))))  # no dropout
    return of_layers(replace(subjects.float32, model=model), subjects)


def the_last_bit_of_a_weight(subjects: Subjects) -> list[str]:
    model = copy.deepcopy(subjects.float32.model)
    model.state_dict()["encoder.out.weight"].view(-1).view(torch.int32)[3] ^= 1
    return [row.name for row in weights.measure(replace(subjects.float32, model=model)).differing]


def the_scores_of_decoding(subjects: Subjects) -> list[str]:
    return judgement.of_tokens(
        tokens.measure(scaled(subjects.float32, "language_model.lm_head", 1.0001), subjects.inputs, subjects.expected)
    )


def second_best_token(subjects: Subjects) -> list[str]:
    right = generation.decode

    def decode(*arguments: Any, **options: Any) -> Any:
        taken, scores = right(*arguments, **options)
        taken = taken.clone()
        taken[0, 3] = int(np.argsort(scores[0, 3])[-2])
        return taken, scores

    subjects.patch.setattr(generation, "decode", decode)
    return judgement.of_tokens(tokens.measure(subjects.float32, subjects.inputs, subjects.expected))


def second_best_token_where_forced(subjects: Subjects) -> list[str]:
    right = generation.score

    def score(*arguments: Any) -> Any:
        scores = right(*arguments)
        best, second = np.argsort(scores[0, 3])[-1:-3:-1]
        scores[0, 3, [best, second]] = scores[0, 3, [second, best]]
        return scores

    subjects.patch.setattr(generation, "score", score)
    return judgement.of_tokens(tokens.measure(subjects.float32, subjects.inputs, subjects.expected))


def noise(subjects: Subjects) -> list[str]:
    device = scaled(subjects.float32, UP_PROJ, 1 + 1e-6, passes=lambda n: n % 2 == 0)
    repeated = repeats.repeat(Repeats(device, subjects.inputs, deep=True), at_least=2, seconds=0)
    return ["differs"] * repeated.differing


def noise_once_warm(subjects: Subjects) -> list[str]:
    device = scaled(subjects.float32, UP_PROJ, 1 + 1e-6, passes=lambda n: n > 2)
    return [name for name, same in repeats.warm(device.device, run_parts(device, subjects.inputs)).items() if not same]


def other_bits_in_another_process(subjects: Subjects) -> list[str]:
    here = Repeats(subjects.float32, subjects.inputs, deep=True).digests()
    there = Repeats(scaled(subjects.float32, UP_PROJ, 1 + 1e-6), subjects.inputs, deep=True).digests()
    return [name] if (name := repeats.first_difference(here, there)) else []


def a_row_in_its_place(subjects: Subjects) -> list[str]:
    model = copy.deepcopy(subjects.float32.model)
    model.get_submodule(UP_PROJ).register_forward_hook(
        lambda module, args, output: torch.cat([output[:1], output[1:] * 1.001]) if len(output) > 1 else output
    )
    limit = 2 * tokens.logits_bound(subjects.float32, subjects.expected).rel_l2
    batch = Repeats(replace(subjects.float32, model=model), subjects.inputs, deep=True).at_every_place(limit)
    right = RepeatsFigures(runs=2, differing=0, first_difference=None)
    process = ProcessFigures(points=1, first_difference=None)
    return judgement.of_repeatability(
        RepeatabilityFigures(repeats=right, warm={}, batch=batch, repeats_sharp=right, process=process)
    )


def a_length(subjects: Subjects) -> list[str]:
    wrong = scaled(subjects.float32, FF2, 1.001)
    pair = Pair(wrong, Reference(subjects.float32.checkpoint, "float64"), 1, subjects.expected)
    inputs = pair.inputs(21)
    row = pair.compare("length", "21", components.forward, inputs.features, inputs.input_ids)
    return [row.name] if row.passed is False else []


def a_static_cache(subjects: Subjects) -> list[str]:
    wrong = scaled(subjects.float32, "language_model.lm_head", 1.0001)
    pair = Pair(wrong, Reference(subjects.float32.checkpoint, "float64"), 1, subjects.expected)
    rows = configurations.caches(pair, subjects.expected, subjects.inputs)
    return [row.name for row in rows if row.passed is False]


def a_component(subjects: Subjects) -> list[str]:
    wrong = scaled(subjects.float32, "projector.linear", 1.0001)
    components = parity.measure(wrong, subjects.inputs, subjects.expected).components
    return [name for name, entry in components.items() if not entry.passed]


def a_cached_step(subjects: Subjects) -> list[str]:
    decoded = generation.generate(subjects.float32, subjects.inputs, pairs.NEW_TOKENS, keep_logits=True)
    assert decoded.logits is not None
    logits = decoded.logits.clone()
    logits[:, 3] *= 1.0001
    limits = Limits({"rel_l2": generate.cached_limit(subjects.float32)}, "limits.toml")
    return [
        problem
        for step in pairs.of_decoding(subjects.float32, subjects.inputs, replace(decoded, logits=logits))
        for problem in judge(step, limits)
    ]


def margin_times_100(dtype: str) -> Callable[[Patch], None]:
    def weaken(patch: Patch) -> None:
        table = copy.deepcopy(bounds.chosen())
        for margins in table["margin"].values():
            margins[dtype] *= 100
        patch.setattr(bounds, "chosen", lambda: table)

    return weaken


def floor_times_100(patch: Patch) -> None:
    right = bounds.floor
    patch.setattr(bounds, "floor", lambda device, mode, dtype: 100 * right(device, mode, dtype))


def bound_without(measure: str) -> Callable[[Patch], None]:
    def weaken(patch: Patch) -> None:
        right = bounds.bound
        patch.setattr(bounds, "bound", lambda *arguments: structs.replace(right(*arguments), **{measure: float("inf")}))

    return weaken


def only(mode: str) -> Callable[[Patch], None]:
    other = {"isolated": "of_end_to_end", "end_to_end": "of_isolated"}[mode]
    return lambda patch: patch.setattr(judgement, other, lambda figures: [])


def nothing_missing(patch: Patch) -> None:
    right = layers.summary
    patch.setattr(layers, "summary", lambda *arguments: structs.replace(right(*arguments), missing=[]))


def close_is_same(module: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(module, "same_bits", lambda one, other: torch.allclose(one, other, atol=1e-3))


def scores_bound_times_100(patch: Patch) -> None:
    right = tokens.logits_bound

    def logits_bound(*arguments: Any) -> Bound:
        bound = right(*arguments)
        return Bound(100 * bound.rel_l2, 100 * bound.worst_element)

    for module in (tokens, configurations, repeatability):  # each has the name as its own
        patch.setattr(module, "logits_bound", logits_bound)


def cached_limit_times_100(patch: Patch) -> None:
    right = bounds.cached_limit
    patch.setattr(bounds, "cached_limit", lambda *arguments: 100 * right(*arguments))


def every_choice_a_tie(patch: Patch) -> None:
    right = tokens.choice
    patch.setattr(tokens, "choice", lambda *arguments: structs.replace(right(*arguments), tie_below=float("inf")))


def no_first_difference(patch: Patch) -> None:
    patch.setattr(repeats, "first_difference", lambda one, other: None)


def limits_times_100(patch: Patch) -> None:
    right = bounds.limits

    def limits(*arguments: Any, **options: Any) -> Limits:
        tight = right(*arguments, **options)
        wide = {name: 100 * limit for name, limit in tight.values.items()}
        return replace(tight, values=wide | {"cosine": cosine_of(wide["rel_l2"])})

    patch.setattr(bounds, "limits", limits)


TEETH = [
    Tooth("the margin in bfloat16 x100", one_layer_in_bfloat16, margin_times_100("bfloat16")),
    Tooth("the margin in float32 x100", one_layer_in_float32, margin_times_100("float32")),
    Tooth("the floor of a real NPU x100", one_layer_on_an_npu, floor_times_100),
    Tooth("relative L2 dropped", one_layer_in_bfloat16, bound_without("rel_l2")),
    Tooth("worst element dropped", one_channel_in_bfloat16, bound_without("worst_element")),
    Tooth("isolation dropped", one_layer_in_bfloat16, only("end_to_end")),
    Tooth("end to end dropped", the_second_pass, only("isolated")),
    Tooth("layers that never ran dropped", a_layer_that_never_ran, nothing_missing),
    Tooth("weights close, not the same", the_last_bit_of_a_weight, close_is_same(weights)),
    Tooth("the bound of scores x100", the_scores_of_decoding, scores_bound_times_100),
    Tooth("every token a tie", second_best_token, every_choice_a_tie),
    Tooth("every forced token a tie", second_best_token_where_forced, every_choice_a_tie),
    Tooth("repeats close, not the same", noise, close_is_same(repeats)),
    Tooth("warm close, not the same", noise_once_warm, close_is_same(repeats)),
    Tooth("another process dropped", other_bits_in_another_process, no_first_difference),
    Tooth("rows of a batch x100", a_row_in_its_place, scores_bound_times_100),
    Tooth("the limit of configurations x100", a_length, limits_times_100),
    Tooth("the limit of components x100", a_component, limits_times_100),
    Tooth("the margin of components x100", a_component, margin_times_100("float32")),
    Tooth("the limit of cached decoding x100", a_cached_step, cached_limit_times_100),
    Tooth("the limit of caches x100", a_static_cache, scores_bound_times_100),
]


@pytest.fixture
def subjects(
    tiny_float32: Loaded, tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected, monkeypatch: Patch
) -> Subjects:
    return Subjects(tiny_float32, tiny_bfloat16, tiny_inputs, tiny_expected, monkeypatch)


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_the_fault_is_seen(tooth: Tooth, subjects: Subjects) -> None:
    assert tooth.seen(subjects)


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_weakened_the_fault_goes_unseen(tooth: Tooth, subjects: Subjects) -> None:
    subjects.patch.setattr(judgement, "boundless", lambda bounds: iter(()))  # which tells a bound too wide to hold
    tooth.weaken(subjects.patch)
    assert not tooth.seen(subjects)
