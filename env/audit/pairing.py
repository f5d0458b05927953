"""Rules on versions that must fit together: of a machine, or of the question "would this pair?", which needs none."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from env.audit.compat import Need
from env.audit.registry import TORCH_NPU, Fields, NotApplicableError, Rule, Subject, listed
from env.language import Message, _
from env.probe import vendor
from env.versions import base, inside, parse, public


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
            "source": release.source,
        }


def _cann_fields(subject: Subject) -> tuple[bool, bool, Fields]:
    """Whether torch-npu pairs with the active CANN, whether with another release of its series, and the texts."""
    rows = subject.compat.canns(subject.torch_npu)
    if not rows:
        raise NotApplicableError(_("no CANN is listed for torch-npu {version}", version=subject.torch_npu))
    cann = parse(subject.cann)
    exact = any(cann == parse(row.cann) for row in rows)
    # A row that names a series ("9.0") takes any release of it.
    series = any(cann.release(2) == parse(row.cann).release(2) and row.cann.count(".") == 1 for row in rows)
    near = any(cann.release(2) == parse(row.cann).release(2) for row in rows)
    build = subject.toolkit.innerversion
    return (
        exact or series,
        near,
        {
            "torch_npu": subject.torch_npu_shown,
            "cann": f"{subject.cann} ({build})" if build else subject.cann,
            "canns": ", ".join(row.cann for row in rows),
            "source": "; ".join(dict.fromkeys(f"{row.source} [{row.confidence}]" for row in rows)),
        },
    )


def torch_npu_cann(subject: Subject) -> Iterator[Fields]:
    paired, near, fields = _cann_fields(subject)
    if not paired and not near:
        yield fields


def torch_npu_cann_near(subject: Subject) -> Iterator[Fields]:
    paired, near, fields = _cann_fields(subject)
    if not paired and near:
        yield fields


def _oldest(hdk: tuple[str, ...]) -> str:
    return min(hdk, key=parse)


def _older(driver: str, named: str) -> bool:
    """Whether a driver is older than everything that a release or a series names: 24.1.0 than "25.0"."""
    parts = named.count(".") + 1
    if parts < 3:
        return parse(driver).release(parts) < parse(named).release(parts)
    return parse(driver) < parse(named)


def driver_too_old(subject: Subject) -> Iterator[Fields]:
    """Older than every driver that the CANN release, or the release note of its series, names."""
    rows = [row for row in (subject.compat.driver_row(subject.cann), subject.compat.series_row(subject.cann)) if row]
    if not rows:
        raise NotApplicableError(_("no driver is listed for CANN {version}", version=subject.cann))
    driver = subject.driver_release
    if all(_older(driver, _oldest(row.hdk)) for row in rows):
        row = rows[-1]
        yield {
            "driver": driver,
            "cann": subject.cann,
            "hdk": ", ".join(rows[0].hdk),
            "oldest": _oldest(row.hdk),
            "source": f"{row.source} [{row.confidence}]",
        }


def driver_unlisted(subject: Subject) -> Iterator[Fields]:
    """Not named for this CANN release, and yet not older than everything that its series names."""
    row = subject.compat.driver_row(subject.cann)
    if row is None:
        raise NotApplicableError(_("no driver is listed for CANN {version}", version=subject.cann))
    driver = subject.driver_release
    if row.lists(driver) or any(driver_too_old(subject)):
        return
    yield {
        "driver": driver,
        "cann": subject.cann,
        "hdk": ", ".join(row.hdk),
        "source": f"{row.source} [{row.confidence}]",
    }


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
    cann, python = parse(subject.cann), subject.python
    needs = [
        need
        for need in subject.compat.needs
        if parse(need.since) <= cann and (not need.python or SpecifierSet(need.python).contains(python))
    ]
    if not needs:
        raise NotApplicableError(_("nothing is listed for CANN {version}", version=subject.cann))
    return needs


def _meets(version: str, need: Need) -> bool:
    try:
        return SpecifierSet(need.version).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True  # not a version that can be judged


def numpy_cann(subject: Subject) -> Iterator[Fields]:
    subject.installed(TORCH_NPU)
    numpy = subject.installed("numpy").version
    for need in _needs(subject):
        if need.name == "numpy" and not _meets(numpy, need):
            yield {"numpy": numpy, "needed": need.version, "cann": subject.cann, "source": need.source}


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
            "source": _needs(subject)[0].source,
        }


def chip_unsupported(subject: Subject) -> Iterator[Fields]:
    subject.installed(TORCH_NPU)  # of one that is only declared: chip-unsupported-declared
    for kind in subject.chip_kinds:
        if kind.served_by(subject.torch_npu) is False:
            yield {"chip": kind.name, "torch_npu": subject.torch_npu_shown, "source": kind.source}


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
        except InvalidVersion:
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
    "driver-unlisted": driver_unlisted,
    "driver-cann-family": driver_cann_family,
    "driver-firmware": driver_firmware,
    "numpy-cann": numpy_cann,
    "cann-python-needs": cann_python_needs,
    "chip-unsupported": chip_unsupported,
    "declared-stack": declared_stack,
}
