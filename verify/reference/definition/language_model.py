"""The equations of the language model: Granite, as GraniteForCausalLM of transformers 4.57.6 computes it."""

from __future__ import annotations

import math

import numpy as np
import torch

from model import layout
from verify.reference.definition.equation import EXACT, SINGLE, Equation, Reading, fitted, told
from verify.reference.definition.miniature import Miniature
from verify.reference.numerics import Array, as_array, relative_l2

DECODER = "language_model.model"
LAYER = f"{DECODER}.layers.0"
HEAD = "language_model.lm_head"
GRANITE = "modeling_granite.py of transformers 4.57.6, {}"
POSITIONS = (0, 1, 2, 7, 100, 1000)  # and the last of the range


def softmax(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return weights


def scale_of(actual: Array, expected: Array) -> float:
    """By what `expected` is multiplied in `actual`, in the least-squares sense."""
    return float(np.vdot(expected, actual) / np.vdot(expected, expected))


def logits_scaling(mini: Miniature) -> Reading:
    declared = float(mini.text["logits_scaling"])
    raw = mini.into(HEAD) @ as_array(layout.head(mini.model).weight).T
    logits = mini.out_of("")
    return told(relative_l2(logits, raw / declared), declared, 1 / scale_of(logits, raw))


def tie_word_embeddings(mini: Miniature) -> Reading:
    declared = bool(mini.text["tie_word_embeddings"])
    same = np.array_equal(as_array(layout.head(mini.model).weight), mini.weight(f"{DECODER}.embed_tokens.weight"))
    return Reading(float(same != declared), float(declared), float(same))


def embedding_multiplier(mini: Miniature) -> Reading:
    declared = float(mini.text["embedding_multiplier"])
    given, entering = mini.into(DECODER), mini.into(LAYER)
    return told(relative_l2(entering, declared * given), declared, scale_of(entering, given))


def residual_multiplier(mini: Miniature) -> Reading:
    declared = float(mini.text["residual_multiplier"])
    before, after = mini.into(LAYER), mini.out_of(LAYER)
    added = mini.out_of(f"{LAYER}.self_attn") + mini.out_of(f"{LAYER}.mlp")
    return told(relative_l2(after, before + declared * added), declared, scale_of(after - before, added))


def rope_theta(mini: Miniature) -> Reading | None:
    if mini.text.get("rope_scaling"):
        return None
    theta, size = float(mini.text["rope_theta"]), mini.checkpoint.architecture.text.head_size
    last = mini.checkpoint.architecture.text.max_position_embeddings - 1
    positions = np.array([*(p for p in POSITIONS if p < last), last])
    with torch.inference_mode():
        cos, sin = layout.decoder(mini.model).rotary_emb(
            torch.zeros(1, dtype=torch.float64), torch.tensor(positions)[None]
        )
    exponents = -np.arange(0, size, 2) / size
    angles = positions[:, None] * theta**exponents
    angles = np.concatenate([angles, angles], axis=-1)
    error = max(relative_l2(as_array(cos)[0], np.cos(angles)), relative_l2(as_array(sin)[0], np.sin(angles)))
    turned = np.arctan2(as_array(sin)[0, 1], as_array(cos)[0, 1])[: size // 2]  # at position 1 no angle wraps
    with np.errstate(divide="ignore", invalid="ignore"):
        computed = float(np.exp(np.median(np.log(turned[1:]) / exponents[1:])))
    # Angles of a thousand radians carry float32's roundoff a thousand times.
    return told(error / max(1.0, 6e-8 * last / SINGLE), theta, computed)


def positions(mini: Miniature) -> Reading | None:
    """Those that a whole pass takes where nobody says any: 0, 1, 2, ..."""
    if mini.text.get("rope_scaling"):
        return None
    rotary = layout.decoder(mini.model).rotary_emb
    count = mini.inputs.positions
    with torch.inference_mode():
        cos, sin = rotary(torch.zeros(1, dtype=torch.float64), torch.arange(count)[None])
    cosines, sines = mini.out_of(f"{DECODER}.rotary_emb"), mini.out_of(f"{DECODER}.rotary_emb", 1)
    return Reading(max(relative_l2(cosines, as_array(cos)), relative_l2(sines, as_array(sin))))


def attention_multiplier(mini: Miniature) -> Reading:
    architecture = mini.checkpoint.architecture.text
    cos, sin = mini.out_of(f"{DECODER}.rotary_emb"), mini.out_of(f"{DECODER}.rotary_emb", 1)

    def heads(name: str, count: int) -> Array:
        flat = mini.out_of(f"{LAYER}.self_attn.{name}")
        split: Array = flat.reshape(*flat.shape[:2], count, -1).transpose(0, 2, 1, 3)
        return split

    def rotated(values: Array) -> Array:
        half = values.shape[-1] // 2
        turned = np.concatenate([-values[..., half:], values[..., :half]], axis=-1)
        both: Array = values * cos[:, None] + turned * sin[:, None]
        return both

    groups = architecture.num_attention_heads // architecture.key_value_heads
    query = rotated(heads("q_proj", architecture.num_attention_heads))
    key = np.repeat(rotated(heads("k_proj", architecture.key_value_heads)), groups, axis=1)
    value = np.repeat(heads("v_proj", architecture.key_value_heads), groups, axis=1)
    products = query @ key.swapaxes(-1, -2)
    later = np.triu(np.ones(products.shape[-2:], dtype=bool), 1)
    entering = mini.into(f"{LAYER}.self_attn.o_proj")

    def computed_with(multiplier: float) -> Array:
        weights = softmax(np.where(later, -np.inf, multiplier * products))
        joined: Array = (weights @ value).transpose(0, 2, 1, 3).reshape(entering.shape)
        return joined

    return fitted(entering, computed_with, float(mini.text["attention_multiplier"]))


def rms_norm_eps(mini: Miniature) -> Reading:
    """The norm that is farthest off, on values so small that the epsilon counts."""
    declared = float(mini.text["rms_norm_eps"])
    names = (f"{LAYER}.input_layernorm", f"{LAYER}.post_attention_layernorm", f"{DECODER}.norm")
    return max((_norm(mini, name, declared) for name in names), key=lambda reading: reading.error)


def _norm(mini: Miniature, name: str, declared: float) -> Reading:
    weight = mini.weight(f"{name}.weight")
    values = math.sqrt(declared) * np.random.default_rng(0).standard_normal((4, len(weight)))
    with torch.inference_mode():
        output = as_array(mini.modules[name](torch.from_numpy(values)))
    square = np.mean(values**2, axis=-1, keepdims=True)
    error = relative_l2(output, weight * values / np.sqrt(square + declared))
    return told(error, declared, float(np.median((weight * values / output) ** 2 - square)))


def mlp(mini: Miniature) -> Reading | None:
    if mini.text["hidden_act"] != "silu":
        return None
    gate, up = mini.out_of(f"{LAYER}.mlp.gate_proj"), mini.out_of(f"{LAYER}.mlp.up_proj")
    return Reading(relative_l2(mini.into(f"{LAYER}.mlp.down_proj"), gate / (1 + np.exp(-gate)) * up))


def order(mini: Miniature) -> Reading:
    """What a layer gives enters the next, the norm, the head."""
    pairs = [
        (mini.into(f"{DECODER}.layers.1"), mini.out_of(LAYER)),
        (mini.into(f"{DECODER}.norm"), mini.out_of(f"{DECODER}.layers.1")),
        (mini.into(HEAD), mini.out_of(f"{DECODER}.norm")),
    ]
    return Reading(max(relative_l2(entering, left) for entering, left in pairs))


def splice(mini: Miniature) -> Reading:
    """The projector's rows, in order, where the audio token is; the tokens' own embeddings elsewhere."""
    ids = mini.inputs.input_ids.numpy()
    audio = ids == mini.checkpoint.architecture.audio_token
    expected = mini.weight(f"{DECODER}.embed_tokens.weight")[np.where(audio, 0, ids)]
    expected[audio] = mini.out_of("projector").reshape(-1, expected.shape[-1])
    return Reading(relative_l2(mini.into(DECODER), expected))


def cache(mini: Miniature) -> Reading:
    cached, uncached = mini.decoded()
    return Reading(max(relative_l2(cached[:, step], uncached[:, step]) for step in range(cached.shape[1])))


def padding(mini: Miniature) -> Reading:
    behind, alone = mini.padded()
    return Reading(max(relative_l2(behind[:, step], alone[:, step]) for step in range(alone.shape[1])))


def beams(mini: Miniature) -> Reading:
    score, summed = mini.searched()
    return Reading(abs(score - summed) / abs(summed))


EQUATIONS = (
    Equation(
        "logits_scaling",
        "logits = lm_head(h) / logits_scaling",
        GRANITE.format("GraniteForCausalLM.forward"),
        EXACT,
        logits_scaling,
    ),
    Equation(
        "tie_word_embeddings",
        "lm_head = embed_tokens only where it is declared",
        GRANITE.format("GraniteForCausalLM"),
        EXACT,
        tie_word_embeddings,
    ),
    Equation(
        "embedding_multiplier",
        "h0 = embedding_multiplier * embeddings",
        GRANITE.format("GraniteModel.forward"),
        EXACT,
        embedding_multiplier,
    ),
    Equation(
        "residual_multiplier",
        "h' = h + residual_multiplier * (attention + mlp)",
        GRANITE.format("GraniteDecoderLayer.forward"),
        EXACT,
        residual_multiplier,
    ),
    Equation(
        "rope_theta",
        "angle(p, i) = p * rope_theta^(-2i/d)",
        "RoFormer, arXiv 2104.09864, eq. 15; " + GRANITE.format("GraniteRotaryEmbedding"),
        SINGLE,
        rope_theta,
    ),
    Equation("positions", "p = 0, 1, 2, ...", GRANITE.format("GraniteModel.forward"), EXACT, positions),
    Equation(
        "attention_multiplier",
        "softmax(attention_multiplier * R(q) R(k)^T + causal) v",
        GRANITE.format("GraniteAttention, eager_attention_forward"),
        SINGLE,
        attention_multiplier,
    ),
    Equation(
        "rms_norm_eps", "w x / sqrt(mean(x^2) + rms_norm_eps)", GRANITE.format("GraniteRMSNorm"), SINGLE, rms_norm_eps
    ),
    Equation("mlp", "down(silu(gate) * up)", GRANITE.format("GraniteMLP"), EXACT, mlp),
    Equation("order of the language model", "layers, norm, head", GRANITE.format("GraniteModel.forward"), EXACT, order),
    Equation(
        "splice",
        "audio rows where the audio token is, embeddings elsewhere",
        "modeling_granite_speech.py of transformers 4.57.6, get_merged_audio_embeddings",
        EXACT,
        splice,
    ),
    Equation(
        "cache",
        "decoding with a cache = one pass without",
        "modeling_granite.py of transformers 4.57.6: a causal model's past does not change",
        SINGLE,
        cache,
    ),
    Equation(
        "padding",
        "a row behind padding that attention_mask hides = the row alone",
        "generation/utils.py of transformers 4.57.6, prepare_inputs_for_generation; left out in 4.49.0 (issue 36293)",
        SINGLE,
        padding,
    ),
    Equation(
        "beams",
        "score of a beam = sum of log softmax(logits) of its tokens",
        "generation/utils.py of transformers 4.57.6, _beam_search: each beam has its own past (Cache.reorder_cache)",
        SINGLE,
        beams,
    ),
)
