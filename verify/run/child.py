"""The parent's side of a worker: start it, ask for a check, and turn a death or a hang into a result."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from env import guardian
from env.ending import new_mark
from env.errors import storage_error
from env.language import Message, _
from env.redaction import without_home
from env.stack import ROOT
from verify.run import npu_logs
from verify.run.context import Context
from verify.run.damage import decode_message
from verify.run.plan import Check
from verify.run.records import DOING, Answer, Status

DOING_LINE = json.dumps({DOING: ""}).partition(":")[0].encode()  # how a line begins that is no answer
LOG_LINES = 40  # kept in a record that did not pass
STACK_DUMP_S = 1.0  # how long a hanging worker gets to write where it stands
LOOK_S = 0.5  # how often a silent worker is looked for
LAST_WORDS_S = 30.0  # how long a worker that says no more may take to end: device runtimes are torn down slowly


class Child:
    """A worker process. One check at a time; after a death or a time-out it is gone, and `alive` is False."""

    def __init__(self, python: Path, context: Context, number: int) -> None:
        """Start worker `number` of the run with `python`; what it prints goes to a log of its own.

        Raises:
            StorageError: the log cannot be written.
        """
        own = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        environ = npu_logs.environment({**os.environ, **own}, context.run_folder, number)
        self._mark = new_mark()
        environ[self._mark] = "1"
        self.number = number
        self.log = log = context.run_folder / "logs" / f"worker-{number}.log"
        self._fallbacks: set[str] = set()
        self.tell: Callable[[Message], None] = lambda message: None  # what a check does meanwhile
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("wb")
        except OSError as error:
            raise storage_error(error, log) from error
        self.alive = True
        read_fd, write_fd = os.pipe()
        command = [str(python), "-m", "verify.run.worker", "--parent", str(os.getpid()), "--results-fd", str(write_fd)]
        self._results = os.fdopen(read_fd, "rb", buffering=0)
        self._pending = b""
        with output:
            # Not our process group: Ctrl-C is the parent's to handle, and a kill reaches the worker's own children.
            self._process = subprocess.Popen(
                [*command, "--context", context.as_json()],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(write_fd,),
                cwd=ROOT,
                env=environ,
                start_new_session=True,
            )
        os.close(write_fd)
        self._plog = npu_logs.Plog(environ[npu_logs.PLOG], self._process.pid)

    def run(self, check: Check, limit: float) -> Answer:
        """The worker's answer for `check`, or one in its place where it died or outlasted `limit` seconds."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        self._plog.skip()
        start = time.monotonic()
        line = b""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.write(check.where.encode() + b"\n")
            self._process.stdin.flush()
            while (line := self._read_line(start + limit)).startswith(DOING_LINE):
                self.tell(decode_message(Message, json.loads(line)[DOING]))
        if line:
            answer = msgspec.json.decode(line, type=Answer, dec_hook=decode_message)
        else:
            reason = self._end(time.monotonic() - start >= limit, limit)
            answer = Answer(status=Status.ERROR, reason=reason, seconds=round(time.monotonic() - start, 3))
        return self._with_logs(answer, offset)

    def _with_logs(self, answer: Answer, offset: int) -> Answer:
        """The answer with what the worker printed since byte `offset` of its log, and with CANN's own errors.

        A process whose runtime has failed is ended here, whatever its check made of that.
        """
        self._fallbacks |= npu_logs.fallbacks(self.log, offset)
        answer = msgspec.structs.replace(answer, worker=self.number, cpu_fallback=tuple(sorted(self._fallbacks)))
        if answer.status in (Status.PASS, Status.SKIP):
            return answer
        log = tuple(tail(self.log, offset))
        answer = msgspec.structs.replace(answer, log=log, plog=self._plog.errors())
        if self.alive and (answer.spoiled or (answer.status is Status.FAIL and npu_logs.shows_an_error(log))):
            self.close()
        return answer

    def _read_line(self, deadline: float) -> bytes:
        """The next line, or nothing where the worker ended or the deadline (of the monotonic clock) passed.

        A worker that died is looked for, too: what it forked holds its end of the pipe open.
        """
        while b"\n" not in self._pending:
            ended = self._process.poll() is not None
            left = deadline - time.monotonic()
            ready = select.select([self._results], [], [], 0.0 if ended else min(max(0.0, left), LOOK_S))[0]
            if ready:
                block = self._results.read(1 << 16)
                if not block:
                    return b""
                self._pending += block
            elif ended or left <= 0:
                return b""
        line, _newline, self._pending = self._pending.partition(b"\n")
        return line

    def _end(self, timed_out: bool, limit: float) -> Message:
        """End a worker that hangs or has died; how it ended."""
        if timed_out:
            self._signal(signal.SIGUSR1)  # faulthandler writes every thread's stack to the log
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STACK_DUMP_S)
            self.close()
            return _(
                "no answer in {limit:g} s: the worker was ended; the log's last lines say where it stood", limit=limit
            )
        try:
            code = self._process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self.close()
            return _(
                "the worker stopped answering and did not end in {seconds:g} s: it was ended", seconds=LAST_WORDS_S
            )
        self.close()
        if code == -signal.SIGKILL:
            return _("the worker was ended by SIGKILL, mostly for want of memory: dmesg | grep -i 'killed process'")
        if code < 0:
            return _("the worker was ended by {signal}", signal=signal.Signals(-code).name)
        return _("the worker ended with exit code {code}", code=code)

    def _signal(self, number: int, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self._process.pid, number)
            elif self._process.poll() is None:
                os.kill(self._process.pid, number)

    def close(self, limit: float | None = None) -> None:
        """End the worker and everything it started; it may take `limit` seconds (30) to be gone. Safe to call twice."""
        if not self.alive:
            return
        self.alive = False
        self._signal(signal.SIGKILL, group=True)
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver: not even that ends it
            self._process.wait(LAST_WORDS_S if limit is None else limit)
        guardian.end(self._mark, 0.0)  # what left the group: it would hold the device against the next worker
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._results.close()


def tail(path: Path, offset: int = 0, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log from byte `offset` on, decoded with replacement, this machine's folders left out; none of
    one that was removed.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(offset, os.fstat(file.fileno()).st_size - (1 << 16)))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return without_home(text.replace(f"{ROOT}/", "")).splitlines()[-lines:]
