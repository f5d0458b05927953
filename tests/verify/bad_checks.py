"""Check functions that end in every way a check can end, for the engine's tests."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

from env.errors import DeviceError
from model.signature import Signature
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
