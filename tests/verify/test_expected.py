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
from verify.reference import __main__ as program
from verify.reference import points
from verify.reference import values as expected
from verify.reference.points import LOGITS_POINT
from verify.reference.values import Expected
from verify.run.context import Context
from verify.run.verification import Verification


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_expected: Expected) -> Path:
    path = tmp_path_factory.mktemp("references") / "tiny.safetensors"
    expected.save(tiny_expected, path)
    return path


def test_a_file_gives_back_what_was_saved(file: Path, tiny_expected: Expected) -> None:
    found = expected.read(file)
    assert (found.about, found.points, found.noise) == (
        tiny_expected.about,
        tiny_expected.points,
        tiny_expected.noise,
    )
    assert list(found.values) == list(tiny_expected.values)
    assert all(torch.equal(found.values[key], value) for key, value in tiny_expected.values.items())
    assert torch.equal(found.tokens, tiny_expected.tokens)
    assert torch.equal(found.scores, tiny_expected.scores)
    assert len(found.sha256) == 64


def test_a_small_model_s_reference_is_float64_and_agrees_with_float32(
    tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    values = tiny_expected.values[LOGITS_POINT]
    assert values.dtype == torch.float64
    with torch.inference_mode():
        logits = forward(tiny_float32.model, tiny_inputs.features, tiny_inputs.input_ids)
    assert torch.allclose(logits.double(), values, rtol=1e-4, atol=1e-4)


def test_the_tokens_are_what_the_scores_prefer_and_never_the_end(
    tiny_checkpoint: Checkpoint, tiny_expected: Expected
) -> None:
    assert torch.equal(tiny_expected.scores.argmax(dim=-1), tiny_expected.tokens)
    assert tiny_checkpoint.config["text_config"]["eos_token_id"] not in tiny_expected.tokens.tolist()[0]
    assert tiny_expected.tokens.shape == (1, expected.TOKENS)


def test_an_ideal_device_of_a_narrower_dtype_is_farther_off(tiny_expected: Expected) -> None:
    noise = [tiny_expected.noise[d]["end_to_end"][LOGITS_POINT] for d in ("float32", "float16", "bfloat16")]
    assert 0 < noise[0][0] < noise[1][0] / 1000 < noise[2][0] / 5000


def test_noise_is_the_same_whenever_it_is_made_and_of_every_point_and_mode(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    monkeypatch.setattr(expected, "DEVICES", 2)
    wanted = expected.about(tiny_checkpoint, "", tiny_inputs, "float16") | {"dtypes": ["float16"], "tokens": 2}
    first, again = (expected.make(tiny_checkpoint, tiny_inputs, wanted) for _ in range(2))
    assert (first.noise, first.scores_noise) == (again.noise, again.scores_noise)
    assert all(set(first.noise["float16"][mode]) == set(first.points) for mode in expected.MODES)


def test_isolated_the_arithmetic_of_this_cpu_is_hardly_farther_off_than_an_ideal_device(
    tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    """The CPU rounds each operator of bfloat16 once, so that most points have the very same error."""
    noise = tiny_expected.noise["bfloat16"]["isolated"]
    found = [
        (reading.comparison.rel_l2, noise[reading.point.key][0])
        for reading in points.read_points(tiny_bfloat16, tiny_inputs, tiny_expected, "isolated")
    ]
    assert all(ours is not None and ours <= max(1.5 * ideal, 2**-10) for ours, ideal in found)
    assert sum(ours == pytest.approx(ideal, rel=0.05, abs=1e-9) for ours, ideal in found) > 0.9 * len(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_sha256": "0" * 64}, "other weights: 0000000000000000 there"),
        ({"config_sha256": "0" * 64}, "other config.json"),
        ({"inputs_sha256": "0" * 64}, "other inputs (--seed, --seq-len, --batch-size)"),
        ({"transformers": "5.0.0"}, "other transformers version: 5.0.0 there"),
        ({"schema": 0}, "other layout: 0 there"),
        ({"dtypes": ["float32", "bfloat16"]}, "nothing for float16"),
        ({"dtype": "float32"}, "values in float32, float64 needed"),
    ],
)
def test_a_file_of_something_else_is_refused(tiny_expected: Expected, change: dict[str, Any], message: str) -> None:
    other = replace(tiny_expected, about={**tiny_expected.about, **change})
    with pytest.raises(ReferenceFileError) as caught:
        expected.require(other, tiny_expected.about, Path("there.safetensors"))
    assert message in caught.value.what
    assert caught.value.next == "python -m verify.reference.values --help"


def test_a_file_for_more_dtypes_and_other_versions_of_torch_fits(tiny_expected: Expected) -> None:
    wanted = {**tiny_expected.about, "dtypes": ["bfloat16"], "versions": {"torch": "0"}}
    expected.require(tiny_expected, wanted, Path("there.safetensors"))


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1)}, path)


@pytest.mark.parametrize("damage", [_truncated, _emptied, _foreign, Path.unlink])
def test_a_damaged_file_is_one_clear_message(tmp_path: Path, file: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(file.read_bytes())
    damage(path)
    with pytest.raises(ReferenceFileError) as caught:
        expected.read(path)
    assert str(path) in caught.value.what


def test_it_is_made_once_and_then_read_and_a_damaged_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs,
    tiny_expected: Expected,
) -> None:  # fmt: skip
    made: list[int] = []

    def make(*arguments: Any) -> Expected:
        made.append(1)
        return tiny_expected

    monkeypatch.setattr(expected, "make", make)
    for _ in range(2):
        first = expected.cached(tiny_checkpoint, tiny_inputs, tiny_expected.about, tmp_path)
    assert len(made) == 1
    (path,) = tmp_path.iterdir()
    _truncated(path)
    again = expected.cached(tiny_checkpoint, tiny_inputs, tiny_expected.about, tmp_path)
    assert len(made) == 2
    assert again.sha256 == first.sha256


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, tiny_expected: Expected) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StorageError):
        expected.save(tiny_expected, tmp_path / "taken" / "tiny.safetensors")


def test_the_program_writes_what_reference_takes(tmp_path: Path, synthetic_tiny: Path) -> None:
    path = tmp_path / "brought.safetensors"
    assert program.main(["--model-dir", str(synthetic_tiny), "--seed", "5", "--output", str(path)]) == 0
    context = Context("cpu", str(synthetic_tiny), "float32", 5, 2, tmp_path, reference=str(path))
    assert Verification(context).reference.sha256 == expected.read(path).sha256
    other = Context("cpu", str(synthetic_tiny), "float32", 6, 2, tmp_path, reference=str(path))
    with pytest.raises(ReferenceFileError, match="other inputs"):
        _ = Verification(other).reference


def test_metadata_says_what_it_was_made_of(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        about = json.loads(opened.metadata()["reference"])["about"]
    assert {"weights_sha256", "config_sha256", "inputs_sha256", "versions", "dtype"} <= set(about)
