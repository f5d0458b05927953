"""Two sides of runs held beside each other: what was different about them, and what came out different."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from env.language import Language
from verify.report.facts import Facts, figures, is_scalar, pick
from verify.report.scales import usable
from verify.report.statistics import Change, Timing, Word, compare
from verify.run.records import Evidence, Status
from verify.run.verdict import Verdict, judge

TIMED = (
    "encoder",
    "projector",
    "language_model",
)  # with the whole, prefill and a token: as many as Holm lets five runs
# What makes times of two runs incomparable, in a benchmark's signature.
SAME_NEEDED = (
    *(
        "device_name",
        "device_map",
        "dtype",
        "attention",
        "batch",
        "seq_len",
        "positions",
        "threads",
        "deterministic",
        "emulated",
    ),
    *("warmup", "weights_kind", "weights_sha256"),
)
MOVED = 1.5  # factor between the errors of one point, from which it is named
SMALL = 0.1  # of its limit: an error below that is far from mattering on either side
NAMED = 20  # differences of one kind that are listed


@dataclass(frozen=True)
class Side:
    """One side: its runs, in order."""

    runs: Sequence[tuple[str, Evidence]]

    @cached_property
    def facts(self) -> list[Facts]:
        return [Facts(evidence, judge(evidence)) for _, evidence in self.runs]

    @property
    def verdicts(self) -> list[Verdict]:
        return [facts.verdict for facts in self.facts]

    @property
    def devices(self) -> list[str]:
        return list(dict.fromkeys(str(verdict.device.used) for verdict in self.verdicts))

    def headlines(self, language: Language) -> list[str]:
        """The verdicts, each once."""
        return list(dict.fromkeys(verdict.headline(language) for verdict in self.verdicts))

    def values(self, read: Any) -> list[Any]:
        """What `read` tells of each run's facts, each once."""
        distinct: list[Any] = []
        for facts in self.facts:
            value = read(facts)
            if value not in distinct:
                distinct.append(value)
        return distinct


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same on both sides: all its values there, one after another."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Moved:
    """A layer whose error is another one on the second side."""

    name: str
    first: float | None  # error over limit
    second: float | None

    @property
    def beyond(self) -> bool:
        return self.second is None or self.second > 1


@dataclass(frozen=True)
class Comparison:
    """Both sides with all that is said of them."""

    first: Side
    second: Side
    bands: Mapping[str, float]

    @cached_property
    def incomparable(self) -> list[Difference]:
        """Conditions of the timing that are not the same: times of such sides say nothing of each other."""
        return self._differences((name, ("benchmark", name)) for name in SAME_NEEDED)

    @cached_property
    def conditions(self) -> list[Difference]:
        """What else is different about machine, versions and options."""
        found = list(self._versions())
        found += self._listed("host", lambda facts: facts.of("machine", "host"))
        found += self._listed("run", _options)
        return found

    def _versions(self) -> Iterator[Difference]:
        names = dict.fromkeys(name for facts in (*self.first.facts, *self.second.facts) for name, _ in _packages(facts))
        for name in names:
            yield from self._differing(name, lambda facts, name=name: dict(_packages(facts)).get(name))

    def _listed(self, prefix: str, read: Any) -> list[Difference]:
        names = dict.fromkeys(
            name for facts in (*self.first.facts, *self.second.facts) for name, _ in figures(read(facts))
        )
        skipped = {"memory_available_bytes", "disk_free_bytes"}  # of a moment
        return [
            difference
            for name in names
            if name not in skipped
            for difference in self._differing(
                f"{prefix}.{name}", lambda facts, n=name: dict(figures(read(facts))).get(n)
            )
        ]

    def _differences(self, named: Iterable[tuple[str, tuple[str, str]]]) -> list[Difference]:
        return [
            difference
            for name, (check, key) in named
            for difference in self._differing(name, lambda facts, c=check, k=key: facts.taken_with(c, k))
        ]

    def _differing(self, name: str, read: Any) -> Iterator[Difference]:
        one, other = self.first.values(read), self.second.values(read)
        if one != other:
            yield Difference(name, _told(one), _told(other))

    @cached_property
    def checks(self) -> list[tuple[str, str, str]]:
        """Each check with its status on either side, those that differ first."""
        names = dict.fromkeys(j.check for side in (self.first, self.second) for v in side.verdicts for j in v.checks)
        rows = [
            (
                name,
                _told(self.first.values(lambda facts, n=name: facts.judged(n).status.value)),
                _told(self.second.values(lambda facts, n=name: facts.judged(n).status.value)),
            )
            for name in names
        ]
        return sorted(rows, key=lambda row: row[1] == row[2])

    @cached_property
    def results(self) -> list[Difference]:
        """Tokens, texts and bits that are not the same, exactly compared."""
        found = list(self._differing("generate.token_ids", lambda facts: facts.of("generate", "token_ids")))
        for component in dict.fromkeys(
            n for s in (self.first, self.second) for f in s.facts for n, _ in f.named("parity", "components")
        ):
            for measure in ("rel_l2", "max_abs"):
                found += self._differing(
                    f"parity.{component}.{measure}",
                    lambda facts, c=component, m=measure: facts.of("parity", "components", c, m),
                )
        found += self._differing("logits.rel_l2", lambda facts: facts.of("layers", "logits", "rel_l2"))
        return found[:NAMED]

    @cached_property
    def texts(self) -> list[Difference]:
        """Transcripts that are not the same letter for letter."""
        keys = dict.fromkeys(k for s in (self.first, self.second) for f in s.facts for k in _texts(f))
        found: list[Difference] = []
        for clip, target in keys:
            name = clip if target is None else f"{clip} → {target}"
            found += self._differing(name, lambda facts, key=(clip, target): _texts(facts).get(key))
        return found[:NAMED]

    @cached_property
    def layers(self) -> list[Moved]:
        """The innermost layers whose error, fed the reference's own input, is another one on the second side."""
        return [moved for check in ("layers", "sharp") for moved in self._moved(check)][:NAMED]

    def errors(self, check: str) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Error over limit of every point of a check of layers, by name, on either side."""
        return _errors(self.first, check), _errors(self.second, check)

    def _moved(self, check: str) -> list[Moved]:
        one, other = self.errors(check)
        moved: dict[str, Moved] = {}
        for name in one.keys() & other.keys():
            if _is_moved(one[name], other[name]):
                layer = name.partition(" > ")[0]
                candidate = Moved(layer, one[name], other[name])
                held = moved.get(layer)
                if held is None or _size(candidate) > _size(held):
                    moved[layer] = candidate
        inner = [m for m in moved.values() if not any(other.startswith(f"{m.name}.") for other in moved)]
        order = {name.partition(" > ")[0]: place for place, name in enumerate([*one, *other])}
        return sorted(inner, key=lambda m: order[m.name])

    @cached_property
    def changes(self) -> list[Change]:
        """What may be said of each time; nothing where the conditions are not the same."""
        return compare(self.timings, self.bands)

    @cached_property
    def timings(self) -> list[Timing]:
        """The samples of each figure that is compared."""
        return [
            *(self._timing(name, "components", name, "samples_ms") for name in TIMED),
            self._timing("total", "total", "samples_ms"),
            self._timing("prefill", "decode", "prefill_samples_ms"),
            self._timing("token", "decode", "samples_ms"),
        ]

    def _timing(self, name: str, *path: str) -> Timing:
        sides = [
            [
                [float(v) for v in samples if usable(v)]
                for facts in side.facts
                if isinstance(samples := facts.of("benchmark", *path), list)
            ]
            for side in (self.first, self.second)
        ]
        return Timing(name, sides[0], sides[1])

    @property
    def floors(self) -> list[Difference]:
        """The machine's own rates on both sides: where these moved, the machine did."""
        found = []
        for name in ("read_gb_s", "gemm_gflop_s"):
            one, other = (
                [float(v) for f in side.facts if usable(v := f.of("benchmark", "floors", name), log=True)]
                for side in (self.first, self.second)
            )
            if one and other:
                found.append(Difference(name, f"{_middle(one):.4g}", f"{_middle(other):.4g}"))
        return found

    @property
    def worse_checks(self) -> list[str]:
        """The checks that passed throughout on the first side and did not on the second."""
        passed = Status.PASS.value
        return [name for name, one, other in self.checks if one == passed != other]

    def alarms(self) -> dict[str, bool]:
        """By what `--fail-on` names: whether the second side is worse there."""
        slower = not self.incomparable and any(change.word is Word.SLOWER for change in self.changes)
        return {
            "slower": slower,
            "differs": bool(self.results or self.texts or self.layers),
            "checks": bool(self.worse_checks),
        }


def _middle(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _told(values: Sequence[Any]) -> str:
    return " / ".join("-" if value is None else str(value) for value in values)


def _packages(facts: Facts) -> list[tuple[str, object]]:
    return [(str(row.get("name")), row.get("found")) for row in facts.rows("packages", "rows")]


def _options(facts: Facts) -> dict[str, object]:
    run = facts.evidence.run
    if run is None:
        return {}
    kept = ("level", "device", "dtype", "seed", "model_dir")
    return {**{name: getattr(run, name) for name in kept}, "project": dict(run.project)}


def _texts(facts: Facts) -> dict[tuple[str, str | None], Any]:
    rows = facts.rows("speech", "transcripts")
    return {
        (str(row.get("clip")), row.get("target")): row.get("hypothesis") for row in rows if is_scalar(row.get("target"))
    }


def _errors(side: Side, check: str) -> dict[str, float | None]:
    """Error over limit of every point, by name, of the side's last run that has them."""
    errors: dict[str, float | None] = {}
    for facts in side.facts:
        stack = facts.of(check, "isolated", "stack")
        names, excess = pick(stack, "names"), pick(stack, "excess")
        if isinstance(names, list) and isinstance(excess, list) and len(names) == len(excess):
            errors = {
                f"{name}": float(value) if usable(value) else None for name, value in zip(names, excess, strict=True)
            }
    return errors


def _is_moved(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is not other
    high, low = max(one, other), min(one, other)
    return high > SMALL and (low == 0 or high / low >= MOVED)


def _size(moved: Moved) -> float:
    ends = [value for value in (moved.first, moved.second) if value is not None]
    return math.inf if len(ends) < 2 else max(ends)
