"""The library against the definition: equations that hold, a wrong library named, values that ship."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from env.errors import UsageError
from env.stack import ROOT, load_stack
from model import device
from verify.checks import definition
from verify.checks.definition import EQUATIONS
from verify.faults import library
from verify.reference import bundled
from verify.reference.definition import miniature
from verify.reference.definition.equation import EXACT, Equation, Reading, fitted
from verify.reference.definition.miniature import Miniature, shrunk

CONFIGS = {
    "stand-in": ROOT / "model" / "data" / "stand-in" / "config.json",
    "full": ROOT / "model" / "data" / "granite-speech-4.1-2b.json",
    "tiny": ROOT / "model" / "data" / "tiny.json",
}


def config(name: str) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(CONFIGS[name].read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="module")
def mini() -> Miniature:
    return miniature.load(config("tiny"))


@pytest.mark.parametrize("name", ["stand-in", "full"])
@pytest.mark.usefixtures("mini")  # which pays for the imports
def test_every_equation_holds_on_the_declared_library(name: str) -> None:
    loaded = miniature.load(config(name))
    assert [problem for equation in EQUATIONS if (problem := definition.read(equation, loaded)[1])] == []


def test_a_miniature_keeps_the_definition_and_no_width() -> None:
    small = shrunk(config("full"))
    kept = {"embedding_multiplier": 12, "logits_scaling": 8, "residual_multiplier": 0.22, "rope_theta": 10000}
    assert {key: small["text_config"][key] for key in kept} == kept
    assert small["encoder_config"]["context_size"] == 200
    assert small["window_size"] == 15
    assert small["text_config"]["hidden_size"] == 4 * 128  # the real head's size, four of sixteen heads


DECODING = {"cache", "padding", "beams"}  # half a second each
BY_MODULE = {"tie_word_embeddings", "rope_theta", "rms_norm_eps", "window_size", "layer_norm_eps"} | DECODING
BY_MODULE |= {"layer norm of the encoder"}  # which run a part themselves


@pytest.mark.parametrize("equation", [one for one in EQUATIONS if one.name not in BY_MODULE], ids=lambda one: one.name)
def test_an_equation_of_other_values_does_not_hold(mini: Miniature, equation: Equation) -> None:
    generator = np.random.default_rng(1)
    other = replace(mini)
    noisy = {key: value * (1 + 0.01 * generator.standard_normal(value.shape)) for key, value in mini.values.items()}
    other.__dict__["values"] = noisy
    assert definition.read(equation, mini)[1] is None
    assert definition.read(equation, other)[1] is not None


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """A wrong library for a while: what was changed of its classes is put back."""
    from transformers import cache_utils
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.blip_2 import modeling_blip_2
    from transformers.models.granite import modeling_granite
    from transformers.models.granite_speech import modeling_granite_speech

    modules = (modeling_granite, modeling_granite_speech, modeling_blip_2, cache_utils)
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    before = [(kind, key, value) for kind in kinds for key, value in vars(kind).items() if callable(value)]
    own = {kind: set(vars(kind)) for kind in kinds}
    rotary = dict(ROPE_INIT_FUNCTIONS)
    library.plant(name)
    try:
        yield
    finally:
        for kind in kinds:
            for key in set(vars(kind)) - own[kind]:
                delattr(kind, key)
        for kind, key, value in before:
            if vars(kind)[key] is not value:
                setattr(kind, key, value)
        ROPE_INIT_FUNCTIONS.update(rotary)


@pytest.mark.parametrize("name", list(library.FAULTS))
def test_a_wrong_library_is_named_by_the_equation_that_it_breaks(name: str) -> None:
    with planted(name):
        loaded = miniature.load(config("tiny"))
        some = [one for one in EQUATIONS if one.name not in DECODING - {name}]
        first = next((one.name for one in some if definition.read(one, loaded)[1]), "none")
    assert first == name


def test_a_missing_division_is_told_with_both_numbers() -> None:
    with planted("logits_scaling"):
        equation, values = definition.measure(config("stand-in")).problems
    assert "logits = lm_head(h) / logits_scaling: 2 is declared, 1 computed with" in equation
    assert "language_model is not that of transformers" in values
    assert definition.measure(config("stand-in")).problems == []  # what was planted is gone


def test_a_library_without_a_part_is_wrong_and_no_traceback(mini: Miniature) -> None:
    def gone(_mini: Miniature) -> Reading:
        raise AttributeError("'GraniteModel' object has no attribute 'rotary_emb'")

    reading, problem = definition.read(replace(EQUATIONS[0], measure=gone), mini)
    assert reading == Reading(math.inf)
    assert "cannot be held on this library: 'GraniteModel' object has no attribute" in str(problem)


def test_what_a_config_declares_otherwise_is_not_covered() -> None:
    other = config("tiny")
    other["text_config"] = {**other["text_config"], "hidden_act": "gelu"}  # type: ignore[dict-item]
    loaded = miniature.load(other)
    assert [one.name for one in EQUATIONS if definition.read(one, loaded) == (None, None)] == ["mlp"]


@pytest.mark.parametrize(
    ("true", "computed"), [(0.3, 0.3), (0.0123, 0.0123), (20.0, 20.0)], ids=["thirteenth", "small", "large"]
)
def test_the_value_that_explains_what_the_library_gave_is_told(true: float, computed: float) -> None:
    base = np.linspace(-1, 1, 50)
    reading = fitted(np.tanh(true * base), lambda value: np.tanh(value * base), 0.5)
    assert reading.error > EXACT
    assert reading.computed == pytest.approx(computed, rel=1e-4)


def test_no_value_is_told_that_explains_nothing() -> None:
    base = np.linspace(-1, 1, 50)
    assert fitted(np.cos(7 * base), lambda value: value * base, 0.5).computed is None


def test_the_shipped_values_are_of_the_declared_library_and_of_the_bundled_weights() -> None:
    made = bundled.read().made
    listed = (ROOT / load_stack().stand_in / "SHA256SUMS").read_text(encoding="utf-8")
    assert made["transformers"] == load_stack().packages["transformers"]
    assert f"{made['weights_sha256']}  model.safetensors" in listed


def test_values_of_another_shape_or_none_are_no_values() -> None:
    shipped = bundled.read()
    values = {name: shipped.tensors[name] for name in bundled.VALUES}
    assert set(bundled.differences(shipped, values).values()) == {0.0}
    wrong = {**values, "encoder": values["encoder"][:, :-1], "tokens": values["tokens"] + 1}
    del wrong["projector"]
    off = bundled.differences(shipped, wrong)
    assert (off["encoder"], off["projector"], off["tokens"], off["splice"]) == (math.inf, math.inf, 1.0, 0.0)


def test_another_library_cannot_vouch_for_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundled, "FILE", tmp_path / "bundled.safetensors")
    monkeypatch.setattr(device, "versions", lambda: {"transformers": "5.24.0", "torch": version("torch")})
    with pytest.raises(UsageError, match=r"5\.24\.0 is installed"):
        bundled.write()
    assert list(tmp_path.iterdir()) == []
