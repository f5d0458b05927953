"""The builder, with the real uv and the real pip, on wheels made here and no index."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from env import builder
from env.builder import Plan, build, read_stamp
from env.digest import file_sha256
from env.errors import EnvironmentMissingError, InstallError, StorageError
from env.installer import Sources, Uv, choose, find_uv
from env.stack import UnlockedPin, this_machine, this_python
from env.unlocked_pins import Located, in_folders
from tests.env.wheels import lock_line, make_index, make_wheel

INSTALLERS = ["uv", pytest.param("pip", marks=pytest.mark.slow)]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


def make_plan(tmp_path: Path, *wheels: Path, imports: tuple[str, ...] = (), unlocked: tuple[Located, ...] = ()) -> Plan:
    lock = tmp_path / "demo.txt"
    lock.write_text("".join(lock_line(wheel) for wheel in wheels), encoding="utf-8")
    return Plan("demo", tmp_path / "venvs" / "demo", lock, imports, unlocked)


def sources(wheels: Path) -> Sources:
    return Sources(find_links=(str(wheels),), offline=True)


@pytest.mark.parametrize("name", INSTALLERS)
def test_builds_from_the_lock_and_the_second_time_does_nothing(tmp_path: Path, wheels: Path, name: str) -> None:
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"), imports=("demo_core",))
    stamp, built = build(plan, choose(name), sources(wheels))
    assert built
    assert stamp.packages["demo-core"] == "1.0"
    assert stamp.installer == name
    assert build(plan, choose(name), sources(wheels)) == (stamp, False)
    assert subprocess.run([str(plan.python), "-c", "import demo_core"], check=False).returncode == 0


@pytest.mark.parametrize("name", INSTALLERS)
def test_a_partial_mirror_does_not_displace_the_wheel_of_this_platform(tmp_path: Path, name: str) -> None:
    fit = make_wheel(tmp_path / "fit", "demo-core", "1.0", tag=f"py3-none-linux_{this_machine()}", code="fit = 1\n")
    bare = make_wheel(tmp_path / "bare", "demo-core", "1.0")
    plan = make_plan(tmp_path, fit)
    plan.lock.write_text(f"{lock_line(fit).rstrip()} {lock_line(bare).split()[1]}\n", encoding="utf-8")
    main, extra = make_index(tmp_path / "main", fit), make_index(tmp_path / "extra", bare)
    build(plan, choose(name), Sources(main, (extra,)))
    subprocess.run([str(plan.python), "-c", "from demo_core import fit"], check=True)


@pytest.mark.parametrize("name", INSTALLERS)
def test_what_the_main_index_lacks_comes_from_the_extra_one(tmp_path: Path, wheels: Path, name: str) -> None:
    core, more = make_wheel(wheels, "demo-core", "1.0"), make_wheel(wheels, "demo-more", "2.0")
    main, extra = make_index(tmp_path / "main", core), make_index(tmp_path / "extra", more)
    stamp, _ = build(make_plan(tmp_path, core, more), choose(name), Sources(main, (extra,)))
    assert (stamp.packages["demo-core"], stamp.packages["demo-more"]) == ("1.0", "2.0")


def test_a_current_environment_serves_those_who_cannot_write_it(tmp_path: Path, wheels: Path) -> None:
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"))
    stamp, _ = build(plan, choose("uv"), sources(wheels))
    lock = plan.path.parent / ".demo.lock"
    lock.unlink()
    lock.mkdir()  # opening it for writing fails, for root too
    assert build(plan, choose("uv"), sources(wheels)) == (stamp, False)
    with pytest.raises(StorageError):
        build(plan, choose("uv"), sources(wheels), fresh=True)


def test_a_file_system_without_locks_is_said_and_built_on(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert build(make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0")), choose("uv"), sources(wheels))[1]
    assert "no other build of demo may run meanwhile: No locks available" in capsys.readouterr().out


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """A shell's background job starts with SIGINT ignored, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
def test_an_interrupted_installer_is_ended_with_its_setup(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    script = (
        f"import os, pathlib, signal, threading; pathlib.Path({str(number)!r}).write_text(str(os.getpid())); "
        "os.kill(os.getppid(), signal.SIGINT); threading.Event().wait()"
    )
    with pytest.raises(KeyboardInterrupt):
        build(make_plan(tmp_path), Uv((sys.executable, "-c", script)), Sources())
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_a_changed_lock_is_built_anew(tmp_path: Path, wheels: Path) -> None:
    build(make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0")), choose("uv"), sources(wheels))
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "2.0"))
    stamp, built = build(plan, choose("uv"), sources(wheels))
    assert (built, stamp.packages["demo-core"]) == (True, "2.0")


def test_fresh_builds_anew_what_is_current(tmp_path: Path, wheels: Path) -> None:
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"))
    build(plan, choose("uv"), sources(wheels))
    (plan.path / "left-behind").touch()
    assert build(plan, choose("uv"), sources(wheels), fresh=True)[1]
    assert not (plan.path / "left-behind").exists()


def test_an_interrupted_build_leaves_no_stamp_and_the_next_repairs_it(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"))

    def interrupted(wanted: Plan) -> dict[str, str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "_check_imports", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(plan, choose("uv"), sources(wheels))
    assert plan.python.exists()
    assert read_stamp(plan.path) is None
    assert build(plan, choose("uv"), sources(wheels))[1]
    assert read_stamp(plan.path) is not None


def test_a_rebuild_that_fails_takes_the_old_stamp_away(tmp_path: Path, wheels: Path) -> None:
    build(make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0")), choose("uv"), sources(wheels))
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "2.0"))
    for wheel in wheels.glob("*-2.0-*"):
        wheel.unlink()
    with pytest.raises(InstallError):
        build(plan, choose("uv"), sources(wheels))
    assert read_stamp(plan.path) is None


@pytest.mark.parametrize("name", INSTALLERS)
def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, wheels: Path, name: str) -> None:
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"))
    make_wheel(wheels, "demo-core", "1.0", code="raise SystemExit('other code')\n")
    with pytest.raises(InstallError) as refused:
        build(plan, choose(name), sources(wheels))
    assert "hash" in str(refused.value).lower()


def test_what_does_not_import_is_no_environment(tmp_path: Path, wheels: Path) -> None:
    wheel = make_wheel(wheels, "demo-core", "1.0", code="raise OSError('libhccl.so: cannot open shared object file')\n")
    plan = make_plan(tmp_path, wheel, imports=("demo_core",))
    with pytest.raises(InstallError, match=r"does not import(.|\n)*libhccl\.so") as stopped:
        build(plan, choose("uv"), sources(wheels))
    assert stopped.value.next.endswith("(LIB_HCCL)")
    assert read_stamp(plan.path) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "ended by signal 11"), (None, "")],
)
def test_a_crash_at_import_is_said_and_what_libraries_print_is_no_listing(
    tmp_path: Path, wheels: Path, code: str | None, said: str
) -> None:
    noisy = "import atexit\nprint('a banner')\natexit.register(print, 'a farewell')\n"
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0", code=code or noisy), imports=("demo_core",))
    if code is None:
        assert build(plan, choose("uv"), sources(wheels)).stamp.packages == {"demo-core": "1.0"}
        return
    with pytest.raises(InstallError) as stopped:
        build(plan, choose("uv"), sources(wheels))
    assert said in stopped.value.why


def test_a_wheel_that_stands_apart_is_installed_without_its_dependencies(tmp_path: Path, wheels: Path) -> None:
    interpreter = "cp" + this_python().replace(".", "")
    tag = f"{interpreter}-{interpreter}-manylinux_2_28_{this_machine()}"
    wheel = make_wheel(wheels, "torch-npu", "2.9.0.post1+gitee7ba04", tag=tag, requires=("torch==2.9.0+cpu",))
    pin = UnlockedPin("torch-npu", "2.9.0.post1", (this_machine(),), "not on an index")
    found = in_folders(pin, [str(wheels)], this_python(), this_machine())
    assert found is not None
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"), unlocked=(found,))
    stamp, _ = build(plan, choose("uv"), sources(wheels))
    assert stamp.packages["torch-npu"] == "2.9.0.post1+gitee7ba04"
    assert json.loads((plan.path / builder.STAMP).read_text(encoding="utf-8"))["apart"] == [
        {
            "name": "torch-npu",
            "asked": "2.9.0.post1",
            "found": "2.9.0.post1+gitee7ba04",
            "source": "wheel",
            "place": wheel.name,
            "sha256": file_sha256(wheel),
            "substituted": False,
        }
    ]


def test_what_the_base_interpreter_has_is_copied_whole(tmp_path: Path, wheels: Path) -> None:
    base = tmp_path / "base"
    wheel = make_wheel(wheels, "torch-npu", "2.9.0.post1+gitee7ba04")
    subprocess.run([str(find_uv()), "pip", "install", "-q", "--no-deps", "--target", str(base), str(wheel)], check=True)
    found = Located("torch-npu", "2.9.0.post1", "2.9.0.post1+gitee7ba04", "base interpreter", str(base))
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"), imports=("torch_npu",), unlocked=(found,))
    stamp, _ = build(plan, choose("uv"), sources(wheels))
    assert stamp.packages["torch-npu"] == "2.9.0.post1+gitee7ba04"
    (base / "torch_npu" / "__init__.py").unlink()
    with pytest.raises(InstallError, match=r"torch_npu/__init__\.py is missing"):
        build(plan, choose("uv"), sources(wheels), fresh=True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("failed to write: No space left on device (os error 28)", "No space left on device"),
        ("[Errno 122] Disk quota exceeded", "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_said_as_such(tmp_path: Path, said: str, reason: str) -> None:
    full = Uv((sys.executable, "-c", f"import sys; print('error: {said}'); sys.exit(2)"))
    plan = make_plan(tmp_path)
    with pytest.raises(StorageError, match=reason):
        build(plan, full, Sources())


def test_a_damaged_stamp_is_no_stamp(tmp_path: Path, wheels: Path) -> None:
    plan = make_plan(tmp_path, make_wheel(wheels, "demo-core", "1.0"))
    build(plan, choose("uv"), sources(wheels))
    (plan.path / builder.STAMP).write_text('{"digest": "', encoding="utf-8")
    assert build(plan, choose("uv"), sources(wheels))[1]


def test_verification_refuses_an_environment_that_is_absent_unfinished_or_of_another_lock(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(EnvironmentMissingError) as refused:
            builder.require("host", tmp_path)
        return str(refused.value)

    assert "never built" in refusal()
    (tmp_path / "host" / "bin").mkdir(parents=True)
    (tmp_path / "host" / "bin" / "python").symlink_to(sys.executable)
    assert "did not finish" in refusal()
    (tmp_path / "host" / builder.STAMP).write_text(json.dumps({"lock_sha256": "of another lock"}), encoding="utf-8")
    assert "another lock" in refusal()
    assert "next: nox -s setup -- --profile host" in refusal()
    (tmp_path / "host" / builder.STAMP).write_text(json.dumps({"lock": "host-sparc-py39.txt"}), encoding="utf-8")
    assert f"it was host-sparc-py39.txt; this Python's is {builder.plan('host').lock.name}" in refusal()


def test_the_running_interpreter_serves_as_tools_where_it_has_them_all(tmp_path: Path) -> None:
    assert builder.tools_python(tmp_path) == Path(sys.executable)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("sourced", "imported"), [(True, True), (False, False)])
def test_torch_npu_is_imported_where_cann_is_sourced(
    monkeypatch: pytest.MonkeyPatch, sourced: bool, imported: bool
) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    if sourced:
        monkeypatch.setenv("ASCEND_HOME_PATH", "/usr/local/Ascend/cann-8.5.1")
    assert ("torch_npu" in builder.plan("npu").imports) is imported


def test_missing_pins_of_a_lock_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made by hand\npytest==0.0.1 \\\n    --hash=sha256:00\nno-such-package==1.0 ; python_version > '3'\n"
        "only-elsewhere==1.0 ; sys_platform == 'never'\n",
        encoding="utf-8",
    )
    assert [str(pin) for pin in builder.missing_from(lock)] == [
        "pytest==0.0.1",
        'no-such-package==1.0; python_version > "3"',
    ]
