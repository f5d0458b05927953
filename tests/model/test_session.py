"""A session makes each thing once, when it is first needed, and nothing before what it depends on is known good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from env.errors import CheckpointError, DeviceError
from model import checkpoint, components, decoding, device
from model.components import Inputs, Loaded
from model.decoding import Decoding
from model.device import Device
from model.session import Session
from model.signature import DecodingSignature, Signature

SEED = 42


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of sessions from here on, in their order."""
    made: list[str] = []

    def watch(module: Any, name: str) -> None:
        original = getattr(module, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    watch(device, "resolve")
    watch(checkpoint, "inspect")
    watch(checkpoint, "weights_sha256")
    watch(components, "load")
    watch(components, "make_inputs")
    watch(components, "run_parts")
    watch(decoding, "load_processor")
    return made


@pytest.fixture
def session(synthetic_tiny: Path) -> Session:
    return Session("cpu", str(synthetic_tiny), dtype="float32", seed=SEED)


def test_a_new_session_has_made_nothing(session: Session, steps: list[str]) -> None:
    assert steps == []
    assert session.dtype == "float32"  # which the device must have
    assert steps == ["inspect", "resolve"]


@pytest.mark.slow  # importing the model class takes ten seconds
def test_everything_is_made_once_and_what_it_needs_before_it(session: Session, steps: list[str]) -> None:
    parts = session.parts
    order = ["resolve", "inspect", "load", "make_inputs", "run_parts"]
    assert steps == order
    assert session.parts is parts
    assert session.model is session.loaded
    assert session.inputs is session.inputs
    assert session.device is session.loaded.device
    assert session.digest == session.digest
    assert steps == [*order, "weights_sha256"]


def test_an_absent_device_is_told_before_an_absent_folder(
    tmp_path: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Device:
        raise DeviceError(f"{name} does not answer")

    monkeypatch.setattr(device, "resolve", absent)
    session = Session("npu:0", str(tmp_path / "absent"), seed=SEED)
    with pytest.raises(DeviceError):
        session.model  # noqa: B018
    with pytest.raises(CheckpointError, match="the folder does not exist"):
        session.checkpoint  # noqa: B018
    assert steps == ["inspect"]


def test_a_missing_processor_is_told_before_weights_are_loaded(session: Session, steps: list[str]) -> None:
    with pytest.raises(CheckpointError, match="lacks preprocessor_config"):
        session.reader(Decoding())
    assert steps == ["inspect", "load_processor"]


@pytest.mark.slow
def test_a_loaded_model_brings_its_device_and_its_checkpoint(
    tiny_float32: Loaded, tiny_inputs: Inputs, steps: list[str]
) -> None:
    session = Session("npu:0", "not a folder", dtype="float32", seed=SEED, loaded=tiny_float32)
    assert session.model is tiny_float32
    assert session.device is tiny_float32.device
    assert session.checkpoint is tiny_float32.checkpoint
    assert session.inputs.input_ids.equal(tiny_inputs.input_ids)
    assert steps == ["make_inputs"]


OF_ITS_OWN_KIND = {"decoding": DecodingSignature(method="greedy"), "versions": {"python": "3.11"}}
EVERY_FIELD: dict[str, Any] = {  # the last one first
    field.name: OF_ITS_OWN_KIND.get(field.name, 1) for field in reversed(msgspec.structs.fields(Signature))
}


def test_a_signature_s_keys_are_in_the_order_of_its_fields() -> None:
    assert list(Signature(**EVERY_FIELD).as_json()) == [field.name for field in msgspec.structs.fields(Signature)]


@pytest.mark.slow
def test_the_signatures_of_a_session_keep_that_order_and_leave_out_what_does_not_apply(tiny_float32: Loaded) -> None:
    session = Session("cpu", "", dtype="float32", seed=SEED, loaded=tiny_float32)
    order = [field.name for field in msgspec.structs.fields(Signature)]
    keys = list(session.signature(n=3).as_json())
    assert keys == [name for name in order if name in keys]
    assert {"device", "seq_len", "positions", "n"} <= set(keys)
    assert not {"decoding", "normaliser", "warmup"} & set(keys)


def test_a_signature_reads_back_as_it_was_written() -> None:
    signature = Signature(device="npu", decoding=DecodingSignature(method="greedy", max_new_tokens=200), n=3)
    assert Signature.from_json(signature.as_json()) == signature
    with pytest.raises(msgspec.ValidationError, match="device"):
        Signature.from_json({"device": 1})
