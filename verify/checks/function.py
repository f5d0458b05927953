"""Level 2: does every part of the model run, with the right shapes, values and joints?"""

from __future__ import annotations

from typing import Any

from model import generation
from model.reference import stored_rows
from verify import determinism as repeats
from verify import numerics
from verify import parity as parities
from verify.context import Context
from verify.records import Outcome, Status
from verify.subject import signature, the_checkpoint, the_expected, the_inputs, the_model, the_parts

NEW_TOKENS = 16
RUNS = 3


def load(context: Context) -> Outcome:
    """The library's own loader takes the checkpoint, whole, to the device."""
    loaded = the_model(context)
    data = {
        "seconds": loaded.seconds,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "dtype": loaded.dtype,
        "attention": loaded.attention,
        "class": type(loaded.model).__name__,
    }
    wanted = loaded.checkpoint.parameters
    if data["parameters"] != wanted:
        return Outcome(Status.FAIL, f"{data['parameters']:,} parameters loaded, {wanted:,} in the checkpoint", data)
    return Outcome(Status.PASS, f"{data['class']}, {loaded.dtype}, {loaded.seconds:.1f} s", data, signature(context))


def shapes(context: Context) -> Outcome:
    """Every component gives the shape that the checkpoint's own config implies, all of it finite."""
    inputs = the_inputs(context)
    parts = the_parts(context)
    expected = the_checkpoint(context).architecture.output_shapes(inputs.batch, inputs.frames, inputs.positions)
    found: dict[str, dict[str, Any]] = {}
    for name, shape in expected.items():
        output = parts[name].output
        found[name] = {
            "shape": list(output.shape),
            "expected": list(shape),
            "finite": bool(output.isfinite().all().item()),
        }
    wrong = [
        f"{name} {'is ' + str(entry['shape']) if entry['shape'] != entry['expected'] else 'holds NaN or infinity'}"
        for name, entry in found.items()
        if entry["shape"] != entry["expected"] or not entry["finite"]
    ]
    data = {"components": found}
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, signature(context))
    return Outcome(Status.PASS, f"{len(found)} components as the config implies", data, signature(context))


def splice(context: Context) -> Outcome:
    """Audio embeddings lie, in order and unchanged, where the audio token was; text embeddings are the stored ones."""
    loaded, inputs, parts = the_model(context), the_inputs(context), the_parts(context)
    merged = parts["splice"].output.cpu()
    audio = parts["projector"].output.cpu()
    is_audio = inputs.input_ids == loaded.architecture.audio_token
    text = stored_rows(loaded.checkpoint, inputs.input_ids[~is_audio]).to(loaded.torch_dtype)
    data: dict[str, Any] = {
        "audio_tokens": int(is_audio.sum()),
        "projector_outputs": int(audio.shape[0] * audio.shape[1]),
        "positions_replaced": int((merged[is_audio] == audio.flatten(0, 1)).all(dim=-1).sum())
        if int(is_audio.sum()) == audio.shape[0] * audio.shape[1]
        else 0,
    }
    pairs = {"max_abs_text": (merged[~is_audio], text), "max_abs_audio": (merged[is_audio], audio.flatten(0, 1))}
    problems = []
    for name, (actual, wanted) in pairs.items():
        comparison = numerics.compare(parities.as_array(actual), parities.as_array(wanted))
        data[name] = comparison.as_json()["max_abs"]
        if not comparison.identical:
            problems.append(f"{name.removeprefix('max_abs_')} embeddings differ by {data[name]}")
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, signature(context))
    return Outcome(Status.PASS, f"{data['positions_replaced']} audio positions", data, signature(context))


def generate(context: Context) -> Outcome:
    """Greedy decoding repeats itself, and its cached steps give the logits of one uncached pass over the same tokens.

    A cache that is stale, misplaced or rounded wrongly shows at the token where it is first read.
    """
    loaded, inputs = the_model(context), the_inputs(context)
    room = loaded.architecture.text.max_position_embeddings - inputs.positions
    if room < NEW_TOKENS:
        return Outcome(Status.SKIP, f"--seq-len {context.seq_len} leaves {room} positions, {NEW_TOKENS} are decoded")
    first = generation.generate(loaded, inputs, NEW_TOKENS, keep_logits=True)
    again = generation.generate(loaded, inputs, NEW_TOKENS)
    assert first.logits is not None
    cached = parities.as_array(first.logits)
    uncached = parities.as_array(generation.uncached_logits(loaded, inputs, first.tokens))
    steps = [numerics.compare(cached[:, step], uncached[:, step]) for step in range(NEW_TOKENS)]
    limit = numerics.cached_limit(loaded.device.kind, loaded.dtype, loaded.architecture.text.num_hidden_layers)
    limits = numerics.Limits({"rel_l2": limit}, "tolerances.toml, [cached]")
    wrong = [(step, problem) for step, found in enumerate(steps) for problem in numerics.judge(found, limits)]
    data = {
        "prompt_tokens": inputs.positions,
        "new_tokens": NEW_TOKENS,
        "token_ids": first.tokens[0].tolist(),
        "repeatable": bool((first.tokens == again.tokens).all()),
        "cached_rel_l2": [found.as_json()["rel_l2"] for found in steps],
        "cached_rel_l2_limit": limit,
    }
    problems = []
    if not data["repeatable"]:
        problems.append("a second decoding gave other tokens")
    if not bool((first.tokens == generation.greedy(loaded, first.logits)).all()):
        problems.append("a token was taken that is not the largest of its logits")
    problems += [
        f"cached decoding departs from an uncached pass at token {step}: {problem}" for step, problem in wrong[:1]
    ]
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, signature(context))
    return Outcome(Status.PASS, f"{NEW_TOKENS} tokens, repeatable", data, signature(context))


def determinism(context: Context, runs: int = RUNS) -> Outcome:
    """The same inputs give the same bits in every run."""
    data = repeats.measure(the_model(context).device, the_parts(context), runs)
    differing = [name for name, entry in data["components"].items() if not entry["identical"]]
    if differing:
        worst = {name: data["components"][name]["rel_l2"] for name in differing}
        listed = ", ".join(f"{name} ({value})" for name, value in worst.items())
        return Outcome(Status.FAIL, f"not the same bits in {runs} runs: {listed}", data, signature(context, n=runs))
    return Outcome(Status.PASS, f"{runs} runs, the same bits", data, signature(context, n=runs))


def parity(context: Context) -> Outcome:
    """Every component agrees with a wider CPU reference of the same weights, within the dtype's limits."""
    data = parities.measure(the_model(context), the_inputs(context), lambda: the_expected(context))
    wrong = [f"{name}: {', '.join(e['problems'])}" for name, e in data["components"].items() if not e["passed"]]
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, signature(context))
    worst = max(entry["rel_l2"] for entry in data["components"].values())
    return Outcome(Status.PASS, f"relative error at most {worst:.1e}", data, signature(context))
