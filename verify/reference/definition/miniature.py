"""A small model of the checkpoint's own definition, loaded by the library's own loader and run once in float64.

Of config.json what defines the arithmetic is kept (multipliers, epsilons, frequencies, activations, windows and blocks,
the size of a head); widths, layers and the vocabulary are small. Its weights are seeded (model/stand_in.py).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from model import checkpoint, components, gate, generation, layout, stand_in
from model.architecture import parse
from model.checkpoint import CONFIG_FILE, Checkpoint
from model.components import Inputs
from model.hooks import Hooks, Point
from verify.reference.numerics import Array, as_array
from verify.reference.values import Key

SEED = 42
LAYERS = 4  # of the encoder, whose middle is fed back after half of them
VOCAB = 64
CACHED = 4  # tokens decoded with and without a cache
PADDED = 5  # positions of padding before a row
BEAMS = 3
# GraniteConfig and Blip2QFormerConfig of transformers 4.57.6: what a config.json that leaves a key out declares.
TEXT_DEFAULTS: Mapping[str, Any] = {
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
}
PROJECTOR_DEFAULTS: Mapping[str, Any] = {"layer_norm_eps": 1e-12, "hidden_act": "gelu"}


def shrunk(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json with its definition kept and its sizes small.

    Raises:
        ValueError: it describes no Granite-Speech.
    """
    whole, problems = parse(config)
    if whole is None:
        raise ValueError(problems)
    text, encoder, projector = (
        {key: value for key, value in (config.get(f"{part}_config") or {}).items() if "dtype" not in key}
        for part in ("text", "encoder", "projector")
    )
    group = 2 if whole.text.num_attention_heads > whole.text.key_value_heads else 1
    text = {**TEXT_DEFAULTS, **text, "num_hidden_layers": 2, "num_attention_heads": 2 * group}
    text |= {"num_key_value_heads": 2, "hidden_size": 2 * group * whole.text.head_size, "intermediate_size": VOCAB}
    text |= {"vocab_size": VOCAB, "bos_token_id": VOCAB - 2, "eos_token_id": VOCAB - 2, "pad_token_id": VOCAB - 3}
    text["tie_word_embeddings"] = whole.text.tie_word_embeddings
    if isinstance(text.get("rope_parameters"), Mapping):  # as transformers 5 writes it
        text["rope_theta"] = text["rope_parameters"].get("rope_theta", text["rope_theta"])
    encoder |= {"num_layers": LAYERS, "hidden_dim": 32, "output_dim": 12, "num_heads": 2, "dim_head": 16}
    cat = [1] * bool(encoder.get("cat_hidden_layers"))
    if cat:
        encoder["cat_hidden_layers"] = cat
    projector = {**PROJECTOR_DEFAULTS, **projector, "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2}
    projector |= {"intermediate_size": 48, "encoder_hidden_size": 32 * (1 + len(cat))}
    small = {key: value for key, value in config.items() if "dtype" not in key}
    small |= {"audio_token_index": VOCAB - 1, "text_config": text, "encoder_config": encoder}
    return small | {"projector_config": projector}


@dataclass(frozen=True)
class Miniature:
    """The small model, with every value of one forward pass."""

    model: Any
    checkpoint: Checkpoint
    inputs: Inputs

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """config.json, of which every key that an equation needs is there."""
        return self.checkpoint.config

    @property
    def text(self) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self.config["text_config"]
        return section

    @property
    def encoder(self) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self.config["encoder_config"]
        return section

    @property
    def projector(self) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self.config["projector_config"]
        return section

    @cached_property
    def values(self) -> Mapping[Key, Array]:
        """Every point of one forward pass, by the names that a checkpoint has."""
        return self._pass(components.forward, self.inputs.features, self.inputs.input_ids)

    def into(self, layer: str, index: int = 0) -> Array:
        return self.values[layer, "into", 0, index]

    def out_of(self, layer: str, index: int = 0) -> Array:
        return self.values[layer, "out of", 0, index]

    @cached_property
    def modules(self) -> Mapping[str, torch.nn.Module]:
        """By the names that a checkpoint has."""
        return dict(layout.named_modules(self.model))

    def weight(self, name: str) -> Array:
        """A parameter or buffer of the loaded model."""
        layer, _, own = name.rpartition(".")
        return as_array(getattr(self.modules[layer], own))

    def encoded_with(self, layer: str, frame: int) -> Array:
        """What a layer of the encoder gives where one frame of its input is another."""

        def other(_module: Any, args: Any, kwargs: Any) -> Any:
            changed = args[0].clone()
            changed[:, frame] = changed[:, frame].flip(-1)  # a norm takes a mere shift away
            return (changed, *args[1:]), kwargs

        hook = self.modules[layer].register_forward_pre_hook(other, with_kwargs=True)
        try:
            return self._pass(components.encode, self.inputs.features)[layer, "out of", 0, 0]
        finally:
            hook.remove()

    def projected(self, encoded: Array) -> Array:
        with torch.inference_mode():
            return as_array(components.project(self.model, torch.from_numpy(encoded)))

    def decoded(self) -> tuple[Array, Array]:
        """Logits [B, n, vocab] of CACHED tokens decoded with the library's cache, and of one pass without."""
        ids, features = self.inputs.input_ids, self.inputs.features
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                input_features=features,
                max_new_tokens=CACHED,
                min_new_tokens=CACHED,
                suppress_tokens=generation.never_chosen(self.model),
                do_sample=False,
                num_beams=1,
                return_dict_in_generate=True,
                output_logits=True,
            )
            whole = components.forward(self.model, features, output.sequences[:, :-1])
        return as_array(torch.stack(output.logits, dim=1)), as_array(whole[:, ids.shape[1] - 1 :])

    def padded(self) -> tuple[Array, Array]:
        """Logits [B, n, vocab] of CACHED tokens after a row of embeddings, behind padding that is hidden, and alone."""
        with torch.inference_mode():
            audio = components.project(self.model, components.encode(self.model, self.inputs.features))
            row = components.splice(self.model, self.inputs.input_ids, audio)
            before = torch.ones_like(row[:, :PADDED])  # what is hidden may be anything
            alone, behind = (self._from_embeddings(row, 0), self._from_embeddings(torch.cat([before, row], 1), PADDED))
        return behind, alone

    def _from_embeddings(self, embeddings: torch.Tensor, hidden: int) -> Array:
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
        mask[:, :hidden] = 0
        output = self.model.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            max_new_tokens=CACHED,
            min_new_tokens=CACHED,
            suppress_tokens=generation.never_chosen(self.model),
            do_sample=False,
            num_beams=1,
            return_dict_in_generate=True,
            output_logits=True,
        )
        return as_array(torch.stack(output.logits, dim=1))

    def searched(self) -> tuple[float, float]:
        """The score of the best of BEAMS beams, and the sum of its tokens' log probabilities in one pass without a
        cache: a beam whose past is another beam's has another score.
        """
        ids, features = self.inputs.input_ids, self.inputs.features
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                input_features=features,
                max_new_tokens=2 * CACHED,
                min_new_tokens=2 * CACHED,
                suppress_tokens=generation.never_chosen(self.model),
                do_sample=False,
                num_beams=BEAMS,
                length_penalty=0.0,  # or the sum is divided by a power of the length
                return_dict_in_generate=True,
                output_scores=True,
            )
            logits = components.forward(self.model, features, output.sequences[:, :-1])[:, ids.shape[1] - 1 :]
            chosen = logits.log_softmax(dim=-1).gather(-1, output.sequences[:, ids.shape[1] :, None])
        return float(output.sequences_scores[0]), float(chosen.sum())

    def _pass(self, component: Any, *tensors: torch.Tensor) -> dict[Key, Array]:
        values: dict[Key, Array] = {}

        def keep(point: Point, tensor: torch.Tensor) -> None:
            values[point.key] = as_array(tensor).copy()

        with Hooks(self.model, keep, deep=True), torch.inference_mode():
            component(self.model, *tensors)
        return values


def load(config: Mapping[str, Any]) -> Miniature:
    """The miniature of a config.json: one block of the encoder and a half, and a last window that is not whole.

    Raises:
        ValueError, CheckpointError: as the library and `inspect` refuse it.
    """
    components.quiet()
    with tempfile.TemporaryDirectory(prefix="miniature-") as place:
        folder = Path(place, "miniature")
        folder.mkdir()
        small = shrunk(config)
        stand_in.write_weights(folder, small, SEED)
        (folder / CONFIG_FILE).write_text(json.dumps(small), encoding="utf-8")
        inspected = checkpoint.inspect(folder)
        model, _info = gate.load_model(folder, dtype=torch.float32)
    block = inspected.architecture.encoder.context_size
    inputs = components.make_inputs(inspected.architecture, 1, block + block // 2 + 1, SEED)
    return Miniature(model.double().eval(), inspected, Inputs(inputs.features.double(), inputs.input_ids))
