"""The equations of the encoder and of the projector, as transformers 4.57.6 computes them."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import torch

from verify.reference.definition.equation import EXACT, Equation, Reading, fitted, told
from verify.reference.definition.language_model import softmax
from verify.reference.definition.miniature import LAYERS, Miniature
from verify.reference.numerics import Array, as_array, relative_l2

LAYER = "encoder.layers.0"
ATTENTION = f"{LAYER}.attn"
QFORMER = "projector.qformer.encoder.layer.0"
CROSS = f"{QFORMER}.crossattention"
SPEECH = "modeling_granite_speech.py of transformers 4.57.6, {}"
BLIP = "modeling_blip_2.py of transformers 4.57.6, {}"
NORM_EPS = 1e-5  # of torch.nn.LayerNorm and BatchNorm1d, which the encoder's code leaves as it is
MOVED = 1e-12  # of the largest value: what changed at all


def silu(values: Array) -> Array:
    result: Array = values / (1 + np.exp(-values))
    return result


def affine(mini: Miniature, layer: str, values: Array) -> Array:
    result: Array = values @ mini.weight(f"{layer}.weight").T + mini.weight(f"{layer}.bias")
    return result


def changed_frames(before: Array, after: Array) -> list[int]:
    """The frames of [1, T, width] that differ."""
    moved = np.abs(after - before).max(axis=-1)[0] > MOVED * np.abs(before).max()
    return [int(frame) for frame in np.flatnonzero(moved)]


def context_size(mini: Miniature) -> Reading:
    """Frame 0 reaches every frame of its block and no other."""
    declared = int(mini.encoder["context_size"])
    reached = changed_frames(mini.out_of(ATTENTION), mini.encoded_with(ATTENTION, 0))
    right = reached == list(range(min(declared, mini.inputs.frames)))
    return Reading(0.0 if right else 1.0, declared, len(reached))


def relative_positions(mini: Miniature) -> Reading:
    """Shaw's attention in every block; the last one ends where the frames do."""
    block, heads = int(mini.encoder["context_size"]), int(mini.encoder["num_heads"])
    frames = mini.inputs.frames
    query = mini.out_of(f"{ATTENTION}.to_q")
    key, value = np.split(mini.out_of(f"{ATTENTION}.to_kv"), 2, axis=-1)
    table = mini.weight(f"{ATTENTION}.rel_pos_emb.weight")
    entering = mini.into(f"{ATTENTION}.to_out")

    def computed_with(scale: float) -> Array:
        joined = np.empty_like(entering)
        for start in range(0, frames, block):
            stop = min(start + block, frames)
            q, k, v = (x[0, start:stop].reshape(stop - start, heads, -1).swapaxes(0, 1) for x in (query, key, value))
            place = np.arange(stop - start)
            positions = table[place[:, None] - place[None] + int(mini.encoder["max_pos_emb"])]
            shaw = np.einsum("hid,ijd->hij", q, positions)
            weights = softmax(scale * (q @ k.swapaxes(-1, -2) + shaw))
            joined[0, start:stop] = (weights @ v).swapaxes(0, 1).reshape(stop - start, -1)
        return joined

    return fitted(entering, computed_with, float(mini.encoder["dim_head"]) ** -0.5)


def conv_kernel_size(mini: Miniature) -> Reading:
    """A depthwise convolution with as many frames before as after."""
    layer = f"{LAYER}.conv.depth_conv"
    weight = mini.weight(f"{layer}.conv.weight")[:, 0]
    size = weight.shape[-1]
    before = size // 2
    values = mini.into(layer)
    padded = np.pad(values, ((0, 0), (0, 0), (before, size - 1 - before)))
    taps = (weight[None, :, k, None] * padded[..., k : k + values.shape[-1]] for k in range(size))
    expected = reduce(np.add, taps)
    return Reading(relative_l2(mini.out_of(layer), expected))


def glu(mini: Miniature) -> Reading:
    value, gate = np.split(mini.into(f"{LAYER}.conv.glu"), 2, axis=1)
    return Reading(relative_l2(mini.out_of(f"{LAYER}.conv.glu"), value / (1 + np.exp(-gate))))


def activation(mini: Miniature) -> Reading:
    layers = (f"{LAYER}.ff1.silu", f"{LAYER}.conv.silu", f"{LAYER}.ff2.silu")
    return Reading(max(relative_l2(mini.out_of(layer), silu(mini.into(layer))) for layer in layers))


def batch_norm(mini: Miniature) -> Reading:
    layer = f"{LAYER}.conv.batch_norm"
    mean, variance, weight, bias = (
        mini.weight(f"{layer}.{name}")[None, :, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    values = mini.into(layer)
    expected = (values - mean) / np.sqrt(variance + NORM_EPS) * weight + bias
    return Reading(relative_l2(mini.out_of(layer), expected))


def norm_reading(mini: Miniature, inside: str, declared: float) -> Reading:
    """Of the LayerNorms inside a part, the one that is farthest off, on values so small that the epsilon counts."""
    readings = []
    for name, module in mini.modules.items():
        if not (name.startswith(f"{inside}.") and isinstance(module, torch.nn.LayerNorm)):
            continue
        weight, bias = mini.weight(f"{name}.weight"), mini.weight(f"{name}.bias")
        values = math.sqrt(declared) * np.random.default_rng(0).standard_normal((4, len(weight)))
        with torch.inference_mode():
            output = as_array(module(torch.from_numpy(values)))
        centred = values - values.mean(axis=-1, keepdims=True)
        variance = np.mean(centred**2, axis=-1, keepdims=True)
        error = relative_l2(output, weight * centred / np.sqrt(variance + declared) + bias)
        with np.errstate(divide="ignore", invalid="ignore"):
            computed = float(np.median((weight * centred / (output - bias)) ** 2 - variance))
        readings.append(told(error, declared, computed))
    return max(readings, key=lambda reading: reading.error)


def encoder_norm(mini: Miniature) -> Reading:
    return norm_reading(mini, "encoder", NORM_EPS)


def projector_norm(mini: Miniature) -> Reading:
    return norm_reading(mini, "projector", float(mini.projector["layer_norm_eps"]))


def half_steps(mini: Miniature) -> Reading:
    """The conformer's sandwich: half a feed-forward, attention, convolution, half a feed-forward."""
    parts = {name: mini.out_of(f"{LAYER}.{name}") for name in ("ff1", "attn", "conv", "ff2")}
    inner = parts["attn"] + parts["conv"]
    before, after = mini.into(LAYER), mini.into(f"{LAYER}.post_norm")
    return fitted(after, lambda half: before + half * (parts["ff1"] + parts["ff2"]) + inner, 0.5)


def ctc_feedback(mini: Miniature) -> Reading:
    """After half of the layers, and nowhere else, the stream is told of the letters so far."""
    error, told_after = 0.0, 0
    for number in range(1, LAYERS):
        left, entering = mini.out_of(f"encoder.layers.{number - 1}"), mini.into(f"encoder.layers.{number}")
        expected = left
        if number == LAYERS // 2:
            expected = left + affine(mini, "encoder.out_mid", softmax(affine(mini, "encoder.out", left)))
        error = max(error, relative_l2(entering, expected))
        told_after = number if relative_l2(entering, left) > EXACT else told_after
    return Reading(error, LAYERS // 2, told_after)


def encoded(mini: Miniature) -> Reading:
    """What the projector is given: the last layer's output, after those that the config names."""
    chosen = sorted(mini.encoder.get("cat_hidden_layers") or [])
    outputs = [mini.into(LAYER) if number == 0 else mini.out_of(f"encoder.layers.{number - 1}") for number in chosen]
    expected = np.concatenate([*outputs, mini.out_of(f"encoder.layers.{LAYERS - 1}")], axis=-1)
    return Reading(max(relative_l2(mini.out_of("encoder"), expected), relative_l2(mini.into("projector"), expected)))


def window_size(mini: Miniature) -> Reading:
    """A frame reaches the outputs of its window and no other, and each window has as many as queries."""
    architecture = mini.checkpoint.architecture
    window, queries = architecture.window_size, architecture.queries
    values = mini.out_of("encoder")
    base = mini.projected(values)
    right = base.shape[1] == queries * math.ceil(values.shape[1] / window)
    for number in (0, 1):  # the last frame of a window, and the first of the next
        other = values.copy()
        other[:, window - 1 + number] += 1.0
        reached = changed_frames(base, mini.projected(other)) if right else []
        right = reached == list(range(number * queries, (number + 1) * queries))
    return Reading(0.0 if right else 1.0)


def cross_attention(mini: Miniature) -> Reading:
    return _qformer_attention(mini, CROSS)


def self_attention(mini: Miniature) -> Reading:
    return _qformer_attention(mini, f"{QFORMER}.attention")


def _qformer_attention(mini: Miniature, layer: str) -> Reading:
    heads = int(mini.projector["num_attention_heads"])

    def split(values: Array) -> Array:
        parts: Array = values.reshape(*values.shape[:2], heads, -1).swapaxes(1, 2)
        return parts

    query, key, value = (split(mini.out_of(f"{layer}.attention.{name}")) for name in ("query", "key", "value"))
    entering = mini.into(f"{layer}.output.dense")

    def computed_with(scale: float) -> Array:
        joined: Array = softmax(scale * (query @ key.swapaxes(-1, -2))) @ value
        return joined.swapaxes(1, 2).reshape(entering.shape)

    return fitted(entering, computed_with, query.shape[-1] ** -0.5)


def gelu(mini: Miniature) -> Reading | None:
    if mini.projector["hidden_act"] != "gelu":
        return None
    layer = f"{QFORMER}.intermediate_query"
    values = mini.out_of(f"{layer}.dense")
    erf = np.vectorize(math.erf)
    return Reading(relative_l2(mini.out_of(layer), values / 2 * (1 + erf(values / math.sqrt(2)))))


def residuals(mini: Miniature) -> Reading:
    """The Q-Former normalises what it has added."""
    attended = mini.out_of(CROSS)
    pairs = [
        (f"{CROSS}.output", mini.out_of(f"{QFORMER}.attention")),
        (f"{QFORMER}.output_query", attended),
    ]
    expected = ((mini.into(f"{layer}.LayerNorm"), mini.out_of(f"{layer}.dense") + before) for layer, before in pairs)
    return Reading(max(relative_l2(entering, sums) for entering, sums in expected))


EQUATIONS = (
    Equation(
        "context_size",
        "attention within blocks of context_size frames",
        SPEECH.format("GraniteSpeechConformerAttention"),
        EXACT,
        context_size,
    ),
    Equation(
        "relative positions",
        "softmax(dim_head^-0.5 * (q k^T + q E[i - j + max_pos_emb])) v",
        "Shaw et al., arXiv 1803.02155, eq. 4; " + SPEECH.format("GraniteSpeechConformerAttention"),
        EXACT,
        relative_positions,
    ),
    Equation(
        "conv_kernel_size",
        "y[t] = sum_k w[k] x[t + k - kernel // 2]",
        SPEECH.format("GraniteSpeechConformerDepthWiseConv1d"),
        EXACT,
        conv_kernel_size,
    ),
    Equation("glu", "a * sigmoid(b)", "Dauphin et al., arXiv 1612.08083, eq. 1", EXACT, glu),
    Equation(
        "silu of the encoder", "x * sigmoid(x)", SPEECH.format("GraniteSpeechConformerFeedForward"), EXACT, activation
    ),
    Equation(
        "batch norm",
        "w (x - running_mean) / sqrt(running_var + 1e-5) + b",
        SPEECH.format("GraniteSpeechConformerConvModule") + "; torch.nn.BatchNorm1d",
        EXACT,
        batch_norm,
    ),
    Equation(
        "layer norm of the encoder",
        "w (x - mean) / sqrt(var + 1e-5) + b",
        SPEECH.format("GraniteSpeechConformerBlock") + "; torch.nn.LayerNorm",
        EXACT,
        encoder_norm,
    ),
    Equation(
        "half steps",
        "x + ff1/2 + attention + conv + ff2/2",
        "Gulati et al., arXiv 2005.08100, eq. 1; " + SPEECH.format("GraniteSpeechConformerBlock"),
        EXACT,
        half_steps,
    ),
    Equation(
        "ctc feedback",
        "h + out_mid(softmax(out(h))) after num_layers // 2 layers",
        "Nozaki and Komatsu, arXiv 2104.02724, eq. 10; " + SPEECH.format("GraniteSpeechCTCEncoder.forward"),
        EXACT,
        ctc_feedback,
    ),
    Equation(
        "cat_hidden_layers",
        "encoder = [named layers, last layer]",
        "modeling_granite_speech_plus.py of transformers 5.8.0, GraniteSpeechPlusCTCEncoder.forward",
        EXACT,
        encoded,
    ),
    Equation(
        "window_size",
        "window_size // downsample_rate outputs for each window of frames",
        SPEECH.format("GraniteSpeechEncoderProjector.forward"),
        EXACT,
        window_size,
    ),
    Equation(
        "cross-attention",
        "softmax(q k^T / sqrt(d)) v",
        BLIP.format("Blip2QFormerMultiHeadAttention"),
        EXACT,
        cross_attention,
    ),
    Equation(
        "self-attention of the projector",
        "softmax(q k^T / sqrt(d)) v",
        BLIP.format("Blip2QFormerMultiHeadAttention"),
        EXACT,
        self_attention,
    ),
    Equation(
        "layer_norm_eps",
        "w (x - mean) / sqrt(var + layer_norm_eps) + b",
        BLIP.format("Blip2QFormerSelfOutput"),
        EXACT,
        projector_norm,
    ),
    Equation(
        "gelu of the projector",
        "x/2 (1 + erf(x / sqrt(2)))",
        "Hendrycks and Gimpel, arXiv 1606.08415; " + BLIP.format("Blip2QFormerIntermediate"),
        EXACT,
        gelu,
    ),
    Equation(
        "residuals of the projector",
        "LayerNorm(dense(x) + x)",
        BLIP.format("Blip2QFormerSelfOutput, Blip2QFormerOutput"),
        EXACT,
        residuals,
    ),
)
