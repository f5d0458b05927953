from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from env.errors import CheckpointError, OutOfMemoryError, UsageError
from model import components
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, make_inputs, run_parts
from model.device import Device, resolve

SEED = 42
CPU, NPU = Device("cpu", 0, "cpu"), Device("npu", 0, "npu:0")
CHIPS = {"Ascend910B4": "bfloat16", "Ascend910_9382": "bfloat16", "Ascend310P3": "float16", "Ascend910B": "float16"}


# The edges of the encoder's 20-frame block and of the projector's 15-frame window.
@pytest.mark.parametrize("frames", [1, 14, 15, 16, 19, 20, 21, 40, 61])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_component_has_the_shape_that_the_config_implies(tiny_float32: Loaded, batch: int, frames: int) -> None:
    inputs = make_inputs(tiny_float32.architecture, batch, frames, SEED)
    parts = run_parts(tiny_float32, inputs)
    expected = tiny_float32.architecture.output_shapes(batch, frames, inputs.positions)
    assert {name: tuple(step.output.shape) for name, step in parts.items()} == expected
    assert all(step.output.isfinite().all() for step in parts.values())


def test_the_parts_chained_are_the_library_s_own_forward_pass(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    parts = run_parts(tiny_float32, tiny_inputs)
    assert torch.equal(parts["language_model"].output, parts["end_to_end"].output)


def test_a_row_does_not_depend_on_its_neighbours(tiny_float32: Loaded) -> None:
    inputs = make_inputs(tiny_float32.architecture, batch=3, seq_len=32, seed=SEED)
    together = run_parts(tiny_float32, inputs)["end_to_end"].output
    for row in range(3):
        alone = Inputs(inputs.features[row : row + 1], inputs.input_ids[row : row + 1])
        torch.testing.assert_close(run_parts(tiny_float32, alone)["end_to_end"].output[0], together[row])


@pytest.mark.slow
def test_every_layer_counts(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    """The point of the stand-in's initialisation: 1 % on any one matrix is seen in the logits, far above the noise."""
    before = run_parts(tiny_float32, tiny_inputs)["end_to_end"].output
    unseen = []
    for name, parameter in tiny_float32.model.named_parameters():
        if parameter.ndim < 2:
            continue
        kept = parameter.data.clone()
        parameter.data *= 1.01
        after = run_parts(tiny_float32, tiny_inputs)["end_to_end"].output
        parameter.data.copy_(kept)
        if float((after - before).norm() / before.norm()) < 4e-5:  # ten times the end-to-end limit of float32
            unseen.append(name)
    assert unseen == ["projector.query"]  # goes straight into a LayerNorm, which takes a common factor out again


def test_the_first_call_of_each_component_is_remembered(tiny_checkpoint: Checkpoint, tiny_inputs: Inputs) -> None:
    loaded = components.load(tiny_checkpoint, resolve("cpu"), "float32")
    run_parts(loaded, tiny_inputs)
    first = dict(loaded.first_ms)
    run_parts(loaded, tiny_inputs)
    assert loaded.first_ms == first
    assert set(first) == set(tiny_checkpoint.architecture.output_shapes(1, 1, 1))


def test_inputs_are_seeded_and_hold_the_audio_tokens_in_one_run(tiny_checkpoint: Checkpoint) -> None:
    architecture = tiny_checkpoint.architecture
    first, again, other = (make_inputs(architecture, 2, 100, seed) for seed in (1, 1, 2))
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.input_ids, again.input_ids)
    assert not torch.equal(first.features, other.features)
    audio = first.input_ids == architecture.audio_token
    assert audio.sum(dim=1).tolist() == [21, 21]
    assert audio[:, 3:24].all()
    assert not {int(token) for token in first.input_ids[~audio]} & architecture.special_tokens


@pytest.mark.parametrize(("frames", "positions"), [(1, 22), (20, 25), (25, 25), (32, 32), (100, 100)])
def test_positions_are_the_frames_or_the_shortest_real_prompt(
    tiny_checkpoint: Checkpoint, frames: int, positions: int
) -> None:
    assert make_inputs(tiny_checkpoint.architecture, 1, frames, SEED).positions == positions


def test_a_sequence_beyond_the_language_model_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError) as caught:
        make_inputs(tiny_checkpoint.architecture, 1, 4097, SEED)
    assert caught.value.what == "--seq-len 4097 needs 4097 positions, the language model has 4096"


@pytest.mark.parametrize(("asked", "chosen"), [("auto", "bfloat16"), ("float32", "float32"), ("float16", "float16")])
def test_auto_is_the_checkpoint_s_dtype(tiny_checkpoint: Checkpoint, asked: str, chosen: str) -> None:
    assert components.choose_dtype(asked, tiny_checkpoint, CPU) == chosen


def test_an_unknown_dtype_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError):
        components.choose_dtype("int8", tiny_checkpoint, CPU)


@pytest.fixture
def chip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An NPU of that name, which knows what the vendor's runtime knows of it."""
    name: str = request.param
    runtime = SimpleNamespace(
        get_device_name=lambda index: name, is_bf16_supported=lambda: name.startswith(("Ascend910B4", "Ascend910_9"))
    )
    monkeypatch.setattr(torch, "npu", runtime, raising=False)
    return name


@pytest.mark.parametrize(("chip", "chosen"), CHIPS.items(), indirect=["chip"])
def test_auto_is_float16_where_the_chip_has_no_bfloat16(tiny_checkpoint: Checkpoint, chip: str, chosen: str) -> None:
    assert components.choose_dtype("auto", tiny_checkpoint, NPU) == chosen


@pytest.mark.parametrize("chip", ["Ascend310P3", "Ascend910A"], indirect=True)
def test_what_a_chip_cannot_compute_in_is_refused_before_anything_is_loaded(
    tiny_checkpoint: Checkpoint, chip: str
) -> None:
    for dtype, why in {"bfloat16": "has no bfloat16", "float32": "multiplies float32 matrices in float16"}.items():
        with pytest.raises(UsageError) as refused:
            components.choose_dtype(dtype, tiny_checkpoint, NPU)
        assert (refused.value.what, refused.value.next) == (f"{chip} {why}", "--dtype float16")
    assert components.choose_dtype("float16", tiny_checkpoint, NPU) == "float16"


def test_loading_leaves_nothing_of_another_dtype(tiny_bfloat16: Loaded) -> None:
    floating = {tensor.dtype for tensor in tiny_bfloat16.model.state_dict().values() if tensor.is_floating_point()}
    assert floating == {torch.bfloat16}
    assert not tiny_bfloat16.model.training


def test_a_file_that_was_damaged_after_inspection_is_a_checkpoint_error(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((tiny_checkpoint.folder / "config.json").read_text())
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        components.load(dataclasses.replace(tiny_checkpoint, folder=tmp_path), resolve("cpu"), "float32")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("text_config", {"hidden_act": "no_such_activation"}),
        ("text_config", {"rope_scaling": {"rope_type": "no_such_type", "factor": 2.0}}),
        ("projector_config", {"hidden_act": "no_such_activation"}),
        (None, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
    ],
)
def test_what_a_config_asks_of_the_library_in_vain_is_a_checkpoint_error(
    tiny_checkpoint: Checkpoint, tmp_path: Path, part: str | None, change: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint.folder, tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_text())
    (config if part is None else config[part]).update(change)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"cannot be loaded|asks of transformers what it does not have"):
        components.load(dataclasses.replace(tiny_checkpoint, folder=folder), resolve("cpu"), "float32")


def test_tensors_that_the_loader_missed_are_a_checkpoint_error(
    tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForSpeechSeq2Seq

    original = AutoModelForSpeechSeq2Seq.from_pretrained

    def forgetful(*arguments: object, **options: object) -> object:
        model, info = original(*arguments, **options)
        return model, {**info, "missing_keys": ["encoder.out.weight"]}

    monkeypatch.setattr(AutoModelForSpeechSeq2Seq, "from_pretrained", forgetful)
    with pytest.raises(CheckpointError, match=r"not loaded whole.*encoder\.out\.weight"):
        components.load(tiny_checkpoint, resolve("cpu"), "float32")


def test_out_of_memory_in_a_component_names_it(
    tiny_float32: Loaded, tiny_inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(tiny_float32.model.projector.qformer, "forward", fail)
    with pytest.raises(OutOfMemoryError, match="while running projector"):
        run_parts(tiny_float32, tiny_inputs)
