"""Judges a machine against the declared stack: every finding of every rule, in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Literal

from env.audit import cann, chips, devices, environment, memory_and_disk, pairing
from env.audit.registry import Fields, NotApplicableError, Rule, Subject, listed
from env.language import Message, _
from env.probe.host import Host
from env.stack import Stack
from env.toml import load_toml

__all__ = ["RULES", "Finding", "Judgement", "audit", "judge"]

RULES: Mapping[str, Rule] = {
    **memory_and_disk.RULES,
    **devices.RULES,
    **chips.RULES,
    **cann.RULES,
    **pairing.RULES,
    **environment.RULES,
}
TEXTS = Path(__file__).with_name("rules.toml")
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
ANY, ASCEND, PAIRING = "any", "ascend", "pairing"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing: what, why it matters, the command that shows it and that fixes it."""

    id: str
    severity: Severity
    what: Message
    why: Message
    show: Message
    fix: Message
    source: str


@dataclass(frozen=True)
class Text:
    """A row of rules.toml. `stops` is "host", "python" or "storage" where setup must not go on."""

    id: str
    severity: Severity
    scope: str
    what: str
    why: str
    show: str
    fix: str
    source: str
    stops: str | None = None

    def finding(self, fields: Fields) -> Finding:
        what, why, show, fix = (_filled(text, fields) for text in (self.what, self.why, self.show, self.fix))
        severity = _borne(self.severity, fields.get("confidence", "high"))
        return Finding(self.id, severity, what, why, show, fix, self.source.format(**fields))


MOST: Mapping[str, Severity] = {"high": "error", "medium": "warning", "low": "note"}  # that evidence bears


def _borne(severity: Severity, confidence: str) -> Severity:
    """As much severity as the evidence bears: only high confidence makes an error, and low no more than a note."""
    return max(severity, MOST[confidence], key=SEVERITIES.index)


def _filled(text: str, fields: Fields) -> Message:
    """A text as a message that carries those of the fields that it names."""
    names = {name for _text, name, _spec, _conversion in Formatter().parse(text) if name}
    return Message(text, **{name: fields[name] for name in names})


@dataclass(frozen=True)
class Judgement:
    """What came of one rule: its findings, or why it had nothing to judge."""

    rule: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None


@cache
def texts() -> dict[str, Text]:
    """rules.toml, in its order."""
    return {name: Text(id=name, **row) for name, row in load_toml(TEXTS).items()}


def judge(subject: Subject, scopes: Iterable[str] | None = None) -> list[Judgement]:
    """What comes of every rule, in the order of rules.toml.

    On a machine that is no Ascend host, and is not required to be one, only the rules for any machine count.
    """
    if scopes is None:
        scopes = (ANY, ASCEND, PAIRING) if subject.host.ascend or subject.profile == "npu" else (ANY,)
    scopes = set(scopes)
    return [_apply(text, subject) for text in texts().values() if text.scope in scopes]


def _apply(text: Text, subject: Subject) -> Judgement:
    try:
        return Judgement(text.id, tuple(text.finding(fields) for fields in RULES[text.id](subject)))
    except NotApplicableError as error:
        return Judgement(text.id, skipped=error.reason)


def audit(
    host: Host, stack: Stack, *, profile: str, checkpoint_bytes: int | None = None, device: int | None = None
) -> list[Finding]:
    """Every finding on a machine, errors first.

    `profile` is "npu" or "host"; `checkpoint_bytes` the size of the weights, where it is known; `device` the card that
    is to be used, as torch counts them.
    """
    judgements = judge(Subject(host, stack, profile, checkpoint_bytes, device=device))
    return sort(finding for judgement in judgements for finding in judgement.findings)


def counted(findings: Sequence[Finding]) -> str:
    """How many of each kind: "1 error, 0 warnings, 2 notes"."""
    errors, warnings, notes = (sum(finding.severity == kind for finding in findings) for kind in SEVERITIES)
    return listed(
        [
            _("1 error") if errors == 1 else _("{count} errors", count=errors),
            _("1 warning") if warnings == 1 else _("{count} warnings", count=warnings),
            _("1 note") if notes == 1 else _("{count} notes", count=notes),
        ]
    )


def sort(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise as they came."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
