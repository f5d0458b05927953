"""The reference file: what comes back is what was put in, and a file of something else is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from env.errors import ReferenceFileError, StorageError
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, forward
from verify.reference import __main__, file, make, noise, points, values
from verify.reference.values import Expected
from verify.run.context import Context
from verify.run.verification import Verification


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny_expected: Expected) -> Path:
    path = tmp_path_factory.mktemp("references") / "tiny.safetensors"
    file.save(tiny_expected, path)
    return path


def test_a_file_gives_back_what_was_saved(saved: Path, tiny_expected: Expected) -> None:
    back = file.read(saved)
    assert (back.description, back.points, back.noise_of) == (
        tiny_expected.description,
        tiny_expected.points,
        tiny_expected.noise_of,
    )
    assert list(back.values) == list(tiny_expected.values)
    assert all(torch.equal(back.values[key], value) for key, value in tiny_expected.values.items())
    assert torch.equal(back.tokens, tiny_expected.tokens)
    assert torch.equal(back.scores, tiny_expected.scores)
    assert len(back.sha256) == 64


def test_a_small_model_s_reference_is_float64_and_agrees_with_float32(
    tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    reference = tiny_expected.values[values.LOGITS_POINT]
    assert reference.dtype == torch.float64
    with torch.inference_mode():
        logits = forward(tiny_float32.model, tiny_inputs.features, tiny_inputs.input_ids)
    assert torch.allclose(logits.double(), reference, rtol=1e-4, atol=1e-4)


def test_the_tokens_are_what_the_scores_prefer_and_never_the_end(
    tiny_checkpoint: Checkpoint, tiny_expected: Expected
) -> None:
    assert torch.equal(tiny_expected.scores.argmax(dim=-1), tiny_expected.tokens)
    assert tiny_checkpoint.config["text_config"]["eos_token_id"] not in tiny_expected.tokens.tolist()[0]
    assert tiny_expected.tokens.shape == (1, values.TOKENS)


@pytest.mark.parametrize("component", ["encoder", "ctc_head", "projector", "language_model", "end_to_end"])
def test_an_ideal_device_of_a_narrower_dtype_is_farther_off(tiny_expected: Expected, component: str) -> None:
    levels = [tiny_expected.noise_of[dtype].components[component] for dtype in ("float32", "float16", "bfloat16")]
    assert 0 < levels[0][0] < levels[1][0] / 1000 < levels[2][0] / 5000


def test_a_component_by_itself_is_less_far_off_than_after_all_before_it(tiny_expected: Expected) -> None:
    for dtype, levels in tiny_expected.noise_of.items():
        end_to_end = levels.points["end_to_end"]
        assert levels.components["projector"][0] < end_to_end["projector", "out of", 0, 0][0], dtype
        assert levels.components["language_model"][0] < end_to_end[values.LOGITS_POINT][0], dtype
        assert levels.components["encoder"] == end_to_end[values.ENCODED], dtype


@pytest.mark.slow
def test_noise_is_the_same_whenever_it_is_made_and_of_every_point_and_mode(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    monkeypatch.setattr(noise, "DEVICES", 2)
    monkeypatch.setattr(noise, "COMPONENT_DEVICES", 2)
    description = replace(values.describe(tiny_checkpoint, "", tiny_inputs, "float16"), tokens=2)
    first, again = (make.make(tiny_checkpoint, tiny_inputs, description) for _ in range(2))
    assert first.noise_of == again.noise_of
    assert all(set(first.noise["float16"][mode]) == set(first.points) for mode in values.MODES)


def test_isolated_the_arithmetic_of_this_cpu_is_hardly_farther_off_than_an_ideal_device(
    tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    """The CPU rounds each operator of bfloat16 once, so that most points have the very same error."""
    ideal = tiny_expected.noise["bfloat16"]["isolated"]
    errors = [
        (reading.comparison.rel_l2, ideal[reading.point.key][0])
        for reading in points.read_points(tiny_bfloat16, tiny_inputs, tiny_expected, "isolated")
    ]
    assert all(ours is not None and ours <= max(1.5 * least, 2**-10) for ours, least in errors)
    assert sum(ours == pytest.approx(least, rel=0.05, abs=1e-9) for ours, least in errors) > 0.9 * len(errors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_sha256": "0" * 64}, "other weights: 0000000000000000 there"),
        ({"config_sha256": "0" * 64}, "other config.json"),
        ({"inputs_sha256": "0" * 64}, "other inputs (--seed, --seq-len, --batch-size)"),
        ({"transformers": "5.0.0"}, "other transformers version: 5.0.0 there"),
        ({"schema": 0}, "other layout: 0 there"),
        ({"dtypes": ("float32", "bfloat16")}, "nothing for float16"),
        ({"dtype": "float32"}, "values in float32, float64 needed"),
    ],
)
def test_a_file_of_something_else_is_refused(tiny_expected: Expected, change: dict[str, Any], message: str) -> None:
    other = replace(tiny_expected, description=replace(tiny_expected.description, **change))
    with pytest.raises(ReferenceFileError) as caught:
        file.require(other, tiny_expected.description, Path("there.safetensors"))
    assert message in caught.value.what
    assert caught.value.next == "python -m verify.reference --help"


def test_a_file_of_an_older_layout_is_refused_as_one_before_it_is_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "older.safetensors"
    save_file({"tokens": torch.zeros(1)}, path, {"reference": json.dumps({"about": {"schema": 2}})})
    with pytest.raises(ReferenceFileError, match=r"older\.safetensors does not fit this run: other layout: 2 there"):
        file.read(path)


def test_a_file_for_more_dtypes_and_other_versions_of_torch_fits(tiny_expected: Expected) -> None:
    narrower = replace(tiny_expected.description, dtypes=("bfloat16",), versions={"torch": "0"})
    file.require(tiny_expected, narrower, Path("there.safetensors"))


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1)}, path)


@pytest.mark.parametrize("damage", [_truncated, _emptied, _foreign, Path.unlink])
def test_a_damaged_file_is_one_clear_message(tmp_path: Path, saved: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(saved.read_bytes())
    damage(path)
    with pytest.raises(ReferenceFileError) as caught:
        file.read(path)
    assert str(path) in caught.value.what


def test_it_is_made_once_and_then_read_and_a_damaged_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs,
    tiny_expected: Expected,
) -> None:  # fmt: skip
    made: list[int] = []

    def run(*arguments: Any) -> Expected:
        made.append(1)
        return tiny_expected

    monkeypatch.setattr(make, "make", run)
    for _ in range(2):
        first = file.cached(tiny_checkpoint, tiny_inputs, tiny_expected.description, tmp_path)
    assert len(made) == 1
    (path,) = tmp_path.iterdir()
    _truncated(path)
    again = file.cached(tiny_checkpoint, tiny_inputs, tiny_expected.description, tmp_path)
    assert len(made) == 2
    assert again.sha256 == first.sha256


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, tiny_expected: Expected) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StorageError):
        file.save(tiny_expected, tmp_path / "taken" / "tiny.safetensors")


@pytest.mark.slow
def test_the_program_writes_what_reference_takes(tmp_path: Path, synthetic_tiny: Path) -> None:
    path = tmp_path / "brought.safetensors"
    assert __main__.main(["--model-dir", str(synthetic_tiny), "--seed", "5", "--output", str(path)]) == 0
    context = Context("cpu", str(synthetic_tiny), "float32", 5, 2, tmp_path, reference=str(path))
    assert Verification(context).reference.sha256 == file.read(path).sha256
    other = Context("cpu", str(synthetic_tiny), "float32", 6, 2, tmp_path, reference=str(path))
    with pytest.raises(ReferenceFileError, match="other inputs"):
        _ = Verification(other).reference


def test_metadata_says_what_it_was_made_of(saved: Path) -> None:
    from safetensors import safe_open

    with safe_open(saved, framework="pt") as opened:
        description = json.loads(opened.metadata()["reference"])["about"]
    assert {"weights_sha256", "config_sha256", "inputs_sha256", "versions", "dtype"} <= set(description)
