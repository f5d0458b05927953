"""Each check passes on a right model, fails on a wrong one, and writes the figures that the report reads."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import model.session
from env.errors import CheckpointError, DeviceError
from env.stack import ROOT, load_stack
from model import device as devices
from model import gelu, generation
from model.checkpoint import Checkpoint
from model.checksums import SHA256SUMS
from model.components import Loaded
from model.device import Device
from model.safetensors_format import read_header
from verify.checks import benchmark, checkpoint, determinism, device, generate, load, parity, shapes, splice
from verify.reference.values import Expected
from verify.run.context import Context
from verify.run.figures.benchmark import FloorsFigures
from verify.run.plan import CHECKS
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

CPU = Device("cpu", 0, "cpu")


def session_of(folder: Path, loaded: Loaded | None = None, level: int = 2) -> Verification:
    session = Verification(Context("cpu", str(folder), "float32", 42, level, folder, warmup=1, rounds=3), loaded)
    session.device, session.digest = CPU, "0" * 64
    return session


@pytest.fixture
def session(tiny_float32: Loaded, tiny_expected: Expected) -> Verification:
    """A worker that has loaded synthetic:tiny in float32; each test runs the components anew."""
    session = session_of(tiny_float32.checkpoint.folder, tiny_float32)
    session.reference = tiny_expected
    return session


CHECK_FUNCTIONS: dict[str, Callable[[Verification], Outcome]] = {
    "checkpoint": checkpoint.check,
    "device": device.check,
    "load": load.check,
    "shapes": shapes.check,
    "splice": splice.check,
    "generate": generate.check,
    "determinism": determinism.check,
    "parity": parity.check,
    "benchmark": benchmark.check,
}
FIGURES = {
    "checkpoint": {"path", "kind", "parameters", "tensors", "bytes", "sha256", "sums", "dtype", "architecture"},
    "device": {"asked", "kind", "name", "index", "total_memory_bytes", "emulated", "versions", "op"},
    "load": {"seconds", "parameters", "dtype", "attention", "class"},
    "shapes": {"components"},
    "splice": {"audio_tokens", "positions_replaced", "max_abs_text", "max_abs_audio"},
    "generate": {"prompt_tokens", "new_tokens", "token_ids", "repeatable"},
    "determinism": {"runs", "components"},
    "parity": {"reference", "components"},
    "benchmark": {"load_s", "components", "total", "decode", "memory", "floors"},
}
SIGNATURE = {
    "device",
    "device_name",
    "dtype",
    "attention",
    "batch",
    "seq_len",
    "seed",
    "weights_sha256",
    "weights_kind",
}
SIGNATURE |= {"versions", "threads", "deterministic"}


def fields(outcome: Outcome) -> dict[str, Any]:
    return outcome.signature.as_json() if outcome.signature else {}


@pytest.mark.parametrize("name", CHECK_FUNCTIONS)
def test_a_right_model_passes_and_leaves_its_figures(name: str, session: Verification) -> None:
    outcome = CHECK_FUNCTIONS[name](session)
    assert outcome.status is Status.PASS, outcome.reason
    assert outcome.reason
    assert FIGURES[name] <= set(outcome.data)
    json.dumps([outcome.data, fields(outcome)], allow_nan=False)
    assert set(fields(outcome)) >= SIGNATURE or name in ("checkpoint", "device")


def test_the_plan_runs_these_functions() -> None:
    planned = {check.name: check.where for check in CHECKS}
    for name, check in CHECK_FUNCTIONS.items():
        assert planned[name] == f"{check.__module__}:{check.__name__}"


def test_a_damaged_folder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        checkpoint.check(session_of(tmp_path))


def test_a_model_has_the_threads_of_its_size_again_after_another_one_ran(
    session: Verification, tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(devices, "set_threads", chosen.append)
    for _ in range(2):
        assert session.model is session.loaded
    assert chosen == [tiny_checkpoint.parameters] * 2


@pytest.fixture
def bundled_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(model.session, "DIGESTS", tmp_path / "digests.json")
    return Path(shutil.copytree(ROOT / load_stack().stand_in, tmp_path / "granite-speech-4.1-2b"))


def test_one_flipped_bit_of_one_tensor_fails_by_the_file_s_name(bundled_copy: Path) -> None:
    assert checkpoint.check(session_of(bundled_copy)).data["sums"] == {"status": "match"}
    weights = bundled_copy / "model.safetensors"
    entries = read_header(weights)
    tensor, last = entries["encoder.out.weight"], max(entry.end for entry in entries.values())
    raw = bytearray(weights.read_bytes())
    raw[len(raw) - last + tensor.begin] ^= 1
    weights.write_bytes(raw)
    outcome = checkpoint.check(session_of(bundled_copy))
    assert outcome.status is Status.FAIL
    what, problem, _, after = outcome.reason.split("\n")
    assert what == f"the checkpoint in {bundled_copy} is not what its SHA256SUMS lists:"
    assert problem.startswith("  - model.safetensors differs: sha256 ")
    assert after == f"  next: cd {bundled_copy} && sha256sum -c SHA256SUMS"
    assert (outcome.data["kind"], outcome.data["sums"]) == ("stand-in", {"status": "differ"})


@pytest.mark.parametrize(
    ("gone", "status", "said"),
    [
        ([], "match", "10 files as SHA256SUMS lists them"),
        ([SHA256SUMS], "none", "no SHA256SUMS beside the weights: nothing says whose they are"),
        (
            [SHA256SUMS, "STAND_IN.json"],
            "none",
            "no SHA256SUMS beside the weights: nothing says whose they are",
        ),
    ],
)
def test_who_vouches_for_the_weights_is_said(bundled_copy: Path, gone: list[str], status: str, said: str) -> None:
    for name in gone:
        (bundled_copy / name).unlink()
    outcome = checkpoint.check(session_of(bundled_copy))
    assert (outcome.status, outcome.data["sums"]) == (Status.PASS, {"status": status})
    assert outcome.reason.endswith(f" tensors; {said}")
    assert outcome.reason.startswith("synthetic weights, ") == (outcome.data["kind"] == "stand-in")


def test_weights_made_here_from_a_seed_need_no_list(session: Verification) -> None:
    outcome = checkpoint.check(session)
    assert outcome.data["sums"] == {"status": "made-here"}
    assert outcome.reason == "synthetic weights, 3,884,256 parameters, 234 tensors; made here from a seed"


def test_an_absent_device_is_refused(tmp_path: Path) -> None:
    session = Verification(Context("npu:7", "synthetic:tiny", "auto", 42, 1, tmp_path))
    with pytest.raises(DeviceError, match="npu:7"):
        device.check(session)


def test_a_device_that_multiplies_wrongly_fails(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.Tensor.__matmul__

    def off_by_one(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = original(left, right)
        if product.dtype == torch.float32:
            product[3, 5] += 1.0
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", off_by_one)
    outcome = device.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason == "a product of whole numbers on cpu is off by 1.0"


@pytest.mark.parametrize("errors", [(4.7e-4, 1e-7), (2e-2, 2e-2), (math.nan, math.nan)])
def test_a_device_of_another_gelu_fails(
    session: Verification, monkeypatch: pytest.MonkeyPatch, errors: tuple[float, float]
) -> None:
    monkeypatch.setattr(gelu, "of", lambda device: gelu.Gelu(*errors))
    outcome = device.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith("GELU on cpu is off by ")


def test_a_component_of_another_shape_fails_by_name(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    model = session.loaded.model
    head = model.language_model.lm_head
    original = head.forward
    monkeypatch.setattr(head, "forward", lambda x: original(x)[..., :-1])
    outcome = shapes.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason == "language_model is [1, 32, 1023]; end_to_end is [1, 32, 1023]"


def test_a_component_that_is_not_finite_fails_by_name(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = session.loaded.model.language_model.model.layers[3].mlp
    original = layer.forward
    monkeypatch.setattr(layer, "forward", lambda x: original(x) / 0.0)
    outcome = shapes.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason == "language_model holds NaN or infinity; end_to_end holds NaN or infinity"


@pytest.mark.parametrize(("shift", "what"), [(1, "audio"), (-1, "audio")])
def test_audio_in_the_wrong_place_fails(
    session: Verification, monkeypatch: pytest.MonkeyPatch, shift: int, what: str
) -> None:
    model = session.loaded.model
    original = model.get_merged_audio_embeddings

    def shifted(input_ids: torch.Tensor, audio_features: torch.Tensor, input_features_mask: Any = None) -> torch.Tensor:
        merged: torch.Tensor = original(input_ids=input_ids, audio_features=audio_features.roll(shift, dims=1))
        return merged

    monkeypatch.setattr(model, "get_merged_audio_embeddings", shifted)
    outcome = splice.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith(f"{what} embeddings differ by ")
    assert outcome.data["positions_replaced"] == 0


def test_text_embeddings_that_are_not_the_stored_ones_fail(session: Verification) -> None:
    weight = session.loaded.model.get_input_embeddings().weight
    row = int(session.inputs.input_ids[0, 0])
    kept = weight.data[row].clone()
    weight.data[row] += 0.25
    outcome = splice.check(session)
    weight.data[row] = kept
    assert outcome.status is Status.FAIL
    assert outcome.reason == "text embeddings differ by 0.25"


def test_a_decoding_that_does_not_repeat_itself_fails(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    original = generation.generate
    runs = iter([False, True])

    def unsteady(*arguments: Any, **options: Any) -> generation.Generated:
        found = original(*arguments, **options)
        return generation.Generated(found.tokens + 1, found.logits) if next(runs) else found

    monkeypatch.setattr(generation, "generate", unsteady)
    outcome = generate.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason == "a second decoding gave other tokens"
    assert outcome.data["repeatable"] is False


def test_a_token_that_is_not_the_best_fails(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    original = generation.generate

    def second_best(*arguments: Any, **options: Any) -> generation.Generated:
        found = original(*arguments, **{**options, "keep_logits": True})
        assert found.logits is not None
        return generation.Generated(found.logits.topk(2).indices[..., 1], found.logits)

    monkeypatch.setattr(generation, "generate", second_best)
    outcome = generate.check(session)
    assert outcome.status is Status.FAIL
    assert "a token was taken that is not the largest of its logits" in outcome.reason


def test_a_cache_that_misses_one_step_fails(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import DynamicCache

    original = DynamicCache.update
    steps = iter(range(10_000))

    def forgetful(cache: Any, keys: torch.Tensor, values: torch.Tensor, layer: int, *rest: Any) -> Any:
        if keys.shape[2] == 1 and layer == 0 and next(steps) % 16 == 3:
            keys, values = torch.zeros_like(keys), torch.zeros_like(values)
        return original(cache, keys, values, layer, *rest)

    monkeypatch.setattr(DynamicCache, "update", forgetful)
    outcome = generate.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith("cached decoding departs from an uncached pass at token 4: rel_l2 ")


def test_a_prompt_that_leaves_no_room_to_decode_is_a_skip(session: Verification) -> None:
    from model.components import make_inputs

    session.inputs = make_inputs(session.checkpoint.architecture, 1, 4090, 42)
    outcome = generate.check(session)
    assert outcome.status is Status.SKIP
    assert outcome.reason == "--seq-len 32 leaves 6 positions, 16 are decoded"


def test_one_run_that_differs_fails_by_component(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    projector = session.loaded.model.projector
    original = projector.forward
    monkeypatch.setattr(projector, "forward", lambda x: original(x) * (1 + 1e-6 * torch.randn(1)))
    outcome = determinism.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith("not the same bits in 3 runs: projector (")
    assert fields(outcome)["n"] == 3


def test_a_wrong_layer_fails_parity_by_component(session: Verification) -> None:
    weight = session.loaded.model.get_parameter("projector.linear.weight")
    kept = weight.data.clone()
    weight.data *= 1.1
    outcome = parity.check(session)
    weight.data.copy_(kept)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith("projector: rel_l2 0.0")
    assert outcome.data["components"]["encoder"]["passed"]


def test_a_model_with_parameters_too_many_fails(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    model = session.loaded.model
    monkeypatch.setitem(model._parameters, "adapter", torch.nn.Parameter(torch.zeros(10)))
    outcome = load.check(session)
    assert outcome.status is Status.FAIL
    assert outcome.reason == "3,884,266 parameters loaded, 3,884,256 in the checkpoint"


@pytest.mark.parametrize(("level", "calls"), [(2, [benchmark.QUICK_FLOOR_SECONDS]), (3, [None, None])])
def test_floors_are_measured_once_and_short_below_level_three(
    tiny_float32: Loaded, monkeypatch: pytest.MonkeyPatch, level: int, calls: list[float | None]
) -> None:
    spent: list[float | None] = []

    def floors(device: object, dtype: str, seconds: float | None = None) -> FloorsFigures:
        spent.append(seconds)
        return FloorsFigures(read_gb_s=1.0, gemm_gflop_s=1.0)

    monkeypatch.setattr(benchmark, "measure_floors", floors)
    outcome = benchmark.check(session_of(tiny_float32.checkpoint.folder, tiny_float32, level))
    assert spent == calls
    assert outcome.data["components"]["encoder"]["floor_ms"] is not None
    signature = fields(outcome)
    assert signature["n"] == len(outcome.data["total"]["samples_ms"]) == 3
    assert signature["warmup"] == 1
