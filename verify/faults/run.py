"""Runs cases and clean runs on warm servers, keeps what came of each as it ends, and goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from env.atomic import write_json
from env.errors import InstallError
from env.language import _
from env.stack import ROOT, load_stack
from verify.report.campaign import CleanOutcome, FaultOutcome
from verify.run.records import RECORDS

from . import cases, checkpoints, outcome
from .cases import Case
from .clean import DTYPES, CleanSeed
from .spec import LIBRARY

EFFECT_DTYPES = {"npu": ("float32", "bfloat16"), "cpu": (cases.CPU_DTYPE,)}  # in which a fault's effect is measured
RUN_DTYPE = {"npu": "auto", "cpu": cases.CPU_DTYPE}  # --dtype: auto is the checkpoint's own, bfloat16
# A run stops after the first phase in which something is seen. What names a layer is in the first.
PHASES = (
    (
        "checkpoint",
        "device",
        "load",
        "definition",
        "weights",
        "shapes",
        "splice",
        "generate",
        "parity",
        "layers",
        "sharp",
    ),
    ("determinism", "tokens", "configurations", "repeatability"),
    ("frontend", "benchmark", "speech"),
)
EVERY = tuple(check for phase in PHASES for check in phase)
SEEDED = EVERY[: EVERY.index("repeatability")]  # whose inputs a seed decides
ONE_DTYPE = ("definition", "sharp", "configurations")  # which run in the same dtypes whatever --dtype says
LIMIT_S, EVENT_LIMIT_S = 90.0, 10.0  # of a check, in place of the plan's: imports are no part of it here
DEADLINE_S = 400.0  # of a whole run
SOURCES = ("model", "verify", "env/npu_emulator")

Job = Case | CleanSeed
Row = FaultOutcome | tuple[CleanOutcome, ...]  # of a case, and of the clean runs of a seed
Done = Callable[[Job, Row], None]


def sources_sha256() -> str:
    """Of the code that is tried, its limits and its cases: what other code gave is measured again."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".c", ".safetensors"):
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@dataclass
class Folders:
    """Where a campaign keeps its things, under the folder that the user named."""

    base: Path

    @property
    def outcomes(self) -> Path:
        return self.base / "outcomes"

    def run(self, job: Job) -> Path:
        return self.base / "runs" / slug(job.id)

    def clean(self, on: str) -> Path:
        return self.base / f"clean-{on}"


def slug(text: str) -> str:
    """A name as a file may have it, with a digest, since other characters are lost."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:80] + "-" + hashlib.sha256(text.encode()).hexdigest()[:6]


class Server:
    """A warm process (server.py) for one kind of device."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, start_new_session=True,
            )  # fmt: skip
        self._log = log
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise InstallError(
                _("a warm process of the campaign ended"), why=_("its last words are in {log}", log=str(self._log))
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have the server do one request (server.py); returns when it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Runner:
    """The jobs, the servers and the folders of one campaign."""

    def __init__(
        self,
        folders: Folders,
        start: Callable[[str, Path], Server],
        profile: str,
        *,
        keep: bool = False,
        made_with: Mapping[str, str] | None = None,
    ) -> None:
        self.folders = folders
        self._keep = keep  # the folders of runs that went as they should, too
        self.sources = sources_sha256()
        self.made_with = dict(made_with or {})  # versions: what other libraries gave is measured again
        self._start = start
        self._profile = profile
        self._servers: list[Server] = []
        self._prepared: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def key(self, job: Job) -> str:
        return hashlib.sha256(
            f"{self.sources} {json.dumps([self.made_with, asdict(job)], sort_keys=True)}".encode()
        ).hexdigest()

    def known(self, job: Job) -> Row | None:
        """What came of a job with this very code and these versions, where it was done before."""
        kind: Any = FaultOutcome if isinstance(job, Case) else tuple[CleanOutcome, ...]
        try:
            kept = json.loads((self.folders.outcomes / f"{slug(job.id)}.json").read_text(encoding="utf-8"))
            row: Row = msgspec.convert(kept["row"], kind)
        except (OSError, ValueError, KeyError, TypeError):  # none, damaged, or of another version
            return None
        return row if kept["key"] == self.key(job) else None

    def run(self, jobs: Sequence[Job], workers: int, done: Done) -> None:
        """Do what is not known yet; `done` is told of each job, one at a time.

        Raises:
            InstallError: a server cannot be started, or ended.
            KeyboardInterrupt: what is done is kept.
        """
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            row = self.known(job)
            if row is not None:
                done(job, row)
            else:
                waiting.put(job)
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=self._work, args=(waiting, done, failures), daemon=True) for _ in range(workers)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._stopped.set()
            for server in self._servers:
                server.close()
        if failures:
            raise failures[0]

    def _work(self, waiting: queue.SimpleQueue[Job], done: Done, failures: list[BaseException]) -> None:
        servers: dict[str, Server] = {}
        try:
            while not self._stopped.is_set() and not failures:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                if job.on not in servers:
                    servers[job.on] = self._start(job.on, self.folders.base / "servers.log")
                    self._servers.append(servers[job.on])
                row = self._do(job, servers[job.on])
                with self._lock:
                    kept = {"key": self.key(job), "row": msgspec.to_builtins(row)}
                    write_json(self.folders.outcomes / f"{slug(job.id)}.json", kept)
                    done(job, row)
        except BaseException as error:
            if not self._stopped.is_set():
                failures.append(error)

    def _do(self, job: Job, server: Server) -> Row:
        return self._do_clean(job, server) if isinstance(job, CleanSeed) else self._do_fault(job, server)

    def _do_clean(self, job: CleanSeed, server: Server) -> tuple[CleanOutcome, ...]:
        """One outcome a dtype. No later seed has use for their references."""
        rows: list[CleanOutcome] = []
        with _emptied(self.folders.base / "references" / slug(job.id)) as references:
            for dtype in DTYPES:
                folder = self.folders.run(job) / dtype
                shutil.rmtree(folder, ignore_errors=True)
                again = ONE_DTYPE if rows else ()
                request = self._request(folder) | {
                    "references": str(references),
                    "phases": [EVERY if job.full else [check for check in SEEDED if check not in again]],
                    "arguments": self._arguments(device(job.on), job.model, dtype, job.seed),
                }
                rows.append(outcome.of_clean(job, dtype, folder, _ran(server.answer(request), folder, folder)))
                if not rows[-1].alarms:
                    self._forget(folder)
        return tuple(rows)

    def _do_fault(self, case: Case, server: Server) -> FaultOutcome:
        self._prepare(case.on, server)
        folder = self.folders.run(case)
        shutil.rmtree(folder, ignore_errors=True)
        with _emptied(self.folders.base / "checkpoints" / slug(case.id)) as place:
            answer = server.answer(self._fault_request(case, folder, place))
        _ran(answer, folder, outcome.evidence_folder(case, folder))
        row = outcome.of_fault(case, folder, answer)
        if row.beyond_noise is not False and not row.caught:
            why = cases.table().get("missed", {}).get(case.id, "not explained")
            row = msgspec.structs.replace(row, missed_because=why)
        elif row.named is not False:
            self._forget(folder)
        return row

    def _forget(self, folder: Path) -> None:
        """Remove what nobody will look into: a run that went as it should."""
        if not self._keep:
            shutil.rmtree(folder, ignore_errors=True)

    def _prepare(self, on: str, server: Server) -> None:
        """Keep the clean outputs that effects are measured from; the first who comes makes them."""
        with self._lock:
            if on in self._prepared:
                return
            folder = self.folders.clean(on)
            shutil.rmtree(folder, ignore_errors=True)
            answer = server.answer(self._request(folder) | {"prepare": self._effect(on, device(on))})
            if answer["exit_code"] != 0:
                raise InstallError(
                    _("the device does not compute without a fault"),
                    why=_("see {log}", log=str(folder / "campaign.log")),
                )
            self._prepared.add(on)

    def _request(self, folder: Path) -> dict[str, Any]:
        where = str(folder.resolve())
        return {"folder": where, "evidence": where, "deadline": DEADLINE_S, "limit": LIMIT_S, "faults": []}

    def _effect(self, on: str, label: str) -> dict[str, Any]:
        stack = load_stack()
        return {
            "device": label,
            "model_dir": str(ROOT / stack.stand_in),
            "seed": stack.seed,
            "dtypes": EFFECT_DTYPES[on],
            "clean": str(self.folders.clean(on).resolve()),
        }

    def _arguments(self, label: str, model_dir: str, dtype: str, seed: int) -> list[str]:
        run = ["--device", label, "--profile", self._profile, "--level", "2"]
        return [*run, "--model-dir", model_dir, "--dtype", dtype, "--seed", str(seed)]

    def _fault_request(self, case: Case, folder: Path, place: Path) -> dict[str, Any]:
        stack = load_stack()
        model_dir = ROOT / stack.stand_in
        if case.damage is not None:
            model_dir = checkpoints.damaged(case.damage, model_dir, place / model_dir.name)
        request = self._request(folder) | {
            "faults": case.faults,
            "phases": PHASES,
            "report": case.sort != "number",
            "arguments": self._arguments(device(case.on), str(model_dir), RUN_DTYPE[case.on], stack.seed),
        }
        if case.card is not None:
            every = "npu:" + ",".join(str(card) for card in range(cases.CARDS))
            request["arguments"] = self._arguments(every, str(model_dir), RUN_DTYPE[case.on], stack.seed)
            request["evidence"] = str(outcome.evidence_folder(case, folder).resolve())
            request["phases"] = PHASES[:1]  # all of them on the cards that are right
        if any(row["at"] == LIBRARY for row in case.faults):
            # What another library computed before is not there for a library that is wrong.
            request["references"] = str(place / "references")
        if case.sort == "event":
            request["limit"] = EVENT_LIMIT_S
        if case.sort == "number":
            request["effect"] = self._effect(case.on, device(case.on, case.card))
        return request


def _ran(answer: dict[str, Any], folder: Path, evidence: Path) -> dict[str, Any]:
    """`answer`, where verify ran at all: what never ran has neither missed a fault nor kept quiet.

    Raises:
        InstallError: it left no record.
    """
    if not any((evidence / RECORDS).glob("*.json")):
        log = (folder / "campaign.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise InstallError(_("verify did not run"), why="\n        ".join(log[-4:]), next="nox -s setup")
    return answer


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A folder that is there for a while."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def device(on: str, card: int | None = None) -> str:
    return f"npu:{card or 0}" if on == "npu" else on


def starter(environments: Mapping[str, Mapping[str, str]]) -> Callable[[str, Path], Server]:
    """How a server is started, by kind of device."""

    def start(on: str, log: Path) -> Server:
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "verify.faults.server", "--device", on]
        return Server(command, environments[on], log)

    return start
