"""torch-npu's task queue after an operator has failed in it: one error, some operators late, and then silence.

torch-npu launches operators from a thread of its own. Where one fails there, the next call that meets the queue raises,
once; from then on the queue takes operators and drops them, says so in the plog only, and synchronising and copying
succeed (v7.3.1, NPUQueue.cpp: Enqueue and MakeSureQueueEmpty in status CAN_EXIT). Whatever memory held before is read.
"""

from __future__ import annotations

import os
from datetime import datetime

from .library import runtime_library

LATE_BY = 3  # operators that are taken between the one that failed and the one that raises


class TaskQueue:
    """What became of the operators of this process."""

    def __init__(self) -> None:
        self.stopped = False  # operators are dropped
        self._error = ""  # still to be raised
        self._taken = 0

    def fail(self, operator: str, code: int) -> None:
        """Let an operator fail in the queue: nothing is raised yet."""
        if not self.stopped:
            self.stopped, self._error, self._taken = True, _error(operator, code), 0
            _plog("RUNTIME", f"Kernel task happen error, retCode=0x26, [aicore exception], error code is {code}")

    def take(self, operator: str) -> None:
        """An operator is handed to the queue.

        Raises:
            RuntimeError: one before it has failed, in torch-npu's words.
        """
        if self.stopped:
            self._taken += 1
            if self._taken > LATE_BY:
                self.wait()
            text = f"Task queue thread is exit, can't call Enqueue() for executing and op name is={operator}."
            _plog("APP", f"[PTA]:{text}")

    def wait(self) -> None:
        """Something waits for the queue to be empty. Raises as `take`."""
        if self._error:
            error, self._error = self._error, ""
            raise RuntimeError(error)


def _plog(module: str, text: str) -> None:
    runtime_library().npu_emulator_plog(module.encode(), text.encode())


def _error(operator: str, code: int) -> str:
    now = datetime.now().strftime("%Y-%m-%d-%H:%M:%S")
    return (
        "The Inner error is reported as above. The process exits for this inner error, and the current working "
        f"operator name is {operator}.\nSince the operator is called asynchronously, the stacktrace may be inaccurate. "
        "If you want to get the accurate stacktrace, please set the environment variable ASCEND_LAUNCH_BLOCKING=1.\n"
        "Note: ASCEND_LAUNCH_BLOCKING=1 will force ops to run in synchronous mode, resulting in performance "
        "degradation. Please unset ASCEND_LAUNCH_BLOCKING in time after debugging.\n"
        f"[ERROR] {now} (PID:{os.getpid()}, Device:0, RankID:-1) ERR00100 PTA call acl api failed.\n"
        f"EZ9999: Inner Error!\nEZ9999: [PID: {os.getpid()}] The error from device, kernel task happen error, "
        f"retCode=0x26, [aicore exception], error code is {code}\n"
    )
