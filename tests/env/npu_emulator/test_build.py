"""Building the emulator: what it needs, what it says when that is missing, and that it builds once."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from env.errors import HostError, InstallError, PythonVersionError, UsageError
from env.npu_emulator import __main__ as program
from env.npu_emulator import build as builder
from env.npu_emulator.build import STAMP, build
from env.npu_emulator.options import WHEELS, releases
from env.runner import Completed, run
from env.stack import ROOT, load_stack
from tests.env.npu_emulator.needed import needs_emulator

Answer = Callable[[str], Completed]


class Script:
    """A runner that answers by the program's name and remembers what it was asked."""

    def __init__(self, **answers: Completed) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, args: Sequence[str], *, timeout: float = 10.0, environ: object = None) -> Completed:
        self.asked.append(tuple(args))
        return self.answers.get(Path(args[0]).name, Completed(tuple(args), 0))


def answer(stdout: str = "", code: int = 0, stderr: str = "") -> Completed:
    return Completed((), code, stdout, stderr)


def interpreter(torch: str | None = "/venv/lib/torch") -> Completed:
    return answer(json.dumps({"python": "3.10", "torch": torch}))


def test_every_pinned_wheel_has_a_hash_for_each_supported_python() -> None:
    assert len(releases()) >= 2
    for release in releases():
        text = (WHEELS / f"torch-npu-{release}.txt").read_text(encoding="utf-8")
        assert f"torch-npu=={release} " in text
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text)) == len(load_stack().pythons)


def test_a_release_that_is_not_pinned_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=re.escape(releases()[0])):
        build("python", "1.0", Path("nowhere"))


@pytest.mark.parametrize(("system", "machine"), [("linux", "aarch64"), ("darwin", "x86_64")])
def test_another_platform_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(HostError, match=f"not on {system} {machine}"):
        build("python", releases()[0], Path("nowhere"))


@pytest.mark.parametrize(
    ("machine", "tools", "npu", "reason"),
    [
        ("x86_64", {"gcc", "nm", "objdump"}, None, None),
        ("aarch64", {"gcc", "nm", "objdump"}, None, "the emulated NPU runs on Linux x86_64 only, not on linux aarch64"),
        ("x86_64", {"gcc"}, None, "nm, objdump missing"),
        ("x86_64", {"gcc", "nm", "objdump"}, "a real NPU", "a real NPU"),
    ],
)
def test_tests_that_need_the_emulator_are_told_why_it_cannot_run(
    machine: str, tools: set[str], npu: str | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in tools else None)
    monkeypatch.setattr(builder, "real_npu", lambda: npu)
    assert builder.unavailable() == reason


def test_an_interpreter_without_torch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PythonVersionError, match="has no torch"):
        build("python", releases()[0], tmp_path / "e", runner=Script(python=interpreter(torch=None)))


@pytest.mark.parametrize("tool", ["gcc", "nm"])
def test_a_missing_compiler_is_named_with_what_installs_it(tmp_path: Path, tool: str) -> None:
    script = Script(python=interpreter(), **{tool: answer(code=127)})
    with pytest.raises(HostError, match=f"{tool} is missing") as caught:
        build("python", releases()[0], tmp_path / "e", runner=script)
    assert "gcc binutils" in caught.value.next


def test_an_index_that_lacks_the_wheel_stops_the_build_and_leaves_no_stamp(tmp_path: Path) -> None:
    failed = answer(code=1, stderr="hash mismatch for torch-npu")
    script = Script(python=interpreter(), uv=failed, python3=failed)
    with pytest.raises(InstallError, match="hash mismatch"):
        build("python", releases()[0], tmp_path / "e", runner=script)
    assert not (tmp_path / "e" / STAMP).exists()
    assert "--require-hashes" in script.asked[-1]
    assert "--no-deps" in script.asked[-1]


def test_each_missing_symbol_becomes_a_stub_that_returns_an_error(tmp_path: Path) -> None:
    source = tmp_path / "stubs.c"
    source.write_text(builder._stub_source(["aclFirst", "_ZN2ge5GraphC1Ev"]), encoding="utf-8")
    main = tmp_path / "main.c"
    main.write_text("long aclFirst(void); int main(void) { return aclFirst() == 207000 ? 0 : 1; }", encoding="utf-8")
    subprocess.run(["gcc", "-o", tmp_path / "main", main, source], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "npu emulator: aclFirst is not emulated\n")


@pytest.mark.slow
@needs_emulator
def test_a_second_build_is_a_no_op_and_changed_sources_build_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def counting(args: Sequence[str], *, timeout: float = 10.0, environ: object = None) -> Completed:
        commands.append(Path(args[0]).name)
        return run(args, timeout=timeout)

    def built() -> int:
        commands.clear()
        emulator = build(sys.executable, releases()[0], tmp_path / "emulator", runner=counting)
        assert (emulator.libraries / "libascendcl.so").exists()
        assert (emulator.packages / "torch_npu" / "lib" / "libtorch_npu.so").exists()
        return commands.count("gcc")

    assert built() > 10
    assert built() == 0
    changed = tmp_path / "acl.c"
    changed.write_text(builder.SOURCE.read_text(encoding="utf-8") + "/* changed */\n", encoding="utf-8")
    monkeypatch.setattr(builder, "SOURCE", changed)
    assert built() > 10


def test_children_get_the_emulation_through_their_environment(tmp_path: Path) -> None:
    environ = program.environment(builder.Emulator(tmp_path), {"PYTHONPATH": "/own", "HOME": "/home"})
    assert environ["PYTHONPATH"].split(os.pathsep) == [str(builder.HERE / "site"), str(tmp_path / "packages"), "/own"]
    assert (environ["NPU_EMU"], environ["TORCH_DEVICE_BACKEND_AUTOLOAD"]) == ("1", "0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "no program to run"),
        (["run", "--python", "/no/python", "--", "true"], "no interpreter /no/python"),
        (["run", "--faults", '[{"at": "op"}]', "--", "true"], "needs target, kind"),
    ],
)
def test_bad_options_are_one_clear_message(words: list[str], message: str) -> None:
    command = [sys.executable, "-m", "env.npu_emulator", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == UsageError.exit_code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
