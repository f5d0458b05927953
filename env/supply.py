"""`nox -s supply`: what is known of the pins of every lock: vulnerabilities, by pip-audit, and licences.

pip-audit asks the advisory database of the Python Packaging Authority, and says "No known vulnerabilities found" of
pins that it could not look up, too (its JSON has them as skipped). Here those are rows of their own, and the exit code
is another.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from env import builder
from env.arguments import Parser
from env.installer import Sources, choose, configured
from env.language import _, translate
from env.lock import every_pin
from env.runner import Runner, run
from env.stack import MACHINES, REQUIREMENTS, load_stack
from env.wheelhouse.collect import licence

VULNERABLE, NOT_LOOKED_UP = 3, 4  # exit codes
LIMIT_S = 1800.0
IMPORTS = ("pip_audit",)

Pin = tuple[str, str]  # canonical name, version


@dataclass(frozen=True)
class Advisory:
    """A known vulnerability of a pin."""

    pin: Pin
    id: str
    fixed: tuple[str, ...]  # versions


@dataclass(frozen=True)
class Answers:
    """What was asked about the pins: advisories, and why a pin could not be looked up."""

    advisories: tuple[Advisory, ...]
    skipped: Mapping[Pin, str]


def pins() -> dict[Pin, list[str]]:
    """Every pin with the locks that hold it; what no lock holds, too, under "stack.toml"."""
    held: dict[Pin, list[str]] = defaultdict(list)
    for lock in sorted(REQUIREMENTS.rglob("*.txt")):
        for pin in every_pin(lock):
            held[pin].append(lock.name)
    for profile in load_stack().profiles.values():
        for machine in MACHINES:
            for unlocked in profile.unlocked_on(machine):
                held[str(canonicalize_name(unlocked.name)), unlocked.version].append("stack.toml")
    return {pin: sorted(set(locks)) for pin, locks in sorted(held.items())}


def batches(asked: Iterable[Pin]) -> Iterator[list[Pin]]:
    """The pins in lists that name no package twice: pip-audit takes no file that does."""
    left = list(asked)
    while left:
        batch = {name: (name, version) for name, version in reversed(left)}
        yield sorted(batch.values())
        left = [pin for pin in left if pin not in batch.values()]


def ask(asked: Iterable[Pin], python: Path, runner: Runner = run) -> Answers:
    """Have pip-audit look up every pin, and nothing be installed or resolved."""
    advisories: list[Advisory] = []
    skipped: dict[Pin, str] = {}
    for batch in batches(asked):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(f"{name}=={version}\n" for name, version in batch))
            file.flush()
            command = [str(python), "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip"]
            done = runner([*command, "--format", "json", "--progress-spinner", "off"], timeout=LIMIT_S)
        rows = _rows(done.stdout)
        if rows is None:
            reason = (done.stderr.strip().splitlines() or [str(_("it said nothing"))])[-1]
            skipped |= dict.fromkeys(batch, reason)
            continue
        for pin in batch:
            row = rows.get(pin[0])
            if row is None:
                skipped[pin] = str(_("pip-audit does not name it"))
            elif "skip_reason" in row:
                skipped[pin] = str(row["skip_reason"])
            else:
                for one in row.get("vulns", ()):
                    advisories.append(Advisory(pin, str(one["id"]), tuple(map(str, one.get("fix_versions", ())))))
    return Answers(tuple(advisories), skipped)


def _rows(text: str) -> dict[str, Any] | None:
    """The dependencies of pip-audit's JSON by canonical name; None where it is none."""
    try:
        return {str(canonicalize_name(row["name"])): row for row in json.loads(text)["dependencies"]}
    except (ValueError, KeyError, TypeError):
        return None


def licences(asked: Iterable[Pin], venvs: Path = builder.VENVS) -> dict[str, list[Pin]]:
    """The pins by licence, as the metadata of an environment that stands here states it; "" of those in none."""
    sites = [str(path) for path in sorted(venvs.glob("*/lib/python*/site-packages"))]
    stated = {
        (str(canonicalize_name(one.metadata["Name"])), one.version): licence(one.metadata) or ""  # type: ignore[arg-type]
        for one in distributions(path=sites)
        if one.metadata["Name"]
    }
    by_licence: dict[str, list[Pin]] = defaultdict(list)
    for pin in asked:
        by_licence[stated.get(pin, "")].append(pin)
    return dict(sorted(by_licence.items(), key=lambda item: (not item[0], item[0].lower())))


def lines(
    held: Mapping[Pin, Sequence[str]], answers: Answers, by_licence: Mapping[str, Sequence[Pin]]
) -> Iterator[str]:
    """What a reader is told."""
    for one in answers.advisories:
        name, version = one.pin
        fixed = list(one.fixed) or _("no version")
        yield _(
            "{name} {version}: {id}, fixed in {fixed} ({locks})",
            name=name,
            version=version,
            id=one.id,
            fixed=fixed,
            locks=list(held[one.pin]),
        )
    for (name, version), reason in answers.skipped.items():
        yield _("{name} {version}: could not be looked up: {reason}", name=name, version=version, reason=reason)
    for stated, some in by_licence.items():
        names = [f"{name} {version}" for name, version in some]
        yield _("licence {licence}: {names}", licence=stated or _("not known here"), names=names)
    looked_up = len(held) - len(answers.skipped)
    yield _(
        "{count} pins: {looked_up} looked up, {vulnerable} with a known vulnerability, {skipped} not looked up",
        count=len(held),
        looked_up=looked_up,
        vulnerable=len({one.pin for one in answers.advisories}),
        skipped=len(answers.skipped),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m env supply",
        description=_("Known vulnerabilities and licences of every pin of the locks, and what could not be looked up."),
    )
    parser.parse_args(argv)
    plan = builder.Plan("supply", builder.VENVS / "supply", REQUIREMENTS / "supply.txt", IMPORTS)
    builder.build(plan, choose(), configured(Sources()))
    held = pins()
    answers = ask(held, plan.python)
    for line in lines(held, answers, licences(held)):
        print(translate(line))
    if answers.advisories:
        return VULNERABLE
    return NOT_LOOKED_UP if answers.skipped else 0
