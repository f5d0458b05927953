"""`nox -s bench-kills`: end the main job at random moments, and look at what is left of it.

A kill is a signal, the process that it is sent to, the level of the job, its environment (as it stands, or to be made)
and a moment. Afterwards: how long did it take to end, and its last process; is every record that was written still
there, byte for byte, and can all be read; does what carries a stamp work; does the same job, let be, end well.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from env import builder, guardian
from env.arguments import DefaultsFormatter, Parser, at_least
from env.atomic import write_json
from env.ending import interrupt_once, new_mark, nothing_left
from env.errors import VerificationFailedError, run_main
from env.language import _, translate
from env.options import SETUP_FILE
from env.stack import ROOT
from verify.run.records import read_evidence
from verify.tables import table

TARGETS = ("nox", "program", "worker", "group")  # the front door, what it runs, what that runs, all of them at once
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
LIMIT_S = 10.0  # docker stop's: what has not ended by itself then is killed
GIVEN_UP_S = 60.0
LONGEST_JOB_S = 1200.0
LEFT_OUT = (".git", ".venvs", ".nox", ".cache", ".bench-*", ".*_cache", ".hypothesis", "results", "wheelhouse")
JOB = ("--device", "cpu", "--model-dir", "synthetic:tiny")


@dataclass(frozen=True)
class Kill:
    """One kill; `share` of the job's own time has passed when it comes."""

    number: int
    signal: signal.Signals
    target: str
    level: int
    fresh: bool
    share: float


@dataclass
class Outcome:
    """What a kill left. Seconds are counted from the signal."""

    kill: Kill
    hit: str = ""  # the target; "nox" where that had no such process then; "" where all had ended
    code: int | None = None
    ended_s: float = 0.0  # nox
    last_s: float = 0.0  # the last process
    records: int = 0  # before the kill
    interrupted: int = 0  # records that say so
    problems: list[str] = field(default_factory=list)


def kills(count: int, seed: int) -> list[Kill]:
    """`count` kills: every signal with every target in turn; a quarter at level 2, a third in a fresh environment."""
    chance = random.Random(seed)  # noqa: S311 (moments, not secrets)
    pairs = [(number, target) for number in SIGNALS for target in TARGETS]
    return [
        Kill(
            index,
            *pairs[index % len(pairs)],
            level=2 if chance.random() < 0.25 else 1,
            fresh=chance.random() < 0.33,
            share=chance.random(),
        )
        for index in range(count)
    ]


class Checkout:
    """A copy of this project in which jobs are started and ended."""

    def __init__(self, folder: Path, longest: float) -> None:
        self.folder = folder
        self.longest = longest
        self._seconds: dict[tuple[int, bool], float] = {}

    @classmethod
    def copy(cls, folder: Path, longest: float) -> Checkout:
        """The project and its built environments, their files linked: removing them removes nothing else."""
        left_out = shutil.ignore_patterns(*LEFT_OUT)
        top = str(ROOT)
        shutil.copytree(
            ROOT, folder, symlinks=True, ignore=lambda here, names: left_out(here, names) if here == top else set()
        )
        for profile in ("tools", "host"):
            if builder.is_built(profile):
                venv = folder / ".venvs" / profile
                shutil.copytree(builder.VENVS / profile, venv, symlinks=True, copy_function=os.link)
        checkout = cls(folder, longest)
        checkout.seconds(1, fresh=False)  # builds what is missing
        return checkout

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, level: int, mark: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "nox", "-s", "setup", "verify", "report", "--", "--level", str(level), *JOB]
        with (self.folder / "job.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, mark: "1"}, start_new_session=True,
            )  # fmt: skip

    def prepare(self, fresh: bool) -> None:
        shutil.rmtree(self.results, ignore_errors=True)
        if fresh:
            shutil.rmtree(self.folder / ".venvs" / "tools", ignore_errors=True)

    def whole(self, level: int, fresh: bool) -> int:
        """The exit code of a job that is let be."""
        self.prepare(fresh)
        return self.start(level, new_mark()).wait(LONGEST_JOB_S)

    def seconds(self, level: int, fresh: bool) -> float:
        """How long a job takes that is let be, but no longer than `longest`."""
        if (level, fresh) not in self._seconds:
            started = time.monotonic()
            if (code := self.whole(level, fresh)) != 0:
                log = (self.folder / "job.log").read_text(encoding="utf-8", errors="replace")
                raise VerificationFailedError(
                    _("the job itself ends with exit code {code}", code=code), why="\n".join(log.splitlines()[-20:])
                )
            self._seconds[level, fresh] = min(self.longest, time.monotonic() - started)
        return self._seconds[level, fresh]

    def run_folders(self) -> list[Path]:
        return sorted(path for path in self.results.glob("*") if path.is_dir())


def parent_of(pid: int) -> int:
    """The parent of a process (proc_pid_stat(5)); 0 where it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return 0


def hit(process: subprocess.Popen[bytes], kill: Kill, mark: str) -> str:
    """Send the signal of a kill; what it was sent to."""
    workers: Callable[[int], bool] = lambda pid: b"verify.run.worker" in _command(pid)  # noqa: E731
    chosen = {
        "program": [pid for pid in guardian.carriers(mark) if parent_of(pid) == process.pid],
        "worker": [pid for pid in guardian.carriers(mark) if workers(pid)],
    }.get(kill.target, [])
    with contextlib.suppress(ProcessLookupError):
        if kill.target == "group":
            os.killpg(process.pid, kill.signal)
            return "group"
        os.kill(chosen[0] if chosen else process.pid, kill.signal)
        return kill.target if chosen else "nox"
    return ""


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def written(folders: Iterable[Path]) -> dict[Path, bytes]:
    """Every record by path."""
    found = {}
    for path in (path for folder in folders for path in folder.glob("records/*.json")):
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.read_bytes()
    return found


def carry_out(kill: Kill, checkout: Checkout) -> Outcome:
    """Start a job, end it, judge what it left."""
    moment = kill.share * checkout.seconds(kill.level, fresh=kill.fresh)
    checkout.prepare(kill.fresh)
    mark = new_mark()
    process = checkout.start(kill.level, mark)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    before = written(checkout.run_folders())
    outcome = Outcome(kill, records=len(before))
    outcome.hit = "" if process.poll() is not None else hit(process, kill, mark)
    sent = time.monotonic()
    goes_on = outcome.hit in ("worker", "program", "")  # nox goes on with what is left of the job
    try:
        outcome.code = process.wait(LONGEST_JOB_S if goes_on else GIVEN_UP_S)
    except subprocess.TimeoutExpired:
        outcome.problems.append("nox did not end")
    outcome.ended_s = round(time.monotonic() - sent, 2)
    ended = time.monotonic()
    while guardian.carriers(mark) and time.monotonic() - ended < GIVEN_UP_S:
        time.sleep(0.05)
    outcome.last_s = round(time.monotonic() - (ended if goes_on else sent), 2)
    outcome.problems += judged(outcome, before, checkout)
    guardian.end(mark, 0.0)
    outcome.problems += repaired(kill, checkout)
    return outcome


def judged(outcome: Outcome, before: dict[Path, bytes], checkout: Checkout) -> Iterator[str]:
    """What is wrong with how a job ended, and with what it left."""
    if outcome.hit in ("nox", "group"):
        expected = -signal.SIGKILL if outcome.kill.signal is signal.SIGKILL else 130
        # 0: it came when all was done; the signal itself: before nox had read what it is to do.
        early = -outcome.kill.signal if not checkout.run_folders() else expected
        if outcome.code not in (expected, early, 0):
            yield f"nox ended with {outcome.code}"
        if outcome.code == 0 and not list(checkout.results.glob("*/report.en.md")):
            yield "nox says success of a job that was ended"
        if outcome.ended_s > LIMIT_S:
            yield f"nox took {outcome.ended_s:.0f} s to end"
    if outcome.last_s > LIMIT_S:
        yield f"a process was left for {outcome.last_s:.0f} s"
    after = written(checkout.run_folders())
    yield from (f"{path.name} was lost" for path in before.keys() - after.keys())
    yield from (f"{path.name} is another" for path in before.keys() & after.keys() if before[path] != after[path])
    for folder in checkout.run_folders():
        if (folder / SETUP_FILE).exists() or (folder / "run.json").exists():
            evidence = read_evidence(folder)
            outcome.interrupted += sum(record.reason == "interrupted" for record in evidence.records.values())
            yield from (f"{name} is damaged: {why}" for name, why in evidence.damaged.items())
    for stamp in (checkout.folder / ".venvs").glob(f"*/{builder.STAMP}"):
        imports = "import jinja2, msgspec, packaging, rich" if stamp.parent.name == "tools" else "import torch"
        check = outcome.kill.fresh or stamp.parent.name != "host"  # nothing touches the other, and torch takes a while
        if check and subprocess.run([stamp.parent / "bin" / "python", "-c", imports], check=False).returncode != 0:
            yield f"{stamp.parent.name} has a stamp and does not import"


def repaired(kill: Kill, checkout: Checkout) -> Iterator[str]:
    """Whether the next run ends well: that of level 1 after a fresh environment, and after every tenth kill."""
    if kill.fresh or kill.number % 10 == 0:
        shutil.rmtree(checkout.results, ignore_errors=True)
        if (code := checkout.start(1, new_mark()).wait(LONGEST_JOB_S)) != 0:
            yield f"the next run ended with {code}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """A row for every signal and target: kills that hit it, seconds until nox and the last process had ended."""
    rows = []
    for number in SIGNALS:
        for target in TARGETS:
            these = [one for one in outcomes if one.kill.signal is number and one.hit == target]
            if these:
                ended, last = sorted(one.ended_s for one in these), sorted(one.last_s for one in these)
                stopped = target in ("nox", "group")
                rows.append(
                    [
                        f"{number.name} {target}",
                        str(len(these)),
                        f"{ended[len(ended) // 2]:.1f}" if stopped else "-",
                        f"{ended[-1]:.1f}" if stopped else "-",
                        f"{last[-1]:.1f}",
                        str(sum(one.records for one in these)),
                        str(sum(one.interrupted for one in these)),
                        str(sum(bool(one.problems) for one in these)),
                    ]
                )
    header = [
        _("signal and target"),
        _("kills"),
        _("nox ended, median s"),
        _("worst s"),
        _("last process, worst s"),
        _("records kept"),
        _("interrupted"),
        _("bad"),
    ]
    lines = [table(header, rows), ""]
    lines += [f"{one.kill.number}: {', '.join(one.problems)}" for one in outcomes if one.problems]
    early = sum(not one.hit for one in outcomes)
    lines.append(
        translate(
            _(
                "{n} kills, {early} after the end of the job, {bad} left something wrong",
                n=len(outcomes),
                early=early,
                bad=sum(bool(one.problems) for one in outcomes),
            )
        )
    )
    return "\n".join(lines)


def as_json(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "kill": {**asdict(outcome.kill), "signal": outcome.kill.signal.name}}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m verify.bench_kills",
        description=_("End the main job at random moments, and look at what is left of it."),
        formatter_class=DefaultsFormatter,
    )
    parser.add_argument("--n", type=at_least(1), default=24, metavar="N", help=_("kills"))
    parser.add_argument("--seed", type=at_least(0), default=42, metavar="N", help=_("of the moments"))
    parser.add_argument("--jobs", type=at_least(1), default=1, metavar="N", help=_("jobs at a time"))
    parser.add_argument(
        "--longest", type=float, default=60.0, metavar="S", help=_("no kill comes later, in seconds of a job")
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help=_("write every figure here too"))
    options = parser.parse_args(argv)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell: the jobs would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix=".bench-kills-", dir=ROOT) as folder:
        lanes = [Checkout.copy(Path(folder, str(lane)), options.longest) for lane in range(options.jobs)]
        todo = iter(kills(options.n, options.seed))

        def lane(checkout: Checkout) -> None:
            for kill in todo:
                outcomes.append(outcome := carry_out(kill, checkout))
                print(json.dumps(as_json(outcome)), flush=True)

        with ThreadPoolExecutor(len(lanes)) as pool:
            for each in [pool.submit(lane, checkout) for checkout in lanes]:
                each.result()
    print(summary(outcomes))
    if options.json is not None:
        write_json(options.json, [as_json(outcome) for outcome in outcomes])
    return VerificationFailedError.exit_code if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    interrupt_once()
    with nothing_left():
        run_main(main)
