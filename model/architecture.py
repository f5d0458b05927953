"""What a Granite-Speech config.json implies: tensor names and shapes, output shapes, arithmetic. No torch.

Follows GraniteSpeechForConditionalGeneration of transformers 4.57.6 (modeling_granite_speech.py, modeling_blip_2.py,
modeling_granite.py); the defaults are those of its config classes, because a saved config.json leaves defaults out.
A test holds both equal to the installed library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from env.language import Message, _
from model import variants

Shape = tuple[int, ...]
PartT = TypeVar("PartT", bound="Encoder | Projector | Text")

MODEL_TYPE = "granite_speech"  # of config.json
# Buffers are stored like weights but are no parameters: BatchNorm's statistics.
MOST_LAYERS, MOST = 512, 1 << 24  # what config.json may ask for: Llama 3.1 405B has 126 layers, and 2**17 positions
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Encoder:
    """`encoder_config`: the conformer with its CTC head (GraniteSpeechEncoderConfig)."""

    input_dim: int = 160
    num_layers: int = 10
    hidden_dim: int = 1024
    feedforward_mult: int = 4
    num_heads: int = 8
    dim_head: int = 128
    output_dim: int = 42
    context_size: int = 200
    max_pos_emb: int = 512
    conv_kernel_size: int = 15
    conv_expansion_factor: int = 2


@dataclass(frozen=True)
class Projector:
    """`projector_config`: the window Q-Former (Blip2QFormerConfig)."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    cross_attention_frequency: int = 2
    encoder_hidden_size: int = 1408


@dataclass(frozen=True)
class Text:
    """`text_config`: the Granite language model (GraniteConfig)."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 0  # 0: as many as num_attention_heads
    head_dim: int = 0  # 0: hidden_size // num_attention_heads
    max_position_embeddings: int = 2048
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False

    @property
    def key_value_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class Architecture:
    """The shape-bearing part of a checkpoint's config.json."""

    encoder: Encoder
    projector: Projector
    text: Text
    audio_token: int = 49155
    downsample_rate: int = 5
    window_size: int = 15
    special_tokens: frozenset[int] = frozenset()  # bos, eos and pad of the language model
    cat_hidden_layers: tuple[int, ...] = ()  # of -plus: whose outputs stand before the last one's; 0: the first's input

    @property
    def queries(self) -> int:
        """Projector outputs per window of `window_size` encoder frames: 15 // 5 = 3."""
        return self.window_size // self.downsample_rate

    @property
    def encoded_size(self) -> int:
        """Of what the encoder gives: hidden_dim for the last layer, and as much for each of cat_hidden_layers."""
        return self.encoder.hidden_dim * (1 + len(self.cat_hidden_layers))

    def audio_tokens(self, frames: int) -> int:
        """Positions that `frames` encoder frames take in the language model: queries * ceil(T / window)."""
        return self.queries * math.ceil(frames / self.window_size)

    def output_shapes(self, batch: int, frames: int, positions: int) -> dict[str, Shape]:
        """Shape of every component's output for `frames` encoder frames and `positions` of the language model."""
        return {
            "encoder": (batch, frames, self.encoded_size),
            "ctc_head": (batch, frames, self.encoder.output_dim),
            "projector": (batch, self.audio_tokens(frames), self.text.hidden_size),
            "splice": (batch, positions, self.text.hidden_size),
            "language_model": (batch, positions, self.text.vocab_size),
            "end_to_end": (batch, positions, self.text.vocab_size),
        }

    def tensors(self) -> dict[str, Shape]:
        """Every tensor of the state dict with its shape; a tied head is not among them."""
        return {**_text_tensors(self.text), **_encoder_tensors(self.encoder), **_projector_tensors(self)}

    def parameters(self) -> dict[str, int]:
        """Parameters by part, as `sum(p.numel() for p in part.parameters())`; buffers are not counted."""
        counts = {"encoder": 0, "projector": 0, "language_model": 0}
        for name, shape in self.tensors().items():
            if name.rpartition(".")[2] not in BUFFERS:
                counts[name.partition(".")[0]] += math.prod(shape)
        return counts

    def work(self, batch: int, frames: int, positions: int) -> dict[str, tuple[int, int]]:
        """(weights read, floating-point operations) that each component cannot do without.

        Each weight matrix of [out, in] meets every row once: 2 * out * in * rows operations. What attention itself and
        the element-wise parts cost is left out, so a time derived from this is a floor.
        """
        encoder, text = self.encoder, self.text
        matrices = {name: math.prod(shape) for name, shape in self.tensors().items() if len(shape) > 1}

        def total(*prefixes: str, without: str = "\0") -> int:
            return sum(n for name, n in matrices.items() if name.startswith(prefixes) and without not in name)

        mid = encoder.output_dim * encoder.hidden_dim
        windows = batch * math.ceil(frames / self.window_size)
        cross = sum(n for k, n in matrices.items() if ".crossattention.attention." in k and ".query." not in k)
        projector = total("projector.", without="projector.query")
        language = total("language_model.", without="embed_tokens")
        if text.tie_word_embeddings:
            language += text.vocab_size * text.hidden_size
        encoder_weights = total("encoder.", without="rel_pos_emb")
        return {
            "encoder": (encoder_weights, 2 * encoder_weights * batch * frames),
            "ctc_head": (mid, 2 * mid * batch * frames),
            "projector": (
                projector,
                2 * windows * ((projector - cross) * self.queries + cross * self.window_size),
            ),
            "language_model": (language, 2 * language * batch * positions),
        }


def _weight_and_bias(name: str, *shape: int, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]} if bias else {f"{name}.weight": shape}


def _encoder_tensors(c: Encoder) -> dict[str, Shape]:
    hidden, inner, conv = c.hidden_dim, c.num_heads * c.dim_head, c.hidden_dim * c.conv_expansion_factor
    tensors = _weight_and_bias("encoder.input_linear", hidden, c.input_dim)
    for layer in range(c.num_layers):
        block = f"encoder.layers.{layer}"
        for feed_forward in (f"{block}.ff1", f"{block}.ff2"):
            tensors |= _weight_and_bias(f"{feed_forward}.pre_norm", hidden)
            tensors |= _weight_and_bias(f"{feed_forward}.up_proj", hidden * c.feedforward_mult, hidden)
            tensors |= _weight_and_bias(f"{feed_forward}.down_proj", hidden, hidden * c.feedforward_mult)
        tensors |= _weight_and_bias(f"{block}.attn.pre_norm", hidden)
        tensors |= _weight_and_bias(f"{block}.attn.to_q", inner, hidden, bias=False)
        tensors |= _weight_and_bias(f"{block}.attn.to_kv", inner * 2, hidden, bias=False)
        tensors |= _weight_and_bias(f"{block}.attn.to_out", hidden, inner)
        tensors[f"{block}.attn.rel_pos_emb.weight"] = (2 * c.max_pos_emb + 1, c.dim_head)
        tensors |= _weight_and_bias(f"{block}.conv.norm", hidden)
        tensors |= _weight_and_bias(f"{block}.conv.up_conv", conv * 2, hidden, 1)
        tensors[f"{block}.conv.depth_conv.conv.weight"] = (conv, 1, c.conv_kernel_size)
        tensors |= _weight_and_bias(f"{block}.conv.batch_norm", conv)
        tensors[f"{block}.conv.batch_norm.running_mean"] = (conv,)
        tensors[f"{block}.conv.batch_norm.running_var"] = (conv,)
        tensors[f"{block}.conv.batch_norm.num_batches_tracked"] = ()
        tensors |= _weight_and_bias(f"{block}.conv.down_conv", hidden, conv, 1)
        tensors |= _weight_and_bias(f"{block}.post_norm", hidden)
    tensors |= _weight_and_bias("encoder.out", c.output_dim, hidden)
    tensors |= _weight_and_bias("encoder.out_mid", hidden, c.output_dim)
    return tensors


def _projector_tensors(a: Architecture) -> dict[str, Shape]:
    c = a.projector
    hidden = c.hidden_size
    tensors: dict[str, Shape] = {"projector.query": (1, a.queries, hidden)}
    tensors |= _weight_and_bias("projector.qformer.layernorm", hidden)
    for layer in range(c.num_hidden_layers):
        block = f"projector.qformer.encoder.layer.{layer}"
        attentions = {"attention": hidden}
        if layer % c.cross_attention_frequency == 0:
            attentions["crossattention"] = c.encoder_hidden_size
        for attention, source in attentions.items():
            tensors |= _weight_and_bias(f"{block}.{attention}.attention.query", hidden, hidden)
            tensors |= _weight_and_bias(f"{block}.{attention}.attention.key", hidden, source)
            tensors |= _weight_and_bias(f"{block}.{attention}.attention.value", hidden, source)
            tensors |= _weight_and_bias(f"{block}.{attention}.output.dense", hidden, hidden)
            tensors |= _weight_and_bias(f"{block}.{attention}.output.LayerNorm", hidden)
        tensors |= _weight_and_bias(f"{block}.intermediate_query.dense", c.intermediate_size, hidden)
        tensors |= _weight_and_bias(f"{block}.output_query.dense", hidden, c.intermediate_size)
        tensors |= _weight_and_bias(f"{block}.output_query.LayerNorm", hidden)
    tensors |= _weight_and_bias("projector.linear", a.text.hidden_size, hidden)
    return tensors


def _text_tensors(c: Text) -> dict[str, Shape]:
    hidden = c.hidden_size
    queries, keys = c.num_attention_heads * c.head_size, c.key_value_heads * c.head_size
    tensors: dict[str, Shape] = {"language_model.model.embed_tokens.weight": (c.vocab_size, hidden)}
    for layer in range(c.num_hidden_layers):
        block = f"language_model.model.layers.{layer}"
        tensors |= _weight_and_bias(f"{block}.self_attn.q_proj", queries, hidden, bias=c.attention_bias)
        tensors |= _weight_and_bias(f"{block}.self_attn.k_proj", keys, hidden, bias=c.attention_bias)
        tensors |= _weight_and_bias(f"{block}.self_attn.v_proj", keys, hidden, bias=c.attention_bias)
        tensors |= _weight_and_bias(f"{block}.self_attn.o_proj", hidden, queries, bias=c.attention_bias)
        tensors |= _weight_and_bias(f"{block}.mlp.gate_proj", c.intermediate_size, hidden, bias=c.mlp_bias)
        tensors |= _weight_and_bias(f"{block}.mlp.up_proj", c.intermediate_size, hidden, bias=c.mlp_bias)
        tensors |= _weight_and_bias(f"{block}.mlp.down_proj", hidden, c.intermediate_size, bias=c.mlp_bias)
        tensors[f"{block}.input_layernorm.weight"] = (hidden,)
        tensors[f"{block}.post_attention_layernorm.weight"] = (hidden,)
    tensors["language_model.model.norm.weight"] = (hidden,)
    if not c.tie_word_embeddings:
        tensors["language_model.lm_head.weight"] = (c.vocab_size, hidden)
    return tensors


def parse(config: Mapping[str, Any]) -> tuple[Architecture | None, list[Message]]:
    """The architecture that a config.json describes, or None with everything that is wrong with it.

    By hand, not by msgspec.convert, which stops at the first field that is wrong.
    """
    problems = _identity(config)
    encoder = _part(Encoder, config, "encoder_config", problems)
    projector = _part(Projector, config, "projector_config", problems)
    text = _part(Text, config, "text_config", problems)
    chosen = _cat_hidden_layers(config, encoder, problems)
    top = {
        name: _whole(config.get(name, default), name, problems)
        for name, default in {"audio_token_index": 49155, "downsample_rate": 5, "window_size": 15}.items()
    }
    if problems:
        return None, problems
    section = config.get("text_config") or {}
    special = [section.get("bos_token_id", 1), *_tokens(section.get("eos_token_id", 2)), section.get("pad_token_id")]
    architecture = Architecture(
        encoder=encoder,
        projector=projector,
        text=text,
        audio_token=top["audio_token_index"],
        downsample_rate=top["downsample_rate"],
        window_size=top["window_size"],
        special_tokens=frozenset(token for token in special if type(token) is int),
        cat_hidden_layers=chosen,
    )
    problems = _consistency(architecture)
    return (None if problems else architecture), problems


def _identity(config: Mapping[str, Any]) -> list[Message]:
    """What says that this is another model than the one the stack runs."""
    model_type = config.get("model_type")
    if refusal := variants.refused(model_type):
        return [refusal]
    if model_type not in (MODEL_TYPE, variants.PLUS):
        return [_("config.json: model_type {model_type}, granite_speech expected", model_type=repr(model_type))]
    problems = []
    for section, expected in {"text_config": "granite", "projector_config": "blip_2_qformer"}.items():
        part = config.get(section)
        declared = part.get("model_type", expected) if isinstance(part, Mapping) else expected
        if declared != expected:
            problems.append(
                _(
                    "config.json: {section}.model_type {declared}, {expected} expected",
                    section=section,
                    declared=repr(declared),
                    expected=expected,
                )
            )
    for part in (config, *config.values()):  # the library makes two tables of as many labels
        if isinstance(part, Mapping) and part.get("num_labels") is not None:
            _whole(part["num_labels"], "num_labels", problems)
    if config.get("has_lora_adapter", True):
        problems.append(
            _(
                "config.json: has_lora_adapter is true or missing: a Granite-Speech 3.x checkpoint, "
                "whose adapter needs peft, which is not in this stack"
            )
        )
    projector = config.get("projector_config")
    if isinstance(projector, Mapping) and projector.get("use_qformer_text_input"):
        problems.append(_("config.json: projector_config.use_qformer_text_input is true, which no Granite-Speech has"))
    return problems


def _cat_hidden_layers(config: Mapping[str, Any], encoder: Encoder, problems: list[Message]) -> tuple[int, ...]:
    """Of -plus (GraniteSpeechPlusConfig of transformers 5.8.0): layers below num_layers, in the order of the layers."""
    section = config.get("encoder_config")
    value = section.get("cat_hidden_layers") if isinstance(section, Mapping) else None
    if value is None or config.get("model_type") != variants.PLUS:
        return ()
    numbers = value if isinstance(value, list) and all(type(one) is int for one in value) else None
    if numbers is None or not all(0 <= number < encoder.num_layers for number in numbers):
        problems.append(
            _(
                "config.json: encoder_config.cat_hidden_layers is {value}, numbers from 0 to {last} expected",
                value=repr(value),
                last=encoder.num_layers - 1,
            )
        )
        return ()
    return tuple(numbers)


def _part(kind: type[PartT], config: Mapping[str, Any], section: str, problems: list[Message]) -> PartT:
    values = config.get(section)
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        problems.append(_("config.json: {section} is not an object", section=section))
        values = {}
    settings: dict[str, Any] = {}
    for field in fields(kind):
        value = values.get(field.name)
        if value is None:
            continue
        if isinstance(field.default, bool):
            if not isinstance(value, bool):
                name = f"{section}.{field.name}"
                problems.append(
                    _("config.json: {name} is {value}, true or false expected", name=name, value=repr(value))
                )
            settings[field.name] = bool(value)
        else:
            settings[field.name] = _whole(value, f"{section}.{field.name}", problems)
    return kind(**settings)


def _tokens(value: object) -> list[Any]:
    """One token or several, as a generation takes either (transformers, GenerationConfig.eos_token_id)."""
    return value if isinstance(value, list) else [value]


def _whole(value: object, name: str, problems: list[Message]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        problems.append(
            _("config.json: {name} is {value}, a whole number of at least 1 expected", name=name, value=repr(value))
        )
        return 1
    most = MOST_LAYERS if name.endswith(("_layers", "_labels")) else MOST
    if value > most:
        problems.append(
            _("config.json: {name} is {value}, at most {most} expected", name=name, value=str(value)[:20], most=most)
        )
        return 1
    return value


def _consistency(a: Architecture) -> list[Message]:
    """Relations between the numbers that the model class needs, and fails late and unclearly without."""
    rules = [
        (
            a.window_size % a.downsample_rate == 0,
            _("config.json: window_size is not a multiple of downsample_rate"),
        ),
        (
            a.projector.encoder_hidden_size == a.encoded_size,
            _(
                "config.json: projector_config.encoder_hidden_size {projector} is not the encoder's output, {encoder}",
                projector=a.projector.encoder_hidden_size,
                encoder=a.encoded_size,
            ),
        ),
        (
            a.encoder.context_size <= a.encoder.max_pos_emb,
            _("config.json: encoder_config.context_size exceeds encoder_config.max_pos_emb"),
        ),
        (
            a.projector.hidden_size % a.projector.num_attention_heads == 0,
            _("config.json: projector_config.hidden_size is not a multiple of num_attention_heads"),
        ),
        (
            a.text.num_attention_heads % a.text.key_value_heads == 0,
            _("config.json: text_config.num_attention_heads is not a multiple of num_key_value_heads"),
        ),
    ]
    return [problem for holds, problem in rules if not holds]
