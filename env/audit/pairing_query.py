"""`--stack torch=2.9.0 cann=9.0.0 ...`: would this pair?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packaging.version import Version

from env.audit import PAIRING, Judgement, judge
from env.audit.compat import Compat, load_compat
from env.audit.registry import TORCH_NPU, Subject
from env.errors import UsageError
from env.language import Message, _
from env.npu_smi import Chip
from env.probe.cann import FOLDERS
from env.probe.host import Distribution, Driver, Host, NpuSmi, Python, System, Toolkit
from env.stack import Stack, architecture
from env.versions import in_series, is_series, public, stem

PACKAGES = ("torch", TORCH_NPU, "torchaudio", "transformers", "numpy")
PARTS = (*PACKAGES, "cann", "python", "driver", "chip", "arch")
# The parts that each rule relates; the last one is what stays unjudged where the rule has nothing to judge by.
JUDGED: Mapping[str, tuple[str, ...]] = {
    "torch-npu-torch": (TORCH_NPU, "torch"),
    "torch-npu-cann": (TORCH_NPU, "cann"),
    "torch-npu-python": (TORCH_NPU, "python"),
    "torch-cpu-build": ("torch", "arch"),
    "torchaudio-torch": ("torch", "torchaudio"),
    "driver-too-old": ("cann", "driver"),
    "numpy-cann": ("cann", "numpy"),
    "chip-unsupported": (TORCH_NPU, "chip"),
    "transformers-logits": ("transformers",),
}
DOUBTING = ("torch-npu-unknown", "driver-evidence")  # findings that no table speaks of the versions, or barely
YES, NO, UNPUBLISHED, UNKNOWN = _("yes"), _("no"), _("not as published"), _("not known")


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
        stack[name] = architecture(version) if name == "arch" else version
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


def newest(name: str, version: str, compat: Compat) -> str:
    """The release that a pin like 2.9.* of a package stands for: the newest known one, as pip would take it."""
    if not is_series(version):
        return version
    known = {
        "torch": [row.torch for row in compat.releases],
        TORCH_NPU: [row.torch_npu for row in compat.releases if row.published],
        "transformers": [release for row in compat.transformers for release in (row.since, row.until)],
    }
    within = [release for release in known.get(name, ()) if in_series(release, version)]
    return max(within, key=Version, default=stem(version))


def machine_of(stack: Mapping[str, str], declared: Stack) -> Host:
    """A machine that has these versions and nothing else. Without a torch-npu it has the declared one."""
    compat = load_compat()
    packages = {name: newest(name, stack[name], compat) for name in PACKAGES if name in stack}
    packages.setdefault(TORCH_NPU, declared.packages[TORCH_NPU])
    release = compat.release(public(packages[TORCH_NPU]))
    requires: tuple[str, ...] = ()
    if stack.get("arch") == "x86_64" and release is not None:
        # as the METADATA of the published x86_64 wheels says
        requires = (f"torch=={release.torch}{'+cpu' if release.cpu_build else '.*'}",)
    toolkit = Toolkit("CANN", "cann-<version>", stack.get("cann"), active=True, folders=FOLDERS)
    chip = Chip(0, 0, None, stack.get("chip"), "OK", None, None, None, None, None, None)
    return Host(
        system=System(stack.get("arch", "")),
        python=Python(stem(stack.get("python", ""))),
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


def unjudged(stack: Mapping[str, str], judgements: Sequence[Judgement]) -> dict[str, str]:
    """The named parts that no rule could judge against the other named ones, each with the reason."""
    skipped = {judgement.rule: judgement.skipped for judgement in judgements}
    named = {*stack, TORCH_NPU}  # the declared one where none is named
    missing: dict[str, str] = {}
    related: set[str] = set()
    for rule, parts in JUDGED.items():
        if named.issuperset(parts):
            related.update(parts)
            reason = skipped[rule]
            if reason is not None:
                missing[parts[-1]] = reason
    alone = {part: _("nothing that it pairs with is named") for part in stack if part not in related}
    return {part: (alone | missing)[part] for part in stack if part in alone or part in missing}


def answer(stack: Mapping[str, str], judgements: Sequence[Judgement]) -> Message:
    """Whether versions pair: yes, no, not as published, or not known.

    No where the vendor says so or a bound of its own is crossed; yes only where every named part was judged.
    """
    findings = [finding for judgement in judgements for finding in judgement.findings]
    if any(finding.severity == "error" for finding in findings):
        return NO
    if any(finding.severity == "warning" and finding.id not in DOUBTING for finding in findings):
        return UNPUBLISHED
    return UNKNOWN if findings or unjudged(stack, judgements) else YES
