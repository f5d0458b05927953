"""`python -m model.widened DIR`: the bundled checkpoint with wide feed-forward layers: 70 million parameters.

The bundled one is too small for what full-size weights go through (a float32 reference, weights read as they are
needed, long time limits), and random weights of that size have no words. Here every feed-forward layer gets more units,
seeded, whose output is 2 % of its own: the texts stay nearly what they were, and no scores of them are known.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from env.arguments import Parser
from env.atomic import replacing, write_json
from env.errors import run_main
from env.language import _, translate
from env.stack import ROOT, load_stack
from model.checkpoint import CONFIG_FILE, SINGLE_FILE, STAND_IN_FILE
from model.clips import PROCESSOR_PARTS

if TYPE_CHECKING:
    import torch

NAME = "granite-speech-stand-in-wide"
SEED = 42
UNITS = 32_000  # of a language model's layer
FACTOR = 64  # of the encoder's, in its hidden size
SHARE = 0.02  # of a layer's output that comes from the new units
IN = ("gate_proj.weight", "up_proj.weight")  # [units, hidden]
OUT = "down_proj.weight"  # [hidden, units]


def widen(folder: Path, *, units: int = UNITS, factor: int = FACTOR) -> None:
    """Write the wide checkpoint as `folder`; smaller `units` and `factor` make a smaller one.

    Raises:
        StorageError: it is there already, or cannot be written.
    """
    import torch
    from safetensors.torch import load_file, save_file

    source = ROOT / load_stack().stand_in
    config = json.loads((source / CONFIG_FILE).read_text(encoding="utf-8"))
    sizes = {
        "language_model": units,
        "encoder": factor * config["encoder_config"]["hidden_dim"],
    }
    config["text_config"]["intermediate_size"] = units
    config["encoder_config"]["feedforward_mult"] = factor
    generator = torch.Generator().manual_seed(SEED)
    tensors = {
        name: _wide(name, tensor, sizes.get(name.split(".")[0], 0), generator)
        for name, tensor in load_file(source / SINGLE_FILE).items()
    }
    with replacing(folder) as temporary:
        temporary.mkdir()
        save_file(tensors, temporary / SINGLE_FILE, {"format": "pt"})
        write_json(temporary / CONFIG_FILE, config)
        write_json(temporary / STAND_IN_FILE, {"schema": 1, "kind": "stand-in", "name": NAME, "seed": SEED})
        for part in PROCESSOR_PARTS:
            if (source / part).exists():
                shutil.copyfile(source / part, temporary / part)


def _wide(name: str, tensor: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """A tensor of a feed-forward layer with `size` units; any other as it is."""
    import torch

    if not name.endswith((*IN, OUT, "up_proj.bias")) or ".conv." in name:
        return tensor
    axis = 1 if name.endswith(OUT) else 0
    shape = list(tensor.shape)
    shape[axis] = size - shape[axis]
    spread = float(tensor.float().std())
    if axis == 1:
        spread *= SHARE * (tensor.shape[1] / shape[1]) ** 0.5
    new = (spread * torch.randn(shape, generator=generator)).to(tensor.dtype)
    return torch.cat([tensor, new], dim=axis).contiguous()


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m model.widened", description=_("Write the bundled checkpoint with wide layers."))
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(argv).folder
    widen(folder)
    print(translate(_("{folder}: {size:.1f} MB", folder=folder, size=(folder / SINGLE_FILE).stat().st_size / 1e6)))
    return 0


if __name__ == "__main__":
    run_main(main)
