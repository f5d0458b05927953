"""A small process that outlives a program by seconds, and ends all that the program started and did not end itself.

`python -I env/guardian.py NAME GRACE PARENT`, started by env/ending.py, which holds the other end of its standard
input: the end of that is the end of the program, by SIGKILL too. What belongs to the program carries the environment
variable NAME, since every process inherits it. Jenkins ends the processes of a build the same way
(https://wiki.jenkins.io/display/JENKINS/ProcessTreeKiller). Unlike a process group or PR_SET_PDEATHSIG it reaches
grandchildren too, and what has a session of its own: operator compilers that CANN forks, an installer's helpers.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

LOOK_S = 1.0  # how often the program is looked for: a process that it forked may hold its end of the pipe
AGAIN_S = 0.05
KILLED_S = 3.0  # after SIGKILL; what a driver holds (state D) is left to it


def carriers(name: str) -> list[int]:
    """The processes that have the environment variable `name`, oldest number first; those of other users never."""
    mark = f"\0{name}=".encode()
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                if mark in b"\0" + (entry / "environ").read_bytes():
                    pids.append(int(entry.name))
    return sorted(pids)


def end(name: str, grace: float) -> None:
    """Send SIGTERM to every process that carries `name`, and SIGKILL to those that are left after `grace` seconds."""
    deadline = time.monotonic() + grace
    terminated: set[int] = set()
    while (pids := carriers(name)) and time.monotonic() < deadline + KILLED_S:
        late = time.monotonic() >= deadline
        for pid in pids:
            if late or pid not in terminated:
                terminated.add(pid)
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(AGAIN_S)


def watch(parent: int) -> None:
    """Return when the process `parent`, which holds the other end of standard input, has ended."""
    while os.getppid() == parent:
        if select.select([0], [], [], LOOK_S)[0] and not os.read(0, 1):
            return


def main(name: str, grace: str, parent: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a Ctrl-C, a service manager: meant for the others
        signal.signal(number, signal.SIG_IGN)
    watch(int(parent))
    end(name, float(grace))


if __name__ == "__main__":
    main(*sys.argv[1:])
