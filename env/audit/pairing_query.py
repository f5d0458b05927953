"""`--stack torch=2.9.0 cann=9.0.0 ...`: would this pair? And `--suggest`: what nearest to it would?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from env.audit import PAIRING, Judgement, judge
from env.audit.compat import Compat, Pair, Release, load_compat
from env.audit.registry import TORCH_NPU, Subject
from env.errors import UsageError
from env.language import Message, _
from env.npu_smi import Chip
from env.probe.cann import FOLDERS
from env.probe.host import Distribution, Driver, Host, NpuSmi, Python, System, Toolkit
from env.stack import Stack
from env.versions import base, in_series, parse, public

PACKAGES = ("torch", TORCH_NPU, "torchaudio", "numpy")
PARTS = (*PACKAGES, "cann", "python", "driver", "chip", "arch")
# How much trouble a change is: a package is a minute, a driver needs root, a maintenance window and a reboot.
TROUBLE = {"driver": 6, "cann": 4, "python": 2}
EVIDENCE = (_("high"), _("medium"), _("low"))


def read_stack(words: Sequence[str]) -> dict[str, str]:
    """`torch=2.9.0 cann=9.0.0` as a table. `==`, `_` for `-` and `hdk` for `driver` are taken too.

    Raises:
        UsageError: a word is no NAME=VERSION, or names nothing that pairs.
    """
    stack: dict[str, str] = {}
    for word in words:
        name, equals, version = word.partition("=")
        name = name.strip().lower().replace("_", "-")
        name = {"hdk": "driver", "machine": "arch", "toolkit": "cann"}.get(name, name)
        version = version.lstrip("=").strip()
        if not equals or not version or name not in PARTS:
            raise UsageError(
                _("--stack {word}: NAME=VERSION is needed", word=repr(word)),
                why=_("names: {names}", names=", ".join(PARTS)),
                next="nox -s audit -- --help",
            )
        stack[name] = version
    return stack


def machine_stack(host: Host) -> dict[str, str]:
    """What a machine answers to the same question: the parts of it that pair."""
    packages = {name: each.version for name in PACKAGES if (each := host.distribution(name)) is not None}
    parts = {
        "cann": host.toolkit.release if host.toolkit else None,
        "driver": host.driver.release if host.driver else None,
        "python": host.python.version or None,
        "chip": host.npu_smi.chips[0].name if host.npu_smi.chips else None,
        "arch": host.system.machine or None,
    }
    return packages | {name: value for name, value in parts.items() if value}


def machine_of(stack: Mapping[str, str], declared: Stack) -> Host:
    """A machine that has these versions and nothing else. Without a torch-npu it has the declared one."""
    torch_npu = stack.get(TORCH_NPU, declared.packages[TORCH_NPU])
    release = load_compat().release(public(torch_npu))
    packages = {name: stack[name] for name in PACKAGES if name in stack} | {TORCH_NPU: torch_npu}
    requires: tuple[str, ...] = ()
    if stack.get("arch") == "x86_64" and release is not None:
        requires = (f"torch=={release.torch}+cpu",)  # as the METADATA of every published x86_64 wheel says
    toolkit = Toolkit("CANN", "cann-<version>", stack.get("cann"), active=True, folders=FOLDERS)
    chip = Chip(0, 0, None, stack.get("chip"), "OK", None, None, None, None, None, None)
    return Host(
        system=System(stack.get("arch", "")),
        python=Python(stack.get("python", "")),
        distributions=tuple(
            Distribution(name, version, "", requires if name == TORCH_NPU else ()) for name, version in packages.items()
        ),
        toolkits=(toolkit,) if "cann" in stack else (),
        driver=Driver("driver", release=stack["driver"]) if "driver" in stack else None,
        npu_smi=NpuSmi("ok", chips=(chip,)) if "chip" in stack else NpuSmi("not captured"),
    )


def judge_stack(stack: Mapping[str, str], declared: Stack) -> list[Judgement]:
    """What comes of the pairing rules for these versions."""
    return judge(Subject(machine_of(stack, declared), declared, "npu"), (PAIRING,))


def answer(judgements: Sequence[Judgement]) -> Message:
    """Yes, no, or why it is neither."""
    severities = {finding.severity for judgement in judgements for finding in judgement.findings}
    if "error" in severities:
        return _("no")
    if severities:
        return _("not known to")
    return _("yes") if any(judgement.skipped is None for judgement in judgements) else _("nothing to judge")


@dataclass(frozen=True)
class Suggestion:
    """Versions that pair, what of the stack in question they change, and the evidence for them."""

    stack: dict[str, str]
    changes: tuple[str, ...]
    doubts: int  # parts of it that no table speaks of
    confidence: str
    source: str
    published: bool  # PyPI has this torch-npu


def suggest(stack: Mapping[str, str], declared: Stack, most: int = 5) -> list[Suggestion]:
    """The pairings nearest to `stack` that no rule objects to: least trouble first, then the best evidence."""
    compat = load_compat()
    suggestions: dict[tuple[tuple[str, str], ...], Suggestion] = {}
    for pair in compat.pairs:
        release = compat.release(pair.torch_npu)
        if release is None:
            continue
        for candidate in _candidates(stack, declared, compat, pair, release):
            severities = [each.severity for rule in judge_stack(candidate, declared) for each in rule.findings]
            if "error" not in severities:
                changes = tuple(name for name in candidate if name in stack and stack[name] != candidate[name])
                doubts = len(severities) + ("driver" in stack and compat.driver_row(candidate["cann"]) is None)
                suggestion = Suggestion(candidate, changes, doubts, pair.confidence, pair.source, release.published)
                suggestions.setdefault(tuple(sorted(candidate.items())), suggestion)
    return sorted(suggestions.values(), key=lambda each: _rank(each, stack, declared))[:most]


def _rank(suggestion: Suggestion, stack: Mapping[str, str], declared: Stack) -> tuple[object, ...]:
    torch = base(stack.get("torch", declared.packages["torch"]))
    trouble = sum(TROUBLE.get(name, 1) for name in suggestion.changes) + TROUBLE["driver"] * suggestion.doubts
    other_torch = base(suggestion.stack["torch"]) != torch
    return (
        trouble + 2 * other_torch,
        EVIDENCE.index(suggestion.confidence),
        suggestion.stack[TORCH_NPU] != public(stack.get(TORCH_NPU, declared.packages[TORCH_NPU])),
        not suggestion.published,
        *(-number for number in parse(suggestion.stack["cann"]).release(3)),
    )


def _candidates(
    stack: Mapping[str, str], declared: Stack, compat: Compat, pair: Pair, release: Release
) -> Iterator[dict[str, str]]:
    """The versions in question with as few as possible of them replaced so that they fit one row of the table."""
    candidate = dict(stack)
    if public(stack.get(TORCH_NPU, "")) != release.torch_npu:
        candidate[TORCH_NPU] = release.torch_npu
    build = "+cpu" if stack.get("arch") == "x86_64" else ""
    for name in ("torch", "torchaudio"):
        version = stack.get(name, "")
        fits = base(version) == release.torch and version.endswith(build)
        if (name == "torch" or version) and not fits:
            candidate[name] = release.torch + build
    if not in_series(stack.get("cann", ""), pair.cann):
        candidate["cann"] = pair.cann
    if "python" in stack and release.pythons:
        minor = ".".join(stack["python"].split(".")[:2])
        if minor not in release.pythons:
            usable = [python for python in declared.pythons if python in release.pythons]
            candidate["python"] = max(usable or release.pythons, key=lambda python: parse(python).key)
    judgements = judge_stack(candidate, declared)
    if "numpy" in stack and any(each.rule == "numpy-cann" and each.findings for each in judgements):
        candidate["numpy"] = declared.packages["numpy"]
    yield from _with_drivers(candidate, compat)


def _with_drivers(candidate: dict[str, str], compat: Compat) -> Iterator[dict[str, str]]:
    """With the driver as it is, and with the newest one that the CANN release is listed with."""
    yield candidate
    row = compat.driver_row(candidate["cann"])
    if row is not None and "driver" in candidate and not row.lists(candidate["driver"]):
        yield candidate | {"driver": max(row.hdk, key=parse)}
