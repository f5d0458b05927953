"""Check functions that end in every way a check can end, for the engine's tests."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from env.errors import DeviceError
from verify.context import Context
from verify.records import Outcome, Status


def passes(context: Context) -> Outcome:
    runs = context.shared["runs"] = context.shared.get("runs", 0) + 1
    return Outcome(Status.PASS, data={"pid": os.getpid(), "runs": runs}, signature={"seed": context.seed})


def fails(context: Context) -> Outcome:
    print("the encoder is wrong")
    return Outcome(Status.FAIL, "encoder: relative L2 0.5, expected below 0.01")


def skips(context: Context) -> Outcome:
    return Outcome(Status.SKIP, "needs two devices")


def raises(context: Context) -> Outcome:
    raise ZeroDivisionError("by a check")


def raises_for_the_user(context: Context) -> Outcome:
    raise DeviceError("no npu:0", why="the driver is not loaded", next="npu-smi info")


def has_no_json(context: Context) -> Outcome:
    return Outcome(Status.PASS, data={"rel_l2": float("nan")})


def segfaults(context: Context) -> Outcome:
    print("about to read address 0", flush=True)
    ctypes.string_at(0)
    return Outcome(Status.PASS)


def leaves(context: Context) -> Outcome:
    print("the vendor runtime calls exit", file=sys.stderr, flush=True)
    os._exit(3)


def leaves_a_child_behind(context: Context) -> Outcome:
    """End as a crash does, with a forked process that holds every pipe: operator compilers are forked so."""
    if os.fork() == 0:
        threading.Event().wait()
    os._exit(3)


def says_no_more(context: Context) -> Outcome:
    """Close every pipe and never end, as a device runtime whose teardown hangs."""
    os.closerange(3, 256)
    return hangs(context)


def has_figures_that_are_no_json(context: Context) -> Outcome:
    return Outcome(Status.PASS, data={"shape": {1, 2}})


def is_killed(context: Context) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(Status.PASS)


def lacks_cann(context: Context) -> Outcome:
    raise ImportError("libhccl.so: cannot open shared object file: No such file or directory")


def hangs(context: Context) -> Outcome:
    print("waiting for a device that never answers", flush=True)
    threading.Event().wait()
    return Outcome(Status.PASS)


def asks_for_ctrl_c(context: Context) -> Outcome:
    """Interrupt the parent, as a user does, and never end."""
    os.kill(os.getppid(), signal.SIGINT)
    return hangs(context)
