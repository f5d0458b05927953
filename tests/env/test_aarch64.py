"""`nox -s aarch64` without qemu: what is run, in which order, and what is said where it cannot be."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from env import aarch64, stack
from env.aarch64 import NOX, QEMU, TOOLS, Machine, lacking, steps
from env.audit.pairing_query import read_stack
from env.digest import file_sha256
from env.errors import HostError
from env.lock import LOCKED_PROFILES, every_pin
from env.runner import TIMED_OUT, Completed
from env.stack import REQUIREMENTS, architecture, environment_name, load_stack, lock_path, this_machine
from env.wheelhouse.collect import make_parser

# What the tools print: unshare and mount of util-linux 2.38 in namespaces without the right, debootstrap 1.0.128
# without a network, qemu 6.2 of a name that came with 7.1.
NO_NAMESPACE = "unshare: unshare failed: Operation not permitted"
FULL_NAMESPACES = "unshare: unshare failed: No space left on device"
NO_HANDLER = "mount: /proc/sys/fs/binfmt_misc: permission denied."
NO_NETWORK = "E: Failed getting release file http://mirror.example/debian/dists/bookworm/Release"
NO_PYTHON = "/usr/bin/env: '/usr/bin/python3': No such file or directory"
NO_CPU = "qemu-aarch64-static: unable to find CPU model 'neoverse-n1'"
# By a word of the command. gone.py is in git's index and no longer in the folder.
HEALTHY = {"git": Completed((), 0, "README.md\0gone.py\0"), "print(platform": Completed((), 0, "aarch64 3.11.2\n")}


@dataclass
class Tools:
    """Stands in for the tools: what `runner` answers, by a word of the command, and the exit codes of `call`."""

    answers: Mapping[str, Completed] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)
    called: list[list[str]] = field(default_factory=list)

    def runner(
        self, args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None
    ) -> Completed:
        self.ran.append(list(args))
        if "debootstrap" in args:
            made = Path(next(word for word in args if word.endswith(".part")))
            (made / "nox").mkdir()  # as venv does
        chosen = [done for word, done in {**HEALTHY, **self.answers}.items() if any(word in one for one in args)]
        return replace(chosen[-1] if chosen else Completed((), 0), args=tuple(args))

    def call(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        inner = list(command[list(command).index("/usr/bin/env") :])
        self.called.append(inner)
        return next((code for word, code in self.codes.items() if word in inner), 0)


@pytest.fixture(autouse=True)
def tools_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/usr/bin/{name}")
    monkeypatch.setattr(aarch64, "RESULTS", tmp_path / "results")


def machine(tmp_path: Path, tools: Tools, **environ: str) -> Machine:
    return Machine(tmp_path / "tree", runner=tools.runner, call=tools.call, environ={"PATH": "/usr/bin", **environ})


def commands(tools: Tools) -> list[str]:
    """The commands that ran in the tree, without their settings."""
    return [" ".join(word for word in one[4:] if "=" not in word) for one in tools.called]


def refusal(tmp_path: Path, tools: Tools) -> HostError:
    with pytest.raises(HostError) as refused:
        machine(tmp_path, tools).walk([])
    assert tools.called == []
    return refused.value


@pytest.mark.parametrize(
    ("absent", "next_step"),
    [
        ({QEMU}, "sudo apt-get install qemu-user-static"),
        ({"debootstrap"}, "sudo apt-get install debootstrap"),
        (set(TOOLS), "sudo apt-get install qemu-user-static debootstrap dpkg tar util-linux mount coreutils git"),
    ],
    ids=["no qemu", "no debootstrap", "nothing"],
)
def test_a_tool_that_is_not_here_is_named_with_its_package_and_nothing_runs(
    absent: set[str], next_step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name in absent else f"/usr/bin/{name}")
    tools = Tools()
    error = refusal(tmp_path, tools)
    assert (error.exit_code, error.next) == (10, next_step)
    assert str(error.what) == f"aarch64 is not tried here: {', '.join(lacking({}))} missing"
    assert tools.ran == []


@pytest.mark.parametrize(
    ("word", "stderr", "what", "next_step"),
    [
        ("debootstrap", NO_NETWORK, "no aarch64 system could be unpacked", "--mirror URL"),
        ("debootstrap", NO_NAMESPACE, "no aarch64 system could be unpacked", "sudo nox -s aarch64, or let users"),
        ("debootstrap", FULL_NAMESPACES, "no aarch64 system could be unpacked", "user.max_user_namespaces"),
        (aarch64.UNPACK, "tar: short read", "no aarch64 system could be unpacked", "--mirror URL"),
        ("print(platform", NO_HANDLER, "aarch64 programs do not run here", "binfmt-support qemu-user-static"),
        ("print(platform", NO_PYTHON, "aarch64 programs do not run here", "rm -r "),
        ("print(platform", NO_CPU, "aarch64 programs do not run here", "--cpu max"),
        ("git", "fatal: not a git repository", "git does not list the files", "run it in a checkout"),
    ],
    ids=["network", "namespace", "namespaces", "package", "handler", "python", "cpu", "checkout"],
)
def test_what_goes_wrong_before_is_told_with_its_reason(
    word: str, stderr: str, what: str, next_step: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path, Tools({word: Completed((), 1, stderr=stderr)}))
    assert str(error.what).startswith(what)
    assert stderr in str(error.why)
    assert next_step in str(error.next)


def test_a_tree_that_was_not_unpacked_to_its_end_is_made_anew(tmp_path: Path) -> None:
    refusal(tmp_path, Tools({aarch64.UNPACK: Completed((), TIMED_OUT, stderr="sh: no answer in 1800 s")}))
    assert not (tmp_path / "tree").exists()
    tools = Tools()
    assert machine(tmp_path, tools).walk([]) == 0
    assert any("debootstrap" in one for one in tools.ran)
    again = Tools()
    assert machine(tmp_path, again).walk([]) == 0
    assert not any("debootstrap" in one for one in again.ran)


@pytest.mark.parametrize("answer", ["x86_64 3.11.2\n", ""], ids=["of this machine", "silent"])
def test_a_python_that_is_not_of_aarch64_proves_nothing(answer: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, Tools({"print(platform": Completed((), 0, answer)}))
    assert str(error.what) == "aarch64 programs do not run here"
    assert error.why == (answer.strip() or "no answer")


def test_audit_setup_and_level_1_run_in_this_order_with_their_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = Tools()
    made = machine(tmp_path, tools, PIP_CERT="/opt/ca.pem", UV_OFFLINE="1", SECRET="s", https_proxy="http://p")
    assert made.walk(["--find-links", "/wheels"]) == 0
    audit, setup, verify = commands(tools)[2:]
    assert commands(tools)[0] == f"/usr/bin/python3 -m venv {NOX}"
    assert audit == f"{NOX}/bin/nox -s audit"
    assert setup == f"{NOX}/bin/nox -s setup -- --profile host --find-links /wheels"
    assert verify == f"{NOX}/bin/nox -s verify -- --profile host --level 1 --find-links /wheels"
    settings = {word for one in tools.called for word in one if "=" in word}
    assert settings == {
        "HOME=/root",
        "LANG=C.UTF-8",
        f"PATH={NOX}/bin:/usr/bin:/bin",
        f"PIP_CERT={aarch64.CERTIFICATES}",
        "QEMU_CPU=neoverse-n1",
        "UV_OFFLINE=1",
        "https_proxy=http://p",
    }
    assert all(one[:4] == ["/usr/bin/env", "-i", "-C", "/bundle"] for one in tools.called)
    assert "aarch64 (neoverse-n1), Python 3.11.2, by qemu-aarch64-static" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("codes", "code", "ran"),
    [
        ({"pip": 1}, 1, 2),
        ({"audit": 10}, 10, 3),
        ({"setup": 13}, 13, 4),
        ({"verify": 30}, 30, 5),
        ({"setup": -4, "verify": 30}, -4, 4),
    ],
)
def test_the_first_failure_ends_it_with_its_exit_code(
    codes: dict[str, int], code: int, ran: int, tmp_path: Path
) -> None:
    tools = Tools(codes=codes)
    assert machine(tmp_path, tools).walk([]) == code
    assert len(tools.called) == ran


def test_nox_is_installed_once_for_a_lock(tmp_path: Path) -> None:
    tools = Tools()
    made = machine(tmp_path, tools)
    (tmp_path / "tree" / "nox").mkdir(parents=True)
    (tmp_path / "tree" / "nox" / "lock").write_text("another lock")
    assert made.walk([]) == 0
    assert (tmp_path / "tree" / "nox" / "lock").read_text() == file_sha256(REQUIREMENTS / "nox.txt")
    before = len(tools.called)
    assert made.walk([]) == 0
    assert len(tools.called) == before + 3


def test_the_tree_holds_the_checkout_as_it_is_and_keeps_what_was_built(tmp_path: Path) -> None:
    bundle = tmp_path / "tree" / "bundle"
    (tmp_path / "tree" / "nox").mkdir(parents=True)
    for old in (".venvs/host/stamp", "results/run/run.json", "env/dropped.py"):
        (bundle / old).parent.mkdir(parents=True)
        (bundle / old).write_text("old")
    machine(tmp_path, Tools()).walk([])
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert names == [".venvs/host/stamp", "README.md", "results/run/run.json"]


def test_the_kernel_is_told_of_aarch64_programs_and_of_no_others() -> None:
    escaped = (aarch64.MAGIC.encode("ascii"), aarch64.MASK.encode("ascii"))
    magic, mask = (part.decode("unicode_escape").encode("latin-1") for part in escaped)
    assert len(magic) == len(mask) == 20
    header = bytearray(20)
    header[:7] = b"\x7fELF\x02\x01\x01"

    def known(kind: int, processor: int) -> bool:  # e_type and e_machine of elf.h
        header[16], header[18] = kind, processor
        return all(byte & m == want & m for byte, m, want in zip(header, mask, magic, strict=True))

    assert known(2, 183)  # ET_EXEC of EM_AARCH64
    assert known(3, 183)  # ET_DYN
    assert not any((known(1, 183), known(2, 62), known(3, 40)))  # an object file, of x86-64, of arm


def test_on_aarch64_the_steps_are_the_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Sequence[str]] = []

    def call(command: Sequence[str], environ: Mapping[str, str]) -> int:
        called.append(command)
        return 0

    monkeypatch.setattr(aarch64, "this_machine", lambda: "aarch64")
    monkeypatch.setattr(aarch64, "_call", call)
    assert aarch64.main(["--tree", "x", "--seed", "3"]) == 0
    assert [one[4:] for one in called] == [one[2:] for one in steps(["nox"], ["--seed", "3"])]


@pytest.mark.parametrize(
    ("name", "as_wheels_have_it"),
    [("arm64", "aarch64"), ("ARM64", "aarch64"), ("amd64", "x86_64"), ("aarch64", "aarch64"), ("riscv64", "riscv64")],
)
def test_an_architecture_may_be_spelled_as_docker_does(
    name: str, as_wheels_have_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    assert architecture(name) == this_machine() == as_wheels_have_it
    assert read_stack([f"arch={name}"]) == {"arch": as_wheels_have_it}
    if as_wheels_have_it in stack.MACHINES:
        assert make_parser().parse_args(["--arch", name]).arch == as_wheels_have_it


OTHERS = [environment_name(profile, name) for name in load_stack().others for profile in load_stack().profiles]
LOCKED = [*LOCKED_PROFILES, *OTHERS]


@pytest.mark.parametrize("python", load_stack().pythons)
@pytest.mark.parametrize("environment", LOCKED)
def test_the_locks_of_both_architectures_differ_by_torch_builds_and_cuda_alone(environment: str, python: str) -> None:
    x86_64, arm = (dict(every_pin(lock_path(environment, machine, python))) for machine in stack.MACHINES)
    assert {name for name in x86_64.keys() - arm.keys() if not name.startswith("nvidia-")} <= {"triton"}
    # Where torch-npu asks for builds that no public index has (stack.toml), the x86_64 lock lacks them.
    apart = {"torch", "torchaudio"} if environment.startswith("npu") else set()
    assert arm.keys() - x86_64.keys() == apart
    assert {name: x86_64[name] for name in arm.keys() - apart} == {name: arm[name] for name in arm.keys() - apart}
