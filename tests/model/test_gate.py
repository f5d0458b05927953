"""A checkpoint folder that carries code is refused by name, by every program, and its code never runs."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import MethodType
from typing import Any

import pytest

from env.errors import CheckpointError
from env.stack import ROOT, load_stack
from model import checkpoint, gate
from model.components import Loaded

MARK = "EXECUTED"
CODE = f"import pathlib, os\npathlib.Path(os.environ['MARK']).write_text('{MARK}')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled checkpoint with a processor, to be poisoned."""
    return Path(shutil.copytree(ROOT / load_stack().stand_in, tmp_path / "checkpoint"))


def add(folder: Path, name: str, text: str = CODE) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def change(folder: Path, name: str, **keys: Any) -> None:
    value = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(value | keys), encoding="utf-8")


def custom_generate(folder: Path) -> None:
    add(folder, "custom_generate/generate.py", CODE + "def generate(model, *a, **k):\n    return None\n")


POISONS = {
    "custom_generate": (custom_generate, "custom_generate/generate.py is code"),
    "an empty custom_generate": (lambda f: (f / "custom_generate").mkdir(), "custom_generate/ is code"),
    "a module": (lambda f: add(f, "modeling_granite.py"), "modeling_granite.py is code"),
    "a module below": (lambda f: add(f, "a/b/evil.py"), "a/b/evil.py is code"),
    "compiled": (lambda f: add(f, "evil.so", ""), "evil.so is code"),
    "auto_map of the model": (
        lambda f: change(f, "config.json", auto_map={"AutoConfig": "evil.Config"}), "config.json: auto_map"),
    "auto_map of a part": (
        lambda f: change(f, "config.json", text_config={"auto_map": {"AutoModel": "evil.M"}}), "config.json: auto_map"),
    "auto_map of the tokenizer": (
        lambda f: change(f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
        "tokenizer_config.json: auto_map"),
    "auto_map of the processor": (
        lambda f: change(f, "processor_config.json", auto_map={"AutoProcessor": "evil.P"}),
        "processor_config.json: auto_map"),
    "auto_map of the front end": (
        lambda f: change(f, "preprocessor_config.json", auto_map={"AutoFeatureExtractor": "evil.F"}),
        "preprocessor_config.json: auto_map"),
    "a way to generate": (
        lambda f: change(f, "generation_config.json", custom_generate="somebody/repository"),
        "generation_config.json: custom_generate"),
    "a kernel of a hub": (
        lambda f: change(f, "config.json", _attn_implementation="kernels-community/flash-attn"),
        "config.json: _attn_implementation"),
    "a kernel of a hub for a part": (
        lambda f: change(f, "config.json", attn_implementation={"text_config": "kernels-community/flash-attn"}),
        "config.json: attn_implementation"),
    "contrastive search": (
        lambda f: change(f, "generation_config.json", penalty_alpha=0.6, top_k=4),
        "generation_config.json: penalty_alpha names code"),
    "DoLa": (
        lambda f: change(f, "generation_config.json", dola_layers="low"), "generation_config.json: dola_layers"),
    "groups of beams, in the model's own configuration": (
        lambda f: change(f, "config.json", num_beam_groups=2), "config.json: num_beam_groups names code"),
    "forced words": (
        lambda f: change(f, "generation_config.json", force_words_ids=[[5]]),
        "generation_config.json: force_words_ids"),
    "other weights": (
        lambda f: change(f, "config.json", transformers_weights="../x.safetensors"),
        "config.json: transformers_weights names other files"),
    "another configuration": (
        lambda f: change(f, "config.json", configuration_files=["config.4.0.0.json"]),
        "config.json: configuration_files names other files"),
    "another tokenizer": (
        lambda f: change(f, "tokenizer_config.json", tokenizer_file="/tmp/tokenizer.json"),
        "tokenizer_config.json: tokenizer_file names other files"),
    "a tokenizer by version": (
        lambda f: change(f, "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"]),
        "tokenizer_config.json: fast_tokenizer_files names other files"),
    "another model in the processor": (
        lambda f: change(f, "processor_config.json", audio_tokenizer={
            "audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "/tmp/evil"}),
        "processor_config.json: audio_tokenizer names other files"),
    "an adapter": (
        lambda f: add(f, "adapter_config.json", json.dumps({"base_model_name_or_path": "/tmp/evil"})),
        "adapter_config.json names another model"),
    "deeper than any": (lambda f: add(f, "x.json", '{"a":' * 60 + "1" + "}" * 60), "x.json: ..."),
}  # fmt: skip


@pytest.mark.parametrize("poison", POISONS)
def test_what_could_run_code_is_refused_by_name(poison: str, folder: Path) -> None:
    plant, named = POISONS[poison]
    plant(folder)
    for look in (checkpoint.inspect, gate.load_model, gate.load_processor, gate.load_config):
        with pytest.raises(CheckpointError) as refused:
            look(folder)
        assert named in str(refused.value)


def test_a_clean_folder_passes(folder: Path) -> None:
    change(folder, "generation_config.json", num_beam_groups=1, penalty_alpha=None, constraints=None)  # of old versions
    change(folder, "tokenizer_config.json", tokenizer_file=None, name_or_path="/home/somebody/model")
    gate.require_no_code(folder)
    assert gate.code_in(folder) == []


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("../outside.safetensors", "shard '../outside.safetensors' is outside the folder"),
        ("/etc/passwd", "shard '/etc/passwd' is outside the folder"),
        ("pytorch_model.bin", "shard pytorch_model.bin is no safetensors file"),
        ("model.pt", "shard model.pt is no safetensors file"),
        ("x" * 250 + ".safetensors", "is no name that a file may have"),
    ],
)
def test_an_index_names_safetensors_files_of_its_own_folder(name: str, named: str, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"metadata": {}, "weight_map": {"encoder.out.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError) as refused:
        checkpoint.inspect(folder)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        ["inference.py", "--benchmark", "0"],
        ["inference.py", "--audio", "model/data/clips/en-000.flac"],
        ["eval.py"],
        ["eval.py", "--manifest", "model/data/clips/manifest.jsonl"],
        ["-m", "verify.reference", "--output", "unused.safetensors"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_program_runs_the_code_of_a_folder(command: list[str], folder: Path, tmp_path: Path) -> None:
    custom_generate(folder)
    mark = tmp_path / "mark"
    device = [] if command[0] == "-m" else ["--device", "cpu"]
    done = subprocess.run(
        [sys.executable, *command, *device, "--model-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "MARK": str(mark)}, input="y\ny\ny\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == CheckpointError.exit_code, done.stderr
    assert "custom_generate/generate.py is code" in done.stderr
    assert not mark.exists()


@pytest.mark.slow
def test_a_method_that_was_replaced_is_seen_whatever_replaced_it(tiny_float32: Loaded) -> None:
    model = tiny_float32.model
    gate.require_library_code(tiny_float32.checkpoint.folder, model)
    for part, name in ((model, "generate"), (model.projector, "forward")):
        setattr(part, name, MethodType(lambda self, *_, **__: None, part))
        with pytest.raises(CheckpointError, match=rf"\.{name}$|\.{name}\n"):
            gate.require_library_code(tiny_float32.checkpoint.folder, model)
        delattr(part, name)


def loads(path: Path) -> list[str]:
    """The calls of a file that make something of a checkpoint folder, or unpickle."""
    names = ("from_pretrained", "load_custom_generate", "get_class_from_dynamic_module")
    unpickle = ("torch.load", "pickle.load", "pickle.loads", "joblib.load")
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    found = []
    for call in calls:
        name = ast.unparse(call.func)
        safe = {(word.arg, ast.unparse(word.value)) for word in call.keywords} & {("weights_only", "True")}
        if name.rpartition(".")[2] in names or (name in unpickle and not safe):
            found.append(f"{name} in line {call.lineno}")
    return found


@pytest.mark.parametrize(
    "path", [p for room in ("env", "model", "verify") for p in sorted((ROOT / room).rglob("*.py"))]
    + [ROOT / "inference.py", ROOT / "eval.py"], ids=lambda path: path.relative_to(ROOT).as_posix(),
)  # fmt: skip
def test_checkpoints_are_loaded_at_the_gate_alone(path: Path) -> None:
    if path != ROOT / "model" / "gate.py":
        assert loads(path) == []
