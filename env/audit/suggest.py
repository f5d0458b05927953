"""`--suggest`: the pairings nearest to a set of versions, in releases that can be installed, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from env.audit.compat import Compat, Release, cited, load_compat
from env.audit.pairing_query import judge_stack, newest
from env.audit.registry import TORCH_NPU
from env.audit.verdict import CONFIDENCES, names, weakest
from env.language import _
from env.stack import Stack
from env.versions import base, is_series, parse, public, stem

# How much trouble a change is: a package is a minute, a driver needs root, a maintenance window and a reboot.
TROUBLE = {"driver": 6, "cann": 4, "python": 2}
EVIDENCE = (_("high"), _("medium"), _("low"))  # the confidences as a reader sees them


@dataclass(frozen=True)
class Suggestion:
    """Versions that pair, what of the stack in question they change, and the evidence for what they change."""

    stack: dict[str, str]
    changes: tuple[str, ...]
    doubts: int  # findings that remain, and parts of it that no table speaks of
    confidence: str
    source: str
    published: bool  # PyPI has this torch-npu


def suggest(stack: Mapping[str, str], declared: Stack, most: int = 5) -> list[Suggestion]:
    """The pairings nearest to `stack` that no rule objects to: least trouble first, then the best evidence."""
    compat = load_compat()
    suggestions: dict[tuple[tuple[str, str], ...], Suggestion] = {}
    for release in compat.releases:
        if not release.published and release.torch_npu != _package(stack, declared):
            continue
        for candidate in _candidates(stack, declared, compat, release):
            severities = [each.severity for rule in judge_stack(candidate, declared) for each in rule.findings]
            if "error" not in severities:
                suggestion = _suggestion(stack, candidate, compat, release, len(severities))
                suggestions.setdefault(tuple(sorted(candidate.items())), suggestion)
    return sorted(suggestions.values(), key=lambda each: _rank(each, stack, declared))[:most]


def _package(stack: Mapping[str, str], declared: Stack) -> str:
    return public(newest(TORCH_NPU, stack.get(TORCH_NPU, declared.packages[TORCH_NPU]), load_compat()))


def _suggestion(
    stack: Mapping[str, str], candidate: dict[str, str], compat: Compat, release: Release, findings: int
) -> Suggestion:
    """A candidate with the evidence of what it changes; where it changes nothing, of all that it pairs."""
    changes = tuple(name for name in candidate if name in stack and stack[name] != candidate[name])
    pair = compat.cann_verdict(release.torch_npu, candidate["cann"])
    evidence = {
        TORCH_NPU: (pair.confidence, pair.cited),
        "cann": (pair.confidence, pair.cited),
        **dict.fromkeys(("torch", "torchaudio", "python"), (release.confidence, cited(release))),
    }
    doubts = findings
    if "driver" in candidate:
        driver = compat.driver_verdict(candidate["driver"], candidate["cann"])
        doubts += driver.word == "unknown"
        if driver.word != "unknown":
            evidence["driver"] = (driver.confidence, driver.cited)
    library = compat.transformers_row(candidate.get("transformers", ""))
    if library is not None:
        evidence["transformers"] = (library.confidence, cited(library))
    borne = [evidence[name] for name in (changes or evidence) if name in evidence] or [evidence["cann"]]
    return Suggestion(
        candidate,
        changes,
        doubts,
        weakest(confidence for confidence, _source in borne),
        "; ".join(dict.fromkeys(source for _confidence, source in borne)),
        release.published,
    )


def _rank(suggestion: Suggestion, stack: Mapping[str, str], declared: Stack) -> tuple[object, ...]:
    torch = base(stack.get("torch", declared.packages["torch"]))
    trouble = sum(TROUBLE.get(name, 1) for name in suggestion.changes) + TROUBLE["driver"] * suggestion.doubts
    other_torch = base(suggestion.stack["torch"]) != torch
    return (
        trouble + 2 * other_torch,
        CONFIDENCES.index(suggestion.confidence),
        not any(names(row.cann, suggestion.stack["cann"]) for row in load_compat().canns(suggestion.stack[TORCH_NPU])),
        suggestion.stack[TORCH_NPU] != _package(stack, declared),
        not suggestion.published,
        *(-number for number in parse(suggestion.stack["cann"]).release(3)),
        *(-number for number in parse(suggestion.stack[TORCH_NPU]).release(3)),
    )


def _candidates(
    stack: Mapping[str, str], declared: Stack, compat: Compat, release: Release
) -> Iterator[dict[str, str]]:
    """The versions in question with as few as possible of them replaced so that they fit one torch-npu package."""
    candidate = {name: newest(name, version, compat) for name, version in stack.items()}
    candidate |= {name: stack[name] for name in ("cann", "driver") if name in stack}
    if _package(stack, declared) != release.torch_npu or TORCH_NPU not in stack:
        candidate[TORCH_NPU] = release.torch_npu
    build = "+cpu" if stack.get("arch") == "x86_64" and release.cpu_build else ""
    for name in ("torch", "torchaudio"):
        version = candidate.get(name, "")
        fits = base(version) == release.torch and version.endswith(build)
        if (name == "torch" or version) and not fits:
            candidate[name] = release.torch + build
    if "python" in stack and release.pythons:
        minor = ".".join(stem(stack["python"]).split(".")[:2])
        if minor not in release.pythons:
            usable = [python for python in declared.pythons if python in release.pythons]
            candidate["python"] = max(usable or release.pythons, key=lambda python: parse(python).key)
    library = compat.transformers_row(candidate.get("transformers", ""))
    if library is not None and not library.right:
        candidate["transformers"] = declared.packages["transformers"]
    for cann in _canns(stack, compat, release):
        yield from _with_drivers(_with_numpy(candidate | {"cann": cann}, declared), compat)


def _canns(stack: Mapping[str, str], compat: Compat, release: Release) -> Iterator[str]:
    """The CANN in question where it pairs; else, and beside it, what the package was released with, and its newest."""
    kept = stack.get("cann", "")
    if kept and compat.cann_verdict(release.torch_npu, kept).word == "yes":
        yield kept
        if "driver" not in stack:
            return
    paired = [
        cann for cann in compat.cann_releases if compat.cann_verdict(release.torch_npu, cann).word == "yes"
    ]  # newest first
    near = [cann for cann in paired if parse(cann).release(2) == parse(stem(kept)).release(2)] if kept else []
    own = [row.cann for row in compat.canns(release.torch_npu) if not is_series(row.cann)]
    yield from dict.fromkeys([*near[:1], *own, *paired[:1]])


def _with_numpy(candidate: dict[str, str], declared: Stack) -> dict[str, str]:
    """With the declared numpy where the one in question does not go with the CANN."""
    judged = judge_stack(candidate, declared) if "numpy" in candidate else []
    if any(each.rule == "numpy-cann" and each.findings for each in judged):
        return candidate | {"numpy": declared.packages["numpy"]}
    return candidate


def _with_drivers(candidate: dict[str, str], compat: Compat) -> Iterator[dict[str, str]]:
    """With the driver as it is, and with the newest release that the CANN is listed with."""
    yield candidate
    if "driver" not in candidate or compat.driver_verdict(candidate["driver"], candidate["cann"]).word == "yes":
        return
    verdicts = {hdk: compat.driver_verdict(hdk, candidate["cann"]) for hdk in compat.hdk_releases}
    usable = [hdk for hdk, verdict in verdicts.items() if verdict.word == "yes"]
    better = [hdk for hdk in usable if verdicts[hdk].confidence != "low"]
    if usable:
        yield candidate | {"driver": (better or usable)[0]}
