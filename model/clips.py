"""One bundled recording of each language that the model hears, and what the model is given for it.

What a checkpoint says to them on a CPU is kept beside its other reference values (verify/reference/words.py), so they
are few and short: the first of each language, 8 s together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.digest import file_sha256
from model import audio, prompts
from model.components import Inputs
from model.decoding import prompt_text
from model.prompts import Prompt
from model.windows import Window

if TYPE_CHECKING:
    from model.audio import Samples

FOLDER = Path(__file__).parent / "data" / "clips"
MANIFEST = "manifest.jsonl"
# What of a checkpoint's folder makes a prompt of an instruction, features of samples, and a text of tokens.
PROCESSOR_PARTS = (
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json", "merges.txt",
    "preprocessor_config.json", "processor_config.json", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json", "vocab.json",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """A recording with its instruction. `samples`: float32 [n] at 16 kHz; `text` is what is said in it."""

    name: str  # of the file
    language: str
    text: str
    audio_sha256: str
    samples: Samples
    prompt: Prompt

    def inputs(self, processor: Any) -> Inputs:
        """Features and prompt as the checkpoint's `processor` makes them, as decoding does: a batch of one."""
        import torch

        text = prompt_text(processor, self.prompt)
        made = processor(text, torch.from_numpy(self.samples), device="cpu", return_tensors="pt")
        return Inputs(made["input_features"].float(), made["input_ids"])


def one_a_language(folder: Path = FOLDER) -> list[Clip]:
    """The first recording of each language that the manifest in `folder` transcribes, in the model's order.

    Raises:
        InputError: a recording cannot be read.
    """
    rows = [json.loads(line) for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines()]
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.get("taskname", "asr") == "asr":
            first.setdefault(row["lang"], row)
    return [_clip(folder, first[language]) for language in prompts.spoken() if language in first]


def _clip(folder: Path, row: dict[str, Any]) -> Clip:
    path, language = folder / row["audio_filepath"], row["lang"]
    samples = Window(0, audio.read(path).samples).without_long_silence().samples
    prompt = prompts.build("transcribe", language=language)
    return Clip(path.name, language, row["text"], file_sha256(path), samples, prompt)


def inputs_sha256(inputs: Sequence[Inputs]) -> str:
    """Of every feature and every token id, in their order."""
    digest = hashlib.sha256()
    for each in inputs:
        for tensor in (each.features, each.input_ids):
            digest.update(f"{tensor.dtype} {list(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def processor_sha256(folder: Path) -> str:
    """Of the files in a checkpoint's folder that speech and text depend on, beside the weights and config.json."""
    digest = hashlib.sha256()
    for name in PROCESSOR_PARTS:
        if (folder / name).is_file():
            digest.update(f"{name} {file_sha256(folder / name)} ".encode())
    return digest.hexdigest()
