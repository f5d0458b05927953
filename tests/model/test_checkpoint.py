from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from env.errors import CheckpointError
from model import checkpoint as checkpoints
from model.checkpoint import inspect, weights_sha256

HEAD = "language_model.lm_head.weight"
SHARDS = 3  # of the fixture `sharded`


@pytest.fixture
def single_copy(synthetic_tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_tiny, tmp_path / "granite-speech-4.1-2b"))


@pytest.fixture
def sharded_copy(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "granite-speech-4.1-2b"))


def shard(folder: Path, number: int) -> Path:
    return folder / f"model-{number:05}-of-{SHARDS:05}.safetensors"


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def swap_shapes(header: dict[str, Any]) -> None:
    header["encoder.input_linear.weight"]["shape"].reverse()


def as_float16(header: dict[str, Any]) -> None:
    header["encoder.input_linear.weight"]["dtype"] = "F16"


def as_int16(header: dict[str, Any]) -> None:
    header["encoder.input_linear.weight"]["dtype"] = "I16"


def rename(header: dict[str, Any]) -> None:
    header["encoder.input_linear.kernel"] = header.pop("encoder.input_linear.weight")


Damage = Callable[[Path], object]
SINGLE: dict[str, tuple[Damage, str]] = {
    "config missing": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "config broken": (lambda f: (f / "config.json").write_text("{"), "config.json is no JSON: Expecting property name"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "config.json is no JSON object"),
    "plus model": (
        lambda f: edit_json(f / "config.json", lambda c: c.update(model_type="granite_speech_plus")),
        "config.json: model_type granite_speech_plus needs transformers 5.8.0",
    ),
    "weights missing": (
        lambda f: (f / "model.safetensors").unlink(),
        "no weights: neither model.safetensors nor model.safetensors.index.json",
    ),
    "weights under another name": (
        lambda f: (f / "model.safetensors").rename(f / "out_llm.safetensors"),
        "no weights: neither model.safetensors nor model.safetensors.index.json (out_llm.safetensors is there)",
    ),
    "weights truncated": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors: truncated: ",
    ),
    "a pointer instead of weights": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "model.safetensors: not a safetensors file",
    ),
    "another size of model": (
        lambda f: edit_json(f / "config.json", lambda c: c["encoder_config"].update(output_dim=348)),
        "encoder.out.weight is [96, 128], config.json implies [348, 128]",
    ),
    "a layer more in the config": (
        lambda f: edit_json(f / "config.json", lambda c: c["text_config"].update(num_hidden_layers=5)),
        "9 of 243 tensors missing: language_model.model.layers.4.input_layernorm.weight",
    ),
    "a layer less in the config": (
        lambda f: edit_json(f / "config.json", lambda c: c["text_config"].update(num_hidden_layers=3)),
        "9 tensors that this config does not have: language_model.model.layers.3.input_layernorm.weight",
    ),
    "a transposed tensor": (
        lambda f: edit_header(f / "model.safetensors", swap_shapes),
        "encoder.input_linear.weight is [160, 128], config.json implies [128, 160]",
    ),
    "a renamed tensor": (
        lambda f: edit_header(f / "model.safetensors", rename),
        "1 of 234 tensors missing: encoder.input_linear.weight",
    ),
    "mixed dtypes": (
        lambda f: edit_header(f / "model.safetensors", as_float16),
        "mixed dtypes (229 bfloat16, 1 float16): encoder.input_linear.weight",
    ),
    "quantised": (
        lambda f: edit_header(f / "model.safetensors", as_int16),
        "tensors of I16, where BF16, F16, F32 are known: encoder.input_linear.weight",
    ),
    "stand-in mark broken": (lambda f: (f / "STAND_IN.json").write_text("?"), "STAND_IN.json is no JSON"),
}
SHARDED: dict[str, tuple[Damage, str]] = {
    "shard missing": (
        lambda f: shard(f, 2).unlink(),
        "shard model-00002-of-00003.safetensors is missing",
    ),
    "shard truncated": (
        lambda f: shard(f, 2).write_bytes(shard(f, 2).read_bytes()[:1000]),
        "model-00002-of-00003.safetensors: truncated inside its header",
    ),
    "shard of garbage": (
        lambda f: shard(f, 1).write_bytes(b"<html>404</html>"),
        "model-00001-of-00003.safetensors: not a safetensors file",
    ),
    "a shard twice": (
        lambda f: shutil.copy(shard(f, 1), shard(f, 2)),
        "model-00002-of-00003.safetensors holds tensors that model-00001-of-00003.safetensors holds too: ",
    ),
    "two shards swapped": (
        lambda f: (shard(f, 1).rename(f / "x"), shard(f, 2).rename(shard(f, 1)), (f / "x").rename(shard(f, 2))),
        "tensors lie in another shard than model.safetensors.index.json says: ",
    ),
    "index broken": (
        lambda f: (f / "model.safetensors.index.json").write_text("no"),
        "model.safetensors.index.json is no JSON",
    ),
    "index without a map": (
        lambda f: (f / "model.safetensors.index.json").write_text("{}"),
        "model.safetensors.index.json has no weight_map from tensors to files",
    ),
    "index of another size": (
        lambda f: edit_json(f / "model.safetensors.index.json", lambda i: i["metadata"].update(total_size=1)),
        "model.safetensors.index.json declares total_size 1, the shards hold 7,7",
    ),
    "a single file too": (
        lambda f: shutil.copy(shard(f, 1), f / "model.safetensors"),
        "model.safetensors lies beside the shards of model.safetensors.index.json, and would be loaded alone: ",
    ),
}


def refusal(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        inspect(folder)
    return caught.value


@pytest.mark.parametrize(("damage", "message"), SINGLE.values(), ids=SINGLE)
def test_damage_to_a_single_file_checkpoint_is_named(single_copy: Path, damage: Damage, message: str) -> None:
    damage(single_copy)
    assert f"\n  - {message}" in refusal(single_copy).what


@pytest.mark.parametrize(("damage", "message"), SHARDED.values(), ids=SHARDED)
def test_damage_to_a_sharded_checkpoint_is_named(sharded_copy: Path, damage: Damage, message: str) -> None:
    damage(sharded_copy)
    assert f"\n  - {message}" in refusal(sharded_copy).what


def test_an_index_of_the_single_file_alone_is_no_second_set_of_weights(single_copy: Path) -> None:
    index = {"weight_map": dict.fromkeys(inspect(single_copy).entries, "model.safetensors")}
    (single_copy / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert inspect(single_copy).shards == (single_copy / "model.safetensors",)


def test_every_problem_is_reported_at_once(sharded_copy: Path) -> None:
    edit_json(sharded_copy / "config.json", lambda c: c.update(model_type="granite_speech_plus"))
    shard(sharded_copy, 1).unlink()
    shard(sharded_copy, 3).write_bytes(b"")
    assert refusal(sharded_copy).what == (
        f"the checkpoint in {sharded_copy} has 3 problems:\n"
        "  - config.json: model_type granite_speech_plus needs transformers 5.8.0 or later, 4.57.6 is installed: "
        "nox -s setup verify report -- --stack t5\n"
        "  - shard model-00001-of-00003.safetensors is missing\n"
        "  - model-00003-of-00003.safetensors: 0 bytes long, not even a header"
    )


def test_a_damaged_stand_in_is_made_again_and_a_damaged_checkpoint_is_fetched(single_copy: Path) -> None:
    (single_copy / "model.safetensors").unlink()
    assert refusal(single_copy).next == f"rm -r {single_copy}, then the same command: a stand-in is made again"
    (single_copy / "STAND_IN.json").unlink()
    assert refusal(single_copy).next.startswith(f"fetch the named files again into {single_copy}")


def test_a_checkpoint_of_another_model_is_not_to_be_fetched_again(single_copy: Path) -> None:
    for model_type in ("granite_speech_plus", "whisper"):
        edit_json(single_copy / "config.json", partial(dict.update, model_type=model_type))
        assert refusal(single_copy).next.startswith("--model-dir of a folder with granite_speech 4.1")


def test_bytes_replaced_under_their_size_and_time_are_read_again(single_copy: Path, tmp_path: Path) -> None:
    """As rsync --inplace --times and cp --preserve leave them: size, time and inode are the old."""
    cache, weights = tmp_path / "digests.json", single_copy / "model.safetensors"
    before, state = weights_sha256(inspect(single_copy), cache), weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert weights.stat().st_mtime_ns == state.st_mtime_ns
    assert weights_sha256(inspect(single_copy), cache) != before


def test_many_wrong_shapes_are_counted(single_copy: Path) -> None:
    edit_json(single_copy / "config.json", lambda c: c["text_config"].update(hidden_size=186))
    found = refusal(single_copy).what
    assert found.count(", config.json implies") == checkpoints.LISTED
    assert " more tensors have another shape than config.json implies" in found


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    error = refusal(tmp_path / "granite-speech-4.1-2b")
    assert error.what == f"no checkpoint at {tmp_path}/granite-speech-4.1-2b: the folder does not exist"
    assert "synthetic:tiny" in error.next


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert refusal(tmp_path / "model.gguf").what == f"{tmp_path}/model.gguf is a file; a checkpoint is a folder"


def test_a_whole_checkpoint_is_described(sharded: Path) -> None:
    found = inspect(sharded).describe()
    assert found["kind"] == "stand-in"
    assert found["name"] == "synthetic:tiny"
    assert found["parameters"] == sum(found["components"].values()) == 3_884_256
    assert found["tensors_by_dtype"] == {"bfloat16": 230, "int64": 4}
    assert found["dtype"] == "bfloat16"
    assert found["bytes"] == sum(path.stat().st_size for path in sharded.glob("*.safetensors"))
    assert found["architecture"]["encoder"]["output_dim"] == 96
    text = found["architecture"]["text"]  # config.json has no head_dim
    assert text["head_dim"] == text["hidden_size"] // text["num_attention_heads"] > 0
    json.dumps(found, allow_nan=False)


def test_without_the_mark_it_is_a_checkpoint(single_copy: Path) -> None:
    (single_copy / "STAND_IN.json").unlink()
    found = inspect(single_copy)
    assert (found.kind, found.name) == ("checkpoint", "granite-speech-4.1-2b")


def test_a_tied_head_may_be_stored_or_left_out(single_copy: Path) -> None:
    edit_json(single_copy / "config.json", lambda c: c["text_config"].update(tie_word_embeddings=True))
    assert HEAD in inspect(single_copy).entries


def test_the_digest_of_one_file_is_sha256sum_s(synthetic_tiny: Path) -> None:
    expected = hashlib.sha256((synthetic_tiny / "model.safetensors").read_bytes()).hexdigest()
    assert weights_sha256(inspect(synthetic_tiny)) == expected


def test_the_digest_of_shards_is_that_of_their_sha256sum_listing(sharded: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(sharded.glob("*.safetensors"))
    ]
    assert weights_sha256(inspect(sharded)) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_digest_is_kept_until_the_file_changes(single_copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "digests.json"
    first = weights_sha256(inspect(single_copy), cache)
    kept = json.loads(cache.read_text(encoding="utf-8"))
    assert list(kept.values()) == [first]
    edit_json(cache, lambda c: c.update(dict.fromkeys(c, "from the cache")))
    assert weights_sha256(inspect(single_copy), cache) == "from the cache"
    weights = single_copy / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert weights_sha256(inspect(single_copy), cache) not in (first, "from the cache")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', "[[1, 2]]", "1"])
def test_a_damaged_cache_is_ignored(synthetic_tiny: Path, tmp_path: Path, content: str) -> None:
    cache = tmp_path / "digests.json"
    cache.write_text(content, encoding="utf-8")
    assert weights_sha256(inspect(synthetic_tiny), cache) == weights_sha256(inspect(synthetic_tiny))


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("text_config", "rms_norm_eps", "x"),
        ("text_config", "logits_scaling", 0),
        ("text_config", "rope_theta", True),
        ("projector_config", "layer_norm_eps", [1e-12]),
        ("encoder_config", "dropout", -1),
        ("", "initializer_range", "0.02"),
    ],
)
def test_a_factor_of_the_configuration_is_a_number(section: str, name: str, value: object, single_copy: Path) -> None:
    path = single_copy / "config.json"
    edit_json(path, lambda config: (config[section] if section else config).update({name: value}))
    with pytest.raises(CheckpointError) as refused:
        inspect(single_copy)
    assert f"{f'{section}.{name}'.strip('.')} is {value!r}, a number expected" in str(refused.value)
