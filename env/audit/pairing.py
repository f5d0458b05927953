"""Rules on versions that must fit together: of a machine, or of the question "would this pair?", which needs none."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from env.audit.compat import Need, cited
from env.audit.registry import TORCH_NPU, Fields, NotApplicableError, Rule, Subject, listed
from env.audit.verdict import Verdict, older
from env.language import Message, _
from env.probe import vendor
from env.stack import MACHINES
from env.versions import base, inside, parse, public, stem


def torch_npu_unknown(subject: Subject) -> Iterator[Fields]:
    if subject.compat.release(subject.torch_npu) is None:
        yield {"torch_npu": subject.torch_npu_shown}


def torch_npu_torch(subject: Subject) -> Iterator[Fields]:
    """torch-npu is built for one torch release: 2.9.0.post1 for 2.9.0."""
    subject.installed(TORCH_NPU)
    torch = subject.installed("torch").version
    release = subject.compat.release(subject.torch_npu)
    fitting = release.torch if release else base(subject.torch_npu)
    if base(torch) != fitting:
        yield {"torch_npu": subject.torch_npu_shown, "torch": torch, "fitting": fitting}


def torch_cpu_build(subject: Subject) -> Iterator[Fields]:
    """What torch-npu's own metadata requires of torch; on x86_64 that is the +cpu build."""
    torch = subject.installed("torch").version
    machine = subject.host.system.machine
    if machine and machine not in MACHINES:
        raise NotApplicableError(_("torch-npu has no wheels for {machine}", machine=machine))
    for text in subject.installed(TORCH_NPU).requires:
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue
        pin = next((str(each.version) for each in required.specifier if each.operator == "=="), "")
        if required.name != "torch" or base(pin) != base(torch):
            continue  # another release of torch altogether is torch-npu-torch's finding
        if not required.specifier.contains(torch, prereleases=True):
            yield {"torch": torch, "required": f"torch{required.specifier}"}


def torchaudio_torch(subject: Subject) -> Iterator[Fields]:
    """The library links torch's own: equal releases, and the same build where both name one."""
    torch, torchaudio = (subject.installed(name).version for name in ("torch", "torchaudio"))
    builds = [version.partition("+")[2] for version in (torch, torchaudio)]
    if base(torch) != base(torchaudio) or (all(builds) and builds[0] != builds[1]):
        yield {"torch": torch, "torchaudio": torchaudio}


def torch_npu_python(subject: Subject) -> Iterator[Fields]:
    release = subject.compat.release(subject.torch_npu)
    if release is None or not release.pythons:
        raise NotApplicableError(_("no list of Pythons for torch-npu {version}", version=subject.torch_npu))
    if subject.python not in release.pythons:
        yield {
            "torch_npu": subject.torch_npu_shown,
            "python": subject.python,
            "pythons": ", ".join(release.pythons),
            "confidence": release.confidence,
            "source": cited(release),
        }


def _cann_verdict(subject: Subject) -> Verdict:
    verdict = subject.compat.cann_verdict(subject.torch_npu, subject.cann)
    if verdict.word == "unknown":
        raise NotApplicableError(_("no CANN is listed for torch-npu {version}", version=subject.torch_npu))
    return verdict


def _cann_fields(subject: Subject, verdict: Verdict) -> Fields:
    build = subject.toolkit.innerversion
    return {
        "torch_npu": subject.torch_npu_shown,
        "cann": f"{subject.cann} ({build})" if build else subject.cann,
        "canns": ", ".join(verdict.listed),
        "confidence": verdict.confidence,
        "source": verdict.cited,
    }


def torch_npu_cann(subject: Subject) -> Iterator[Fields]:
    """The vendor says no, or the CANN is older than all that the package is listed with."""
    verdict = _cann_verdict(subject)
    if verdict.word in ("no", "older"):
        yield _cann_fields(subject, verdict)


def torch_npu_cann_near(subject: Subject) -> Iterator[Fields]:
    verdict = _cann_verdict(subject)
    if verdict.word == "unlisted":
        yield _cann_fields(subject, verdict)


def _driver_verdict(subject: Subject) -> Verdict:
    driver, cann = subject.driver_release, subject.cann
    verdict = subject.compat.driver_verdict(driver, cann)
    if verdict.word == "unknown":
        raise NotApplicableError(_("no driver is listed for CANN {version}", version=cann))
    return verdict


def _driver_fields(subject: Subject, verdict: Verdict) -> Fields:
    return {
        "driver": subject.driver_release,
        "cann": subject.cann,
        "hdk": ", ".join(verdict.listed),
        "oldest": min(verdict.listed, key=lambda entry: parse(stem(entry)), default="?"),
        "confidence": verdict.confidence,
        "source": verdict.cited,
    }


def driver_too_old(subject: Subject) -> Iterator[Fields]:
    """Older than every driver that the CANN release is listed with."""
    verdict = _driver_verdict(subject)
    if verdict.word == "older":
        yield _driver_fields(subject, verdict)


def driver_refused(subject: Subject) -> Iterator[Fields]:
    """The vendor's own table says no to the two."""
    verdict = _driver_verdict(subject)
    if verdict.word == "no":
        yield _driver_fields(subject, verdict)


def driver_unlisted(subject: Subject) -> Iterator[Fields]:
    """Not named for this CANN release, and yet not older than everything that is."""
    verdict = _driver_verdict(subject)
    if verdict.word == "unlisted":
        yield _driver_fields(subject, verdict)


def driver_evidence(subject: Subject) -> Iterator[Fields]:
    """Named beside this CANN release, and not as a pair."""
    verdict = _driver_verdict(subject)
    if verdict.word == "yes" and verdict.confidence == "low":
        yield _driver_fields(subject, verdict)


def driver_cann_family(subject: Subject) -> Iterator[Fields]:
    """Each side lists the families of the other that it was made to know; the newer of the two must list the older."""
    driver, toolkit = subject.driver, subject.toolkit
    of_driver, of_cann = vendor.family(driver.innerversion or ""), vendor.family(toolkit.innerversion or "")
    if not of_driver or not of_cann or not driver.cann_families or not toolkit.driver_families:
        raise NotApplicableError(_("one side does not say which families it works with"))
    if vendor.family_inside(of_cann, driver.cann_families) or vendor.family_inside(of_driver, toolkit.driver_families):
        return
    yield {
        "driver": f"{driver.release} ({of_driver})",
        "cann": f"{toolkit.release} ({of_cann})",
        "driver_lists": ", ".join(driver.cann_families),
        "cann_lists": ", ".join(toolkit.driver_families),
        "path": driver.path,
        "toolkit": toolkit.path,
    }


def driver_firmware(subject: Subject) -> Iterator[Fields]:
    """The firmware lies in the driver's range; a driver older than the firmware's release must be in its list too.

    (A firmware cannot list drivers that came after it: 23.0.7 lists 23.0.0, and is shipped with driver 23.0.7.)
    """
    firmware = subject.host.firmware
    if firmware is None or firmware.version is None:
        raise NotApplicableError(_("the firmware's version is not known"))
    driver = subject.driver
    limits = driver.firmware_range
    if limits is None and not firmware.driver_ranges:
        raise NotApplicableError(_("neither side says what it goes with"))
    fields: Fields = {
        "driver": driver.release or "?",
        "firmware": _(
            "{version} ({release})", version=firmware.version, release=firmware.release or _("release not known")
        ),
        "path": firmware.path,
    }
    if limits is not None and not inside(firmware.version, *limits):
        yield fields | {"range": f"[{', '.join(limits)}]"}
    elif (
        firmware.driver_ranges
        and firmware.release
        and driver.release
        and parse(driver.release) < parse(firmware.release)
        and not any(inside(driver.release, low, high) for low, high in firmware.driver_ranges)
    ):
        versions = ", ".join(low for low, _high in firmware.driver_ranges)
        yield fields | {"range": _("drivers {versions}", versions=versions)}


def _needs(subject: Subject) -> list[Need]:
    """What the active CANN's Python parts need of this interpreter."""
    cann, python = parse(stem(subject.cann)), subject.python
    needs = [
        need
        for need in subject.compat.needs
        if parse(need.since) <= cann
        and (not need.until or cann < parse(need.until))
        and (not need.python or SpecifierSet(need.python).contains(python))
    ]
    if not needs:
        raise NotApplicableError(_("nothing is listed for CANN {version}", version=subject.cann))
    return needs


def _meets(version: str, need: Need) -> bool:
    try:
        return SpecifierSet(need.version).contains(Version(version), prereleases=True)
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number
        return True  # not a version that can be judged


def numpy_cann(subject: Subject) -> Iterator[Fields]:
    subject.installed(TORCH_NPU)
    numpy = subject.installed("numpy").version
    needs = [need for need in _needs(subject) if need.name == "numpy"]
    if not needs:
        raise NotApplicableError(_("nothing is listed for CANN {version}", version=subject.cann))
    for need in needs:
        if not _meets(numpy, need):
            yield {
                "numpy": numpy,
                "needed": need.version,
                "cann": subject.cann,
                "confidence": need.confidence,
                "source": cited(need),
            }


def cann_python_needs(subject: Subject) -> Iterator[Fields]:
    """Judged where torch-npu is installed: before that, the environment is not the one that will run."""
    subject.installed(TORCH_NPU)
    unmet: dict[str, Message] = {}
    for need in _needs(subject):
        package, installed = f"{need.name}{need.version}", subject.host.distribution(need.name)
        if installed is None:
            unmet[package] = _("{package} (absent)", package=package)
        elif need.name != "numpy" and not _meets(installed.version, need):
            unmet[package] = _("{package} (found {version})", package=package, version=installed.version)
    if unmet:
        yield {
            "packages": listed(list(unmet.values())),
            "names": " ".join(f"'{package}'" for package in unmet),
            "cann": subject.cann,
            "source": cited(_needs(subject)[0]),
        }


def chip_unsupported(subject: Subject) -> Iterator[Fields]:
    subject.installed(TORCH_NPU)  # of one that is only declared: chip-unsupported-declared
    for kind in subject.chip_kinds:
        for row in subject.compat.chip_since:
            if row.chip != kind.name:
                continue
            release = subject.compat.release(subject.torch_npu)
            if release is None or not release.line:
                raise NotApplicableError(
                    _("the TorchNPU release of torch-npu {version} is not known", version=subject.torch_npu)
                )
            if older(release.line, row.line):
                yield {
                    "chip": kind.name,
                    "torch_npu": subject.torch_npu_shown,
                    "confidence": row.confidence,
                    "source": cited(row),
                }


def transformers_logits(subject: Subject) -> Iterator[Fields]:
    """Releases whose forward pass leaves out this model's logits_scaling."""
    version = subject.installed("transformers").version
    row = subject.compat.transformers_row(version)
    if row is None:
        raise NotApplicableError(_("nothing is known of transformers {version}", version=version))
    if not row.right:
        yield {
            "transformers": version,
            "since": row.since,
            "until": row.until,
            "confidence": row.confidence,
            "source": cited(row),
        }


def declared_stack(subject: Subject) -> Iterator[Fields]:
    """What is installed against what is declared: public parts only, local tags differ from vendor to vendor."""
    subject.installed(TORCH_NPU)  # before that, the environment is not the one that will run
    drift: list[Message] = []
    for name, declared in subject.stack.packages.items():
        installed = subject.host.distribution(name)
        if installed is None:
            continue
        specifier = SpecifierSet(declared if declared[0] in "<>=!~" else f"=={declared}")
        try:
            fits = specifier.contains(Version(public(installed.version)), prereleases=True)
        except ValueError:  # InvalidVersion, or more digits than Python takes for a number
            fits = False
        if not fits:
            drift.append(
                _("{name} {version} (declared {declared})", name=name, version=installed.version, declared=declared)
            )
    if drift:
        yield {"drift": listed(drift)}


RULES: dict[str, Rule] = {
    "torch-npu-unknown": torch_npu_unknown,
    "torch-npu-torch": torch_npu_torch,
    "torch-cpu-build": torch_cpu_build,
    "torchaudio-torch": torchaudio_torch,
    "torch-npu-python": torch_npu_python,
    "torch-npu-cann": torch_npu_cann,
    "torch-npu-cann-near": torch_npu_cann_near,
    "driver-too-old": driver_too_old,
    "driver-refused": driver_refused,
    "driver-unlisted": driver_unlisted,
    "driver-evidence": driver_evidence,
    "driver-cann-family": driver_cann_family,
    "driver-firmware": driver_firmware,
    "numpy-cann": numpy_cann,
    "cann-python-needs": cann_python_needs,
    "chip-unsupported": chip_unsupported,
    "transformers-logits": transformers_logits,
    "declared-stack": declared_stack,
}
