"""Faults put into operators, layers, weights and caches act where and when they should, and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from env.stack import ROOT
from verify.faults.modules import CacheFaults, Scopes, attach
from verify.faults.ops import CpuOpFaults, OpFaults
from verify.faults.spec import Fault

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def fault(at: str, target: str, kind: str, **fields: Any) -> Fault:
    return Fault(at=at, target=target, kind=kind, device=fields.pop("device", "cpu"), **fields)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(4, 4)
        self.norm = torch.nn.LayerNorm(4)
        self.last = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x)))  # type: ignore[no-any-return]


def outputs(*faults: Fault, runs: int = 1) -> dict[str, list[torch.Tensor]]:
    """What each layer of Net gives in each run, with the faults attached before anyone looks."""
    net, seen = Net(), dict[str, list[torch.Tensor]]()
    attach(net, faults, Scopes())
    for name, module in net.named_children():
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.setdefault(name, []).append(output))
    with torch.inference_mode():
        for _ in range(runs):
            net(X)
    return seen


def changed(*faults: Fault) -> list[str]:
    """The layers whose output differs from that of a right net."""
    right, wrong = outputs(), outputs(*faults)
    return [name for name in right if not torch.equal(right[name][0], wrong[name][0])]


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        (fault("module", "norm", "scale", size=1.01), "norm"),
        (fault("module", "last", "zero", argument=0), "last"),
        (fault("weight", "first.weight", "bitflip", bit="mantissa_top", element=3), "first"),
        (fault("weight", "*.bias", "scale", size=2.0), "first"),
        (fault("attribute", "norm", "set", attribute="eps", value=0.1), "norm"),
        (fault("attribute", "norm", "multiply", attribute="eps", size=1e4), "norm"),
    ],
)
def test_a_fault_shows_first_in_the_layer_it_is_in(wrong: Fault, first: str) -> None:
    assert changed(wrong)[0] == first


def test_a_fault_of_another_device_does_nothing() -> None:
    assert changed(fault("module", "*", "zero", device="npu"), fault("weight", "*", "zero", device="npu")) == []


@pytest.mark.parametrize("at", ["module", "weight", "op"])
def test_a_fault_of_one_dtype_leaves_the_wider_reference_alone(at: str) -> None:
    target = {"module": "last", "weight": "last.weight", "op": "addmm"}[at]
    planted = fault(at, target, "scale", size=2.0, dtype="float32")
    for dtype, wrong in ((torch.float32, True), (torch.float64, False)):
        net, right, x = Net().to(dtype), Net().to(dtype), X.to(dtype)
        attach(net, [planted], Scopes())
        with CpuOpFaults(OpFaults([planted] if at == "op" else [], Scopes()), "cpu"), torch.no_grad():
            output = net(x)
        assert torch.equal(output, right(x)) is not wrong


def test_weights_and_attributes_are_right_again_after_the_layer() -> None:
    net, right = Net(), Net()
    wrong = [fault("weight", "*.weight", "zero"), fault("attribute", "norm", "set", attribute="eps", value=9.0)]
    attach(net, wrong, Scopes())
    assert not torch.equal(net(X), right(X))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), right.state_dict().values(), strict=True))
    assert net.norm.eps == right.norm.eps


def test_only_the_calls_asked_for_are_faulty() -> None:
    seen = outputs(fault("module", "last", "nan", nth=2, times=1), runs=4)["last"]
    assert [bool(output.isnan().any()) for output in seen] == [False, True, False, False]


def test_a_slower_layer_takes_a_share_of_its_own_time_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is read a second later each time: one second of its own, 2.5 beyond it, three looks."""
    looks = iter(range(100))
    monkeypatch.setattr("verify.faults.modules.time", SimpleNamespace(perf_counter=lambda: float(next(looks))))
    assert changed(fault("module", "norm", "slower", size=2.5)) == []
    assert next(looks) == 2 + 3  # its beginning, its end, and until 1 + 2.5


def test_a_stale_output_is_that_of_the_call_before() -> None:
    net = Net()
    attach(net, [fault("module", "last", "stale", nth=2)], Scopes())
    with torch.inference_mode():
        first, second = net(X), net(X.flip(0))
    assert torch.equal(first, Net()(X))
    assert torch.equal(second, first)
    assert not torch.equal(second, Net()(X.flip(0)))


def operate(*faults: Fault, scopes: Scopes | None = None) -> list[torch.Tensor]:
    with CpuOpFaults(OpFaults(faults, scopes or Scopes()), "cpu"), torch.no_grad():
        return [X @ X.T for _ in range(4)]


def test_an_operator_of_the_cpu_is_hit_at_the_asked_call() -> None:
    results = operate(fault("op", "mm", "inf", nth=3, times=1))
    assert [bool(result.isinf().any()) for result in results] == [False, False, True, False]


def test_one_in_two_results_is_wrong_and_other_operators_are_left_alone() -> None:
    results = operate(fault("op", "mm", "shift", every=2), fault("op", "addmm", "zero"))
    assert [torch.equal(result, X @ X.T) for result in results] == [False, True, False, True]


def test_an_operators_argument_can_be_the_wrong_one() -> None:
    (first, *_) = operate(fault("op", "mm", "shift", argument=1, dim=1))
    assert torch.equal(first, X @ X.T.roll(1, 1))


def test_an_operator_can_be_faulty_inside_one_layer_only() -> None:
    net, right, scopes = Net(), Net(), Scopes()
    wrong = fault("op", "addmm", "scale", size=2.0, module="last")
    attach(net, [wrong], scopes)
    with CpuOpFaults(OpFaults([wrong], scopes), "cpu"), torch.no_grad():
        assert torch.equal(net(X), 2 * right(X))


def test_an_operator_is_faulty_on_the_named_card_alone() -> None:
    cards = iter([0, 1, 2, 1])
    with CpuOpFaults(OpFaults([fault("op", "mm", "zero", card=1)], Scopes(), lambda: next(cards)), "cpu"):
        results = [X @ X.T for _ in range(4)]
    assert [bool((result == 0).all()) for result in results] == [False, True, False, True]


def test_an_operator_may_not_take_what_it_is_told() -> None:
    wrong = fault("op", "gelu", "keyword", argument="approximate", value="tanh")
    with CpuOpFaults(OpFaults([wrong], Scopes()), "cpu"), torch.no_grad():
        result = torch.nn.functional.gelu(X)
    assert torch.equal(result, torch.nn.functional.gelu(X, approximate="tanh"))
    assert not torch.equal(result, torch.nn.functional.gelu(X))


class FakeCache:
    """Keeps every position, as transformers' Cache does: [B, heads, positions, head_dim]."""

    def __init__(self) -> None:
        self.layers: dict[int, list[torch.Tensor]] = {}

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, options: Any = None) -> None:
        self.layers.setdefault(layer_idx, []).append(keys)


def test_the_cache_keeps_the_step_before_where_asked() -> None:
    class Cache(FakeCache):
        pass

    CacheFaults([fault("cache", "1", "stale", nth=2, times=1)]).attach(Cache)
    for cache in (Cache(), Cache()):  # counting starts anew with each cache
        for step in range(4):
            for layer in range(2):
                states = torch.full((1, 1, 5 if step == 0 else 1, 2), float(step))
                cache.update(states, states, layer)
        kept = {layer: [float(keys[0, 0, -1, 0]) for keys in steps] for layer, steps in cache.layers.items()}
        assert kept == {0: [0, 1, 2, 3], 1: [0, 1, 1, 3]}


def injected(faults: object, program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    text = faults if isinstance(faults, str) else json.dumps(faults)
    path = str(ROOT / "env" / "npu_emulator" / "site")
    full = {**os.environ, "PYTHONPATH": path, "NPU_EMU_FAULTS": text, "OMP_NUM_THREADS": "1", **environ}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=full, capture_output=True, text=True, check=False)


def test_faults_that_make_no_sense_stop_the_program_instead_of_leaving_it_right() -> None:
    done = injected('[{"at": "op"}]', "print('ran')")
    assert done.returncode == 2
    assert "NPU_EMU_FAULTS: fault 1 needs target, kind" in done.stderr
    assert "ran" not in done.stdout


def test_an_unmodified_program_on_the_cpu_gets_its_faults_from_the_environment() -> None:
    rows = [{"at": "op", "target": "mm", "kind": "nan", "device": "cpu", "nth": 2}]
    done = injected(rows, "import torch; x = torch.ones(2, 2); print([bool((x @ x).isnan().any()) for _ in range(3)])")
    assert done.stdout.split() == ["[False,", "True,", "True]"], done.stderr


def test_a_program_that_never_imports_torch_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"at": "op", "target": "*", "kind": "segfault", "device": "cpu"}]', encoding="utf-8")
    done = injected(str(path), "import sys; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
