"""Values of the bundled checkpoint that were made by the declared library, shipped, and compared on every other.

    python -m verify.reference.bundled           how far the installed library's values are from them
    python -m verify.reference.bundled --write   make them anew; only with the declared transformers

Made in float64 on a CPU (model/reference.py); the inputs are in the file, so that no random generator counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from env.arguments import Parser
from env.atomic import replacing
from env.errors import UsageError, VerificationFailedError, run_main
from env.language import _
from env.stack import ROOT, load_stack
from model import checkpoint, components, device
from model.checkpoint import Checkpoint
from model.components import Inputs
from model.reference import Reference

if TYPE_CHECKING:
    import torch

FILE = Path(__file__).with_name("bundled.safetensors")
SEED, FRAMES, TOKENS = 42, 32, 8
VALUES = ("encoder", "ctc_head", "projector", "splice", "language_model", "end_to_end", "tokens")  # in their order
# What the library does in float32 whatever the dtype (GraniteRMSNorm) agrees between machines to a few of its unit
# roundoffs a layer, 6e-8; values are kept in float32.
LIMIT = 1e-5


@dataclass(frozen=True)
class Shipped:
    """The file: inputs and values by name, and what made them."""

    tensors: Mapping[str, torch.Tensor]
    made: Mapping[str, str]  # transformers, torch, weights_sha256

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.tensors["features"], self.tensors["input_ids"])


def bundled_checkpoint() -> Checkpoint:
    """Raises: CheckpointError."""
    return checkpoint.inspect(ROOT / load_stack().stand_in)


def compute(inspected: Checkpoint, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Every component's output of the installed library, each on its predecessor's, and the greedy tokens [1, n]."""
    import torch

    device.set_threads(inspected.parameters)
    reference = Reference(inspected, "float64")
    encoded = reference.encode(inputs.features)
    audio = reference.project(encoded)
    merged = reference.splice(inputs.input_ids, audio)
    values = {
        "encoder": encoded,
        "ctc_head": reference.ctc_head(encoded),
        "projector": audio,
        "splice": merged,
        "language_model": reference.language_model(merged),
        "end_to_end": reference.forward(inputs.features, inputs.input_ids),
    }
    ids, last = inputs.input_ids, values["language_model"]
    for _step in range(TOKENS):
        ids = torch.cat([ids, last[:, -1:].argmax(dim=-1)], dim=1)
        last = reference.language_model(reference.splice(ids, audio)) if _step + 1 < TOKENS else last
    return values | {"tokens": ids[:, inputs.positions :].clone()}


def read() -> Shipped:
    from safetensors import safe_open

    with safe_open(FILE, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
        return Shipped(tensors, json.loads(opened.metadata()["made"]))


def differences(shipped: Shipped, values: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """By component, how far from the shipped values in the Euclidean norm; of tokens, the share that is another."""
    from verify.reference.numerics import as_array, relative_l2

    errors = {}
    for name in VALUES:
        actual, expected = values.get(name), shipped.tensors[name]
        if actual is None or actual.shape != expected.shape:
            errors[name] = float("inf")
        elif name == "tokens":
            errors[name] = float((actual != expected).double().mean())
        else:
            errors[name] = relative_l2(as_array(actual), as_array(expected))
    return errors


def write() -> None:
    """Raises: UsageError: another library than the declared one would vouch for itself."""
    from safetensors.torch import save_file

    declared, versions = load_stack().packages["transformers"], device.versions()
    if versions["transformers"] != declared:
        raise UsageError(
            _("the values are of transformers {declared}, and {version} is installed",
              declared=declared, version=versions["transformers"]),
            next="nox -s setup",
        )  # fmt: skip
    inspected = bundled_checkpoint()
    inputs = components.make_inputs(inspected.architecture, 1, FRAMES, SEED)
    values = compute(inspected, inputs)
    kept = {name: value.float() if value.is_floating_point() else value for name, value in values.items()}
    made = {name: str(versions[name]) for name in ("transformers", "torch")}
    made["weights_sha256"] = checkpoint.weights_sha256(inspected)
    with replacing(FILE) as temporary:
        tensors = {name: tensor.contiguous() for name, tensor in kept.items()}
        tensors |= {"features": inputs.features, "input_ids": inputs.input_ids}
        save_file(tensors, temporary, {"made": json.dumps(made, sort_keys=True)})


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m verify.reference.bundled",
        description=_("Compare the installed library's values of the bundled checkpoint with the shipped ones."),
    )
    parser.add_argument("--write", action="store_true", help=_("make them anew, with the declared transformers"))
    if parser.parse_args(argv).write:
        write()
    shipped = read()
    errors = differences(shipped, compute(bundled_checkpoint(), shipped.inputs))
    for name, error in errors.items():
        print(f"{name:16} {error:.1e}")
    beyond = [name for name, error in errors.items() if not error <= LIMIT]
    if beyond:
        version, listed = shipped.made["transformers"], ", ".join(beyond)
        raise VerificationFailedError(
            _("not the values of transformers {version}: {names}", version=version, names=listed), next="nox -s verify"
        )
    return 0


if __name__ == "__main__":
    run_main(main)
