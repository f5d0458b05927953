from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint, inspect
from model.components import Inputs, Loaded, load, run_parts
from model.device import resolve
from model.reference import Reference, stored_rows


def chain(reference: Reference, inputs: Inputs) -> dict[str, torch.Tensor]:
    encoded = reference.encode(inputs.features)
    audio = reference.project(encoded)
    merged = reference.splice(inputs.input_ids, audio)
    return {
        "encoder": encoded,
        "ctc_head": reference.ctc_head(encoded),
        "projector": audio,
        "splice": merged,
        "language_model": reference.language_model(merged),
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_streamed_weights_give_the_bits_of_the_library_s_own_load(
    dtype: str, request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    parts = run_parts(request.getfixturevalue(f"tiny_{dtype}"), tiny_inputs)
    for name, output in chain(Reference(tiny_checkpoint, dtype), tiny_inputs).items():
        assert torch.equal(output, parts[name].output), name


def test_float64_is_closer_to_the_truth_than_float32_by_the_dtype(
    tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    narrow = chain(Reference(tiny_checkpoint, "float32"), tiny_inputs)
    for name, wide in chain(Reference(tiny_checkpoint, "float64"), tiny_inputs).items():
        assert wide.dtype == torch.float64
        assert float((narrow[name].double() - wide).norm() / wide.norm()) < 2e-6, name


def test_no_weight_stays_in_memory(tiny_checkpoint: Checkpoint, tiny_inputs: Inputs) -> None:
    reference = Reference(tiny_checkpoint, "float32")
    chain(reference, tiny_inputs)
    assert {parameter.device.type for parameter in reference.model.parameters()} == {"meta"}


def test_the_reference_reads_the_files_and_not_the_model_under_test(
    tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    loaded = load(tiny_checkpoint, resolve("cpu"), "float32")
    before = chain(Reference(tiny_checkpoint, "float32"), tiny_inputs)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.zero_()
    after = chain(Reference(tiny_checkpoint, "float32"), tiny_inputs)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_tied_head_is_read_from_the_embeddings(synthetic_tiny: Path, tmp_path: Path, tiny_inputs: Inputs) -> None:
    folder = Path(shutil.copytree(synthetic_tiny, tmp_path / "tied"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["tie_word_embeddings"] = config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    checkpoint = inspect(folder)
    parts = run_parts(load(checkpoint, resolve("cpu"), "float32"), tiny_inputs)
    assert torch.equal(
        chain(Reference(checkpoint, "float32"), tiny_inputs)["language_model"], parts["language_model"].output
    )


def test_stored_rows_are_the_embeddings_of_the_ids(tiny_checkpoint: Checkpoint, tiny_float32: Loaded) -> None:
    ids = torch.tensor([0, 5, 1023, 5])
    rows = stored_rows(tiny_checkpoint, ids)
    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows.float(), tiny_float32.model.get_input_embeddings().weight[ids])
