"""Rules on versions that must fit together: of a machine, or of the question "would this pair?", asked without one."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from env.audit.case import TORCH_NPU, Case, Fields, NotApplicableError, rule
from env.audit.compat import Need
from env.probe import vendor
from env.versions import base, inside, parse, public


@rule("torch-npu-unknown")
def torch_npu_unknown(case: Case) -> Iterator[Fields]:
    if case.compat.release(case.torch_npu) is None:
        yield {"torch_npu": case.torch_npu_shown}


@rule("torch-npu-torch")
def torch_npu_torch(case: Case) -> Iterator[Fields]:
    """torch-npu is built for one torch release: 2.9.0.post1 for 2.9.0."""
    case.installed(TORCH_NPU)
    torch = case.installed("torch").version
    release = case.compat.release(case.torch_npu)
    wanted = release.torch if release else base(case.torch_npu)
    if base(torch) != wanted:
        yield {"torch_npu": case.torch_npu_shown, "torch": torch, "wanted": wanted}


@rule("torch-cpu-build")
def torch_cpu_build(case: Case) -> Iterator[Fields]:
    """What torch-npu's own metadata requires of torch; on x86_64 that is the +cpu build."""
    torch = case.installed("torch").version
    for text in case.installed(TORCH_NPU).requires:
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue
        wanted = next((str(each.version) for each in required.specifier if each.operator == "=="), "")
        if required.name != "torch" or base(wanted) != base(torch):
            continue  # another release of torch altogether is torch-npu-torch's finding
        if not required.specifier.contains(torch, prereleases=True):
            yield {"torch": torch, "required": f"torch{required.specifier}"}


@rule("torchaudio-torch")
def torchaudio_torch(case: Case) -> Iterator[Fields]:
    """The library links torch's own: equal releases, and the same build where both name one."""
    torch, torchaudio = (case.installed(name).version for name in ("torch", "torchaudio"))
    builds = [version.partition("+")[2] for version in (torch, torchaudio)]
    if base(torch) != base(torchaudio) or (all(builds) and builds[0] != builds[1]):
        yield {"torch": torch, "torchaudio": torchaudio}


@rule("torch-npu-python")
def torch_npu_python(case: Case) -> Iterator[Fields]:
    release = case.compat.release(case.torch_npu)
    if release is None or not release.pythons:
        raise NotApplicableError(f"no list of Pythons for torch-npu {case.torch_npu}")
    if case.python not in release.pythons:
        yield {
            "torch_npu": case.torch_npu_shown,
            "python": case.python,
            "pythons": ", ".join(release.pythons),
            "source": release.source,
        }


def _cann_fields(case: Case) -> tuple[bool, bool, Fields]:
    """Whether torch-npu pairs with the active CANN, whether with another release of its series, and the texts."""
    rows = case.compat.canns(case.torch_npu)
    if not rows:
        raise NotApplicableError(f"no CANN is listed for torch-npu {case.torch_npu}")
    cann = parse(case.cann)
    exact = any(cann == parse(row.cann) for row in rows)
    # A row that names a series ("9.0") takes any release of it.
    series = any(cann.release(2) == parse(row.cann).release(2) and row.cann.count(".") == 1 for row in rows)
    near = any(cann.release(2) == parse(row.cann).release(2) for row in rows)
    build = case.toolkit.innerversion
    return (
        exact or series,
        near,
        {
            "torch_npu": case.torch_npu_shown,
            "cann": f"{case.cann} ({build})" if build else case.cann,
            "canns": ", ".join(row.cann for row in rows),
            "source": "; ".join(dict.fromkeys(f"{row.source} [{row.confidence}]" for row in rows)),
        },
    )


@rule("torch-npu-cann")
def torch_npu_cann(case: Case) -> Iterator[Fields]:
    paired, near, fields = _cann_fields(case)
    if not paired and not near:
        yield fields


@rule("torch-npu-cann-near")
def torch_npu_cann_near(case: Case) -> Iterator[Fields]:
    paired, near, fields = _cann_fields(case)
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


@rule("driver-too-old")
def driver_too_old(case: Case) -> Iterator[Fields]:
    """Older than every driver that the CANN release, or the release note of its series, names."""
    rows = [row for row in (case.compat.driver_row(case.cann), case.compat.series_row(case.cann)) if row]
    if not rows:
        raise NotApplicableError(f"no driver is listed for CANN {case.cann}")
    driver = case.driver_release
    if all(_older(driver, _oldest(row.hdk)) for row in rows):
        row = rows[-1]
        yield {
            "driver": driver,
            "cann": case.cann,
            "hdk": ", ".join(rows[0].hdk),
            "oldest": _oldest(row.hdk),
            "source": f"{row.source} [{row.confidence}]",
        }


@rule("driver-unlisted")
def driver_unlisted(case: Case) -> Iterator[Fields]:
    """Not named for this CANN release, and yet not older than everything that its series names."""
    row = case.compat.driver_row(case.cann)
    if row is None:
        raise NotApplicableError(f"no driver is listed for CANN {case.cann}")
    driver = case.driver_release
    if row.lists(driver) or any(driver_too_old(case)):
        return
    yield {
        "driver": driver,
        "cann": case.cann,
        "hdk": ", ".join(row.hdk),
        "source": f"{row.source} [{row.confidence}]",
    }


@rule("driver-cann-family")
def driver_cann_family(case: Case) -> Iterator[Fields]:
    """Each side lists the families of the other that it was made to know; the newer of the two must list the older."""
    driver, toolkit = case.driver, case.toolkit
    of_driver, of_cann = vendor.family(driver.innerversion or ""), vendor.family(toolkit.innerversion or "")
    if not of_driver or not of_cann or not driver.cann_families or not toolkit.driver_families:
        raise NotApplicableError("one side does not say which families it works with")
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


@rule("driver-firmware")
def driver_firmware(case: Case) -> Iterator[Fields]:
    """The firmware lies in the driver's range; a driver older than the firmware's release must be in its list too.

    (A firmware cannot list drivers that came after it: 23.0.7 lists 23.0.0, and is shipped with driver 23.0.7.)
    """
    firmware = case.host.firmware
    if firmware is None or firmware.version is None:
        raise NotApplicableError("the firmware's version is not known")
    driver = case.driver
    limits = driver.firmware_range
    if limits is None and not firmware.driver_ranges:
        raise NotApplicableError("neither side says what it goes with")
    fields = {
        "driver": driver.release or "?",
        "firmware": f"{firmware.version} ({firmware.release or 'release not known'})",
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
        listed = ", ".join(low for low, _ in firmware.driver_ranges)
        yield fields | {"range": f"drivers {listed}"}


def _needs(case: Case) -> list[Need]:
    """What the active CANN's Python parts need of this interpreter."""
    cann, python = parse(case.cann), case.python
    found = [
        need
        for need in case.compat.needs
        if parse(need.since) <= cann and (not need.python or SpecifierSet(need.python).contains(python))
    ]
    if not found:
        raise NotApplicableError(f"nothing is listed for CANN {case.cann}")
    return found


def _meets(version: str, need: Need) -> bool:
    try:
        return SpecifierSet(need.version).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True  # not a version that can be judged


@rule("numpy-cann")
def numpy_cann(case: Case) -> Iterator[Fields]:
    case.installed(TORCH_NPU)
    numpy = case.installed("numpy").version
    for need in _needs(case):
        if need.name == "numpy" and not _meets(numpy, need):
            yield {"numpy": numpy, "wanted": need.version, "cann": case.cann, "source": need.source}


@rule("cann-python-needs")
def cann_python_needs(case: Case) -> Iterator[Fields]:
    """Judged where torch-npu is installed: before that, the environment is not the one that will run."""
    case.installed(TORCH_NPU)
    wrong = []
    for need in _needs(case):
        found = case.host.distribution(need.name)
        if found is None:
            wrong.append(f"{need.name}{need.version} (absent)")
        elif need.name != "numpy" and not _meets(found.version, need):
            wrong.append(f"{need.name}{need.version} (found {found.version})")
    if wrong:
        names = " ".join(f"'{entry.partition(' ')[0]}'" for entry in wrong)
        yield {"packages": ", ".join(wrong), "names": names, "cann": case.cann, "source": _needs(case)[0].source}


@rule("chip-unsupported")
def chip_unsupported(case: Case) -> Iterator[Fields]:
    for kind in case.chip_kinds:
        if case.torch_npu in kind.unknown_to:
            yield {"chip": kind.name, "torch_npu": case.torch_npu_shown, "source": kind.source}


@rule("declared-stack")
def declared_stack(case: Case) -> Iterator[Fields]:
    """What is installed against what is declared: public parts only, local tags differ from vendor to vendor."""
    case.installed(TORCH_NPU)  # before that, the environment is not the one that will run
    drift = []
    for name, declared in case.stack.packages.items():
        found = case.host.distribution(name)
        if found is None:
            continue
        specifier = SpecifierSet(declared if declared[0] in "<>=!~" else f"=={declared}")
        try:
            fits = specifier.contains(Version(public(found.version)), prereleases=True)
        except InvalidVersion:
            fits = False
        if not fits:
            drift.append(f"{name} {found.version} (declared {declared})")
    if drift:
        yield {"drift": ", ".join(drift)}
