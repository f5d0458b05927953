"""Judges a machine against the declared stack: every finding of every rule, in one run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from env.audit import cann, devices, environment, pairing, resources
from env.audit.case import RULES, Case, Fields, NotApplicableError
from env.probe.host import Host
from env.stack import Stack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Finding", "Judgement", "audit", "judge"]

# The modules register their rules when they are imported.
_MODULES = (resources, devices, cann, pairing, environment)
TEXTS = Path(__file__).with_name("rules.toml")
SEVERITIES = ("error", "warning", "note")
ANY, ASCEND, PAIRING = "any", "ascend", "pairing"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing: what, why it matters, the command that shows it and that fixes it."""

    id: str
    severity: str  # error, warning, note
    what: str
    why: str
    show: str
    fix: str
    source: str


@dataclass(frozen=True)
class Text:
    """A row of rules.toml. `stops` is "host", "python" or "storage" where setup must not go on."""

    id: str
    severity: str
    scope: str
    what: str
    why: str
    show: str
    fix: str
    source: str
    stops: str | None = None

    def finding(self, fields: Fields) -> Finding:
        texts = (text.format(**fields) for text in (self.what, self.why, self.show, self.fix, self.source))
        return Finding(self.id, self.severity, *texts)


@dataclass(frozen=True)
class Judgement:
    """What one rule said: its findings, or why it had nothing to judge."""

    rule: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None


@cache
def texts() -> dict[str, Text]:
    """rules.toml, in its order."""
    data: dict[str, dict[str, Any]] = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    return {name: Text(id=name, **row) for name, row in data.items()}


def judge(case: Case, scopes: Iterable[str] | None = None) -> list[Judgement]:
    """Every rule's word on a case, in the order of rules.toml.

    On a machine that is no Ascend host, and is not asked to be one, only the rules for any machine are heard.
    """
    if scopes is None:
        scopes = (ANY, ASCEND, PAIRING) if case.host.ascend or case.profile == "npu" else (ANY,)
    scopes = set(scopes)
    return [_ask(text, case) for text in texts().values() if text.scope in scopes]


def _ask(text: Text, case: Case) -> Judgement:
    try:
        return Judgement(text.id, tuple(text.finding(fields) for fields in RULES[text.id](case)))
    except NotApplicableError as reason:
        return Judgement(text.id, skipped=str(reason))


def audit(host: Host, stack: Stack, *, profile: str, checkpoint_bytes: int | None = None) -> list[Finding]:
    """Every finding on a machine, errors first.

    `profile` is "npu" or "host"; `checkpoint_bytes` the size of the weights, where it is known.
    """
    case = Case(host, stack, profile, checkpoint_bytes)
    return sort(finding for judgement in judge(case) for finding in judgement.findings)


def counted(findings: Sequence[Finding]) -> str:
    """How many of each kind: "1 error, 0 warnings, 2 notes"."""
    counts = [(kind, sum(finding.severity == kind for finding in findings)) for kind in SEVERITIES]
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts)


def sort(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise as they came."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
