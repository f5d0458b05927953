"""`nox -s bench-compare`: how often `compare` cries wolf over one program, and whether it sees what was planted.

Three kinds of runs in turn: "a" and "b" are the same program; in "planted" the projector takes a tenth longer and one
layer's output is 1.01 of what it should be (verify/faults). Every run is a process of its own that is `python -m
verify` from its command line to its records, on one core and one thread, forked from a process that has imported and
computed nothing: a start costs no time, and all runs have their libraries at the same addresses.
Comparisons are then drawn from the runs: so many rounds each, one run of a round on either side, by the toss of a coin.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from env.arguments import DefaultsFormatter, Parser, at_least
from env.atomic import write_json
from env.ending import interrupt_once, nothing_left
from env.errors import UsageError, VerificationFailedError, VerificationIncompleteError, run_main
from env.language import Message, _, translate
from env.stack import ROOT, load_stack
from verify.faults.run import Server, starter
from verify.report.comparison import Comparison, Side
from verify.report.facts import Facts
from verify.report.statistics import ENOUGH, Word
from verify.run.records import RECORDS, read_evidence
from verify.run.verdict import judge
from verify.tables import table

KINDS = ("a", "b", "planted")
CHECKS = ("layers", "benchmark")  # what `compare` needs of a run: errors, then times
SLOW, LAYER = "projector", "encoder.layers.1.conv"
SHARE, FACTOR = 0.10, 1.01
DTYPE = "bfloat16"  # only in it: the reference beside it computes in another, and stays right
MOST_ALARMS, LEAST_SEEN = 0.05, 0.90
DEADLINE_S = 600.0
TOLD = (Word.SLOWER, Word.FASTER)


def planted() -> list[dict[str, Any]]:
    """The faults of a "planted" run, as verify/faults/spec.py has them."""
    common = {"at": "module", "device": "cpu", "dtype": DTYPE}
    return [
        {**common, "target": SLOW, "kind": "slower", "size": SHARE},
        {**common, "target": LAYER, "kind": "scale", "size": FACTOR},
    ]


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m verify.bench_compare",
        formatter_class=DefaultsFormatter,
        description=_("How often compare cries wolf over one program, and whether it sees what was planted."),
        epilog=_("exit codes: 0 it holds; 30 false alarms, or what was planted was denied; 31 a run left no records"),
    )
    parser.add_argument("--runs", metavar="N", type=at_least(ENOUGH), default=60, help=_("runs of each kind"))
    parser.add_argument("--side", metavar="N", type=at_least(ENOUGH), default=6, help=_("runs a side of a comparison"))
    parser.add_argument("--draws", metavar="N", type=at_least(1), default=300, help=_("comparisons of each kind"))
    parser.add_argument("--rounds", metavar="N", type=at_least(1), default=33, help=_("timed calls of each component"))
    parser.add_argument("--minutes", type=float, default=18.0, help=_("begin no more runs after this"))
    parser.add_argument(
        "--output", metavar="DIR", help=_("where the runs and bench-compare.json go; runs there are kept")
    )
    return parser


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """What is started here stays on the last of this process's cores: a process that wanders meets cold caches."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def warm_server(log: Path) -> Iterator[Server]:
    """A process that runs are forked from (verify/faults/server.py)."""
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    with one_core():
        server = starter({"cpu": {**os.environ, **threads}})("cpu", log)
    try:
        yield server
    finally:
        server.close()


def run(server: Server, folder: Path, rounds: int, faults: Sequence[Mapping[str, Any]]) -> None:
    """One run, in `folder`.

    Raises:
        VerificationIncompleteError: it left no times or no errors.
    """
    stack = load_stack()
    own = ["--device", "cpu", "--profile", Path(sys.prefix).name, "--level", "2", "--dtype", DTYPE]
    inputs = ["--model-dir", str(ROOT / stack.stand_in), "--seed", str(stack.seed), "--rounds", str(rounds)]
    request = {"folder": str(folder), "deadline": DEADLINE_S, "limit": DEADLINE_S, "faults": list(faults)}
    for check in CHECKS:  # each by itself: a check that fails does not keep the next from running
        server.answer(request | {"phases": [[check]], "arguments": own + inputs})
    if not whole(folder):
        raise VerificationIncompleteError(
            _("a run left no records: {folder}", folder=str(folder)), why=str(folder / "campaign.log")
        )


def whole(folder: Path) -> bool:
    return all((folder / RECORDS / f"{check}.json").exists() for check in CHECKS)


def make_runs(base: Path, count: int, rounds: int, until: float) -> None:
    """`count` runs of each kind under `base`, in turn; a round begins with another kind each time."""
    places = [(n, kind) for n in range(count) for kind in (*KINDS[n % 3 :], *KINDS[: n % 3])]
    left = [(n, kind) for n, kind in places if not whole(base / kind / f"{n:03d}")]
    if not left:
        return
    with warm_server(base / "server.log") as server:
        reference = base / "reference"
        if not whole(reference):  # the first run makes the reference values, which all others find
            run(server, reference, rounds, [])
        for n, kind in left:
            if time.monotonic() > until:
                break
            started = time.monotonic()
            run(server, base / kind / f"{n:03d}", rounds, planted() if kind == "planted" else [])
            print(f"[{n + 1}/{count}] {kind} {time.monotonic() - started:.1f} s", flush=True)


class Known(Side):
    """A side of runs that were read and judged before."""

    def __init__(self, facts: Sequence[Facts]) -> None:
        super().__init__([(str(place), one.evidence) for place, one in enumerate(facts)])
        vars(self)["facts"] = list(facts)  # in place of the cached property's own


@dataclass
class Tally:
    """What became of a number of comparisons."""

    words: dict[str, Counter[str]] = field(default_factory=dict)  # by figure
    comparisons: int = 0
    alarms: int = 0  # comparisons in which anything is told that was not planted
    named: int = 0  # in which the scaled layer is, and no other
    differing: int = 0  # whose bits are not the same

    def take(self, comparison: Comparison, slow: str | None, layer: str | None) -> None:
        self.comparisons += 1
        for change in comparison.changes:
            self.words.setdefault(change.name, Counter())[change.word.value] += 1
        layers = [moved.name for moved in comparison.layers]
        told = [change.name for change in comparison.changes if change.word in TOLD]
        self.named += layer is not None and layers == [layer]
        self.alarms += bool(comparison.incomparable or set(told) - {slow} or set(layers) - {layer})
        self.differing += bool(comparison.results)

    def count(self, figure: str, word: Word) -> int:
        return self.words.get(figure, Counter())[word.value]


@dataclass(frozen=True)
class Bench:
    """The runs by kind, one of each kind a round, and the comparisons drawn from them."""

    runs: Mapping[str, Sequence[Facts]]
    side: int
    draws: int

    @classmethod
    def read(cls, base: Path, side: int, draws: int) -> Bench:
        """The rounds that are whole.

        Raises:
            UsageError: they are too few for one side.
        """
        names = [path.name for path in sorted((base / KINDS[0]).glob("*"))]
        names = [name for name in names if all(whole(base / kind / name) for kind in KINDS)]
        if len(names) < side:
            raise UsageError(
                _("{rounds} rounds of runs are too few for {side} runs a side", rounds=len(names), side=side),
                next="nox -s bench-compare -- --minutes 60",
            )

        def read(folder: Path) -> Facts:
            evidence = read_evidence(folder)
            return Facts(evidence, judge(evidence))

        return cls({kind: [read(base / kind / name) for name in names] for kind in KINDS}, side, draws)

    @cached_property
    def same(self) -> Tally:
        """Of the same program on both sides: one run of each drawn round on either."""
        tally, draw = Tally(), random.Random(1)  # noqa: S311 (a draw, not a secret)
        for rounds in self._rounds(draw):
            coins = [draw.choice((("a", "b"), ("b", "a"))) for _ in rounds]
            first = Known([self.runs[one][n] for n, (one, _) in zip(rounds, coins, strict=True)])
            second = Known([self.runs[other][n] for n, (_, other) in zip(rounds, coins, strict=True)])
            tally.take(Comparison(first, second, {}), None, None)
        return tally

    @cached_property
    def unlike(self) -> Tally:
        """Of a program beside the planted one."""
        tally, draw = Tally(), random.Random(2)  # noqa: S311 (a draw, not a secret)
        for rounds in self._rounds(draw):
            first = Known([self.runs[draw.choice("ab")][n] for n in rounds])
            tally.take(Comparison(first, Known([self.runs["planted"][n] for n in rounds]), {}), SLOW, LAYER)
        return tally

    def _rounds(self, draw: random.Random) -> Iterator[list[int]]:
        every = range(len(self.runs["a"]))
        return (sorted(draw.sample(every, self.side)) for _ in range(self.draws))

    @property
    def holds(self) -> bool:
        """At most 5 % alarms; the layer named; the slow-down too, or else the word is that it cannot be told."""
        same, unlike = self.same, self.unlike
        seen = unlike.count(SLOW, Word.SLOWER)
        admitted = seen + unlike.count(SLOW, Word.CANNOT_TELL)
        return (
            same.alarms <= MOST_ALARMS * same.comparisons
            and unlike.alarms <= MOST_ALARMS * unlike.comparisons
            and unlike.named == unlike.comparisons
            and (seen >= LEAST_SEEN * unlike.comparisons or admitted == unlike.comparisons)
            and same.differing == 0
        )

    def rows(self) -> list[list[str]]:
        return [
            [figure, *(str(tally.count(figure, word)) for tally in (self.same, self.unlike) for word in Word)]
            for figure in self.same.words
        ]

    def lines(self) -> Iterator[str]:
        """What a terminal shows."""
        words = [translate(Message(word.value)) for word in Word]
        yield table(
            [_("Figure"), *(f"A/A: {word}" for word in words), *(f"A/B: {word}" for word in words)], self.rows()
        )
        same, unlike, rounds = self.same, self.unlike, len(self.runs["a"])
        yield translate(
            _("{rounds} runs of each kind, {side} a side; with {whole} of them no run is used twice",
              rounds=rounds, side=self.side, whole=rounds // self.side)
        )  # fmt: skip
        yield translate(
            _("the same program: {alarms} of {n} comparisons alarm", alarms=same.alarms, n=same.comparisons)
        )
        yield translate(
            _(
                "planted: {slow} {share:.0%} slower is called slower in {seen} of {n}, and {admitted} times it cannot "
                "be told; {layer} is named alone in {named}; anything else in {others}",
                slow=SLOW, share=SHARE, seen=unlike.count(SLOW, Word.SLOWER), n=unlike.comparisons,
                admitted=unlike.count(SLOW, Word.CANNOT_TELL), layer=LAYER, named=unlike.named, others=unlike.alarms,
            )
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        tallies = {"same": self.same, "planted": self.unlike}
        return {
            "schema": 1,
            "rounds": len(self.runs["a"]),
            "side": self.side,
            "faults": planted(),
            "holds": self.holds,
            **{
                name: {**vars(tally), "words": {k: dict(v) for k, v in tally.words.items()}}
                for name, tally in tallies.items()
            },
            "spread": self.spread,
        }

    @cached_property
    def spread(self) -> dict[str, float]:
        """How far the medians of runs of one program lie apart, by figure: their standard deviation over their mean."""
        timings = Comparison(Known(self.runs["a"]), Known(self.runs["b"]), {}).timings
        medians = {timing.name: [*timing.medians[0], *timing.medians[1]] for timing in timings}
        return {name: stdev(values) / fmean(values) for name, values in medians.items()}


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    base = Path(options.output or ROOT / "results" / time.strftime("bench-compare-%Y%m%dT%H%M%SZ", time.gmtime()))
    base = base.resolve()
    base.mkdir(parents=True, exist_ok=True)
    make_runs(base, options.runs, options.rounds, time.monotonic() + 60 * options.minutes)
    bench = Bench.read(base, options.side, options.draws)
    write_json(base / "bench-compare.json", bench.as_json())
    for line in bench.lines():
        print(line)
    print(base / "bench-compare.json")
    return 0 if bench.holds else VerificationFailedError.exit_code


if __name__ == "__main__":
    interrupt_once()
    with nothing_left():
        run_main(main)
