"""The rules of the house, held by reading it: import direction, one place for a version, locks without addresses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from env.stack import MACHINES, REQUIREMENTS, ROOT, load_stack, lock_path, profile_and_stack

LIGHT = {"msgspec", "packaging", "tomli", "tomllib"}  # what env may import beside the standard library
DECLARED = {  # what model may know of env: what is declared and said, nothing that looks at a machine
    "env",
    "env.arguments",
    "env.atomic",
    "env.chips",
    "env.device_name",
    "env.digest",
    "env.elsewhere",
    "env.errors",
    "env.language",
    "env.npu_emulator",
    "env.options",
    "env.stack",
    "env.terminal",
    "env.toml",
}
ROOMS = ("reference", "run", "speech", "checks", "report", "faults")  # of verify/; an import goes to the left
EMULATOR = "env/npu_emulator/"  # the device itself: its kernels run inside the emulated program
FORBIDDEN = {"torch", "torch_npu", "torchaudio", "transformers", "numpy", "librosa", "soundfile"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """The modules that a file imports; with `top_only`, just those that importing the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else list(ast.walk(tree))
    package = list(path.relative_to(ROOT).with_suffix("").parts)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*package[: len(package) - node.level], *filter(None, [node.module])] if node.level else [node.module]
            )
            module = ".".join(filter(None, base))
            # What is imported of a package may be a module of it.
            names = [
                f"{module}.{name.name}"
                for name in node.names
                if (ROOT / module.replace(".", "/") / f"{name.name}.py").exists()
            ]
            yield from names or [module]


def module_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("env"), ids=module_name)
def test_env_imports_the_standard_library_and_its_small_tools_only(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(path)}
    device = {"torch", "torch_npu"} if module_name(path).startswith(EMULATOR) else set()
    device |= {"babel"} if path.name == "catalogue.py" else set()  # runs in the development environment
    assert roots - set(sys.stdlib_module_names) - LIGHT - device <= {"env"}


@pytest.mark.parametrize("path", sources("model"), ids=module_name)
def test_model_knows_of_env_what_is_declared_and_of_verify_nothing(path: Path) -> None:
    ours = {name for name in imports(path) if name.partition(".")[0] in ("env", "verify")}
    assert ours <= DECLARED


def dotted(path: Path) -> str:
    return module_name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def room(name: str) -> str | None:
    """The room of verify/ that a module is in; None for what stands at its door and for everything else."""
    parts = name.split(".")
    return parts[1] if parts[0] == "verify" and len(parts) > 2 else None


@pytest.mark.parametrize("path", sources("verify"), ids=module_name)
def test_no_arrow_of_verify_goes_up(path: Path) -> None:
    here = room(dotted(path))
    there = {room(name) for name in imports(path)} - {None, here}
    if here is not None:
        assert {other for other in there if ROOMS.index(str(other)) > ROOMS.index(here)} == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {
        module_name(path).removesuffix(".py").replace("/", "."): path for path in sources("env", "model", "verify")
    }
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: {other for other in imports(path) if other in names} for name, path in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        raise AssertionError(" -> ".join(circle.args[1])) from None


@pytest.mark.parametrize("path", sources("verify/report"), ids=module_name)
def test_the_report_never_imports_the_model_or_torch(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(path)}
    assert not roots & (FORBIDDEN | {"model"})


LATE = (
    "verify/checks/",
    "model/training/",
    "env/npu_emulator/arithmetic.py",
    "env/npu_emulator/kernels.py",
)  # imported by a worker, or by the training itself, and by nobody else
EARLY = [path for path in sources("env", "model", "verify") if not module_name(path).startswith(LATE)]


@pytest.mark.parametrize("path", EARLY, ids=module_name)
def test_nothing_heavy_is_imported_before_it_is_used(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(path, top_only=True)}
    assert not roots & {"transformers", "torchaudio", "librosa", "torch_npu"}


def test_no_declared_version_is_written_a_second_time() -> None:
    declared = {version for version in load_stack().packages.values() if version[0].isdigit()}
    seen = []
    for path in [ROOT / "noxfile.py", ROOT / "inference.py", ROOT / "eval.py", *sources("env", "model", "verify")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            code = line.partition("#")[0]
            if any(re.search(rf"[\"']{re.escape(version)}[\"']", code) for version in declared):
                seen.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert seen == []


def locks() -> list[Path]:
    return sorted(REQUIREMENTS.rglob("*.txt"))


@pytest.mark.parametrize("path", locks(), ids=lambda path: path.name)
def test_locks_are_hashed_name_their_maker_and_hold_no_address(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "nox -s lock" in text
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and line[0].isalnum()]
    assert pins
    assert all("==" in pin for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)


ENVIRONMENTS = ["host", "npu", "dev", *(f"{p}-{s}" for s in load_stack().others for p in load_stack().profiles)]


@pytest.mark.parametrize("python", load_stack().pythons)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_lock_pins_what_the_stack_declares(environment: str, machine: str, python: str) -> None:
    profile, name = profile_and_stack(environment)
    stack = load_stack().named(name)
    text = lock_path(environment, machine, python).read_text(encoding="utf-8")
    apart = {pin.name for pin in stack.profiles[profile].unlocked_on(machine)} if profile in stack.profiles else set()
    for name, version in stack.packages.items():
        pinned = re.search(rf"^{re.escape(name)}==(\S+)", text, re.MULTILINE)
        if name in apart or name == "torch-npu":
            assert pinned is None, f"{name} stands apart"
        else:
            assert pinned, name
            assert version[0] == "<" or pinned[1] == version
    assert not (profile == "npu" and "nvidia" in text)


PROGRAMS = [
    ["inference.py"],
    ["eval.py"],
    ["-m", "env"],
    ["-m", "env", "setup"],
    ["-m", "verify"],
    ["-m", "verify.report"],
]


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_help_imports_no_torch_and_nothing_that_takes_long(program: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", *program, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & (FORBIDDEN | {"jiwer", "sacrebleu", "accelerate"})
    assert done.stdout.startswith("usage:")


def test_the_licence_is_stated_once() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert [path for path in sources("env", "model", "verify") if "SPDX" in path.read_text(encoding="utf-8")] == []
