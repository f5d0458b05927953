"""Check functions that end in every way a check can end, for the engine's tests."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from env.errors import DeviceError, UsageError
from env.language import Message
from model.signature import Signature
from verify.reference import progress
from verify.reference.figures import Figures
from verify.run.records import Outcome, Status
from verify.run.verification import Verification


class Passes(Figures, frozen=True, kw_only=True):
    pid: int
    runs: int


class Measured(Figures, frozen=True, kw_only=True):
    rel_l2: Any = None
    shape: Any = None


def passes(session: Verification) -> Outcome:
    seen = vars(session).setdefault("runs", [])
    seen.append(None)
    runs = len(seen)
    return Outcome(Status.PASS, figures=Passes(pid=os.getpid(), runs=runs), signature=Signature(seed=session.seed))


def tells(session: Verification) -> Outcome:
    progress.say(Message("half of it"))
    return passes(session)


def fails(session: Verification) -> Outcome:
    print("the encoder is wrong")
    return Outcome(Status.FAIL, "encoder: relative L2 0.5, expected below 0.01")


def skips(session: Verification) -> Outcome:
    return Outcome(Status.SKIP, "needs two devices")


def raises(session: Verification) -> Outcome:
    raise ZeroDivisionError("by a check")


def raises_for_the_user(session: Verification) -> Outcome:
    raise DeviceError("no npu:0", why="the driver is not loaded", next="npu-smi info")


def has_no_json(session: Verification) -> Outcome:
    return Outcome(Status.PASS, figures=Measured(rel_l2=float("nan")))


def segfaults(session: Verification) -> Outcome:
    print("about to read address 0", flush=True)
    ctypes.string_at(0)
    return Outcome(Status.PASS)


def leaves(session: Verification) -> Outcome:
    print("the vendor runtime calls exit", file=sys.stderr, flush=True)
    os._exit(3)


def leaves_a_child_behind(session: Verification) -> Outcome:
    """End as a crash does, with a forked process that holds every pipe: operator compilers are forked so."""
    if os.fork() == 0:
        threading.Event().wait()
    os._exit(3)


def leaves_a_daemon_behind(session: Verification) -> Outcome:
    """End as a crash does, with a process in a session of its own."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", "import threading; threading.Event().wait()"], start_new_session=True
    )
    print(f"daemon {daemon.pid}", flush=True)
    os._exit(3)


def removes_the_run(session: Verification) -> Outcome:
    """What a cleaning job does, or a user who thought that the run had ended."""
    shutil.rmtree(session.context.run_folder)
    return Outcome(Status.PASS)


def says_no_more(session: Verification) -> Outcome:
    """Close every pipe and never end, as a device runtime whose teardown hangs."""
    os.closerange(3, 256)
    return hangs(session)


def has_figures_that_are_no_json(session: Verification) -> Outcome:
    return Outcome(Status.PASS, figures=Measured(shape=threading))


def has_figures_of_another_type(session: Verification) -> Outcome:
    return Outcome(Status.PASS, figures=Passes(pid=1, runs="two"))  # type: ignore[arg-type]


def is_killed(session: Verification) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(Status.PASS)


def lacks_cann(session: Verification) -> Outcome:
    raise ImportError("libhccl.so: cannot open shared object file: No such file or directory")


def hangs(session: Verification) -> Outcome:
    print("waiting for a device that never answers", flush=True)
    threading.Event().wait()
    return Outcome(Status.PASS)


def fails_in_the_runtime(session: Verification) -> Outcome:
    """Judge numbers that are wrong because the runtime has failed."""
    print("NPU function error: synchronize, error code is 507015")
    return Outcome(Status.FAIL, "encoder: relative L2 0.5, expected below 0.01")


def fails_late(session: Verification) -> Outcome:
    """An NPU's error as torch-npu raises it, with its cause in CANN's own log."""
    sys.modules["torch_npu"] = ModuleType("torch_npu")
    folder = Path(os.environ["ASCEND_PROCESS_LOG_PATH"], "debug", "plog")
    folder.mkdir(parents=True)
    moments = ("2026-11-25-16:00:00.000.001", "2026-11-25-16:00:00.000.002")
    lines = [f"[ERROR] TBE({os.getpid()},python):{moment} [a.cpp:1]7 No module named 'decorator'" for moment in moments]
    plog = folder / f"plog-{os.getpid()}_20261125160000000.log"
    plog.write_text("\n".join([*lines, "[WARNING] RUNTIME(7,python):slow", ""]), encoding="utf-8")
    raise RuntimeError("The Inner error is reported as above. The process exits for this inner error, and ... MatMul.")


def refuses_an_option(session: Verification) -> Outcome:
    sys.modules["torch_npu"] = ModuleType("torch_npu")
    raise UsageError("Ascend310P3 has no bfloat16", next="--dtype float16")


def falls_back(session: Verification) -> Outcome:
    """Pass with an operator that torch-npu ran on the host, in its words."""
    print(
        "[W1125 16:00:00.0 VariableFallbackKernel.cpp:250] Warning: CAUTION: The operator 'aten::lgamma' is not "
        "currently supported on the NPU backend and will fall back to run on the CPU. This may have performance "
        "implications."
    )
    return on_the_device(session)


def on_the_device(session: Verification) -> Outcome:
    return Outcome(Status.PASS, signature=Signature(device="npu:0"))


def shows_its_environment(session: Verification) -> Outcome:
    names = ("ASCEND_PROCESS_LOG_PATH", "ASCEND_WORK_PATH", "TORCH_NPU_DISABLED_WARNING", "TORCH_CPP_LOG_LEVEL")
    return Outcome(Status.PASS, " ".join(str(os.environ.get(name)) for name in names))


def asks_for_ctrl_c(session: Verification) -> Outcome:
    """Interrupt the parent, as a user does, and never end."""
    os.kill(os.getppid(), signal.SIGINT)
    return hangs(session)


# What a check may leave behind: a process of its group, one with a session of its own, one of a session's own.
FAMILY = """
import os, subprocess, sys
held = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
if (child := os.fork()) == 0:
    os.setsid()
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), held.pid, child, flush=True)
held.wait()
"""


def has_a_family(session: Verification) -> Outcome:
    """Never end, with processes of three kinds; the run's pipe "family" is told who they are: verify, worker, they."""
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = process.stdout.readline()
        (session.context.run_folder / "family").write_text(f"{os.getppid()} {os.getpid()} {pids}", encoding="utf-8")
        process.wait()
    return Outcome(Status.PASS)
