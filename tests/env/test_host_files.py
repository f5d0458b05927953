"""Vendor files: every kind that a host holds is read, and the table says what each file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from env import versions
from env.probe import vendor

DATA = Path(__file__).resolve().parents[1] / "data" / "host-files"
ASCEND = "/opt/vendor/Ascend"
FAMILIES_8_5 = ("V100R001C17", "V100R001C18", "V100R001C19", "V100R001C20", "V100R001C21", "V100R001C23")
PARTS = ("runtime", "compiler", "hccl", "opp", "toolkit", "aoe", "ncs")


def driver(text: str) -> dict[str, Any]:
    fields = vendor.assignments(text)
    return {
        "release": fields.get("package_version") or fields.get("Version"),
        "family": vendor.family(fields["Innerversion"]),
        "cann": vendor.bracketed(fields.get("compatible_version", "")),
        "firmware": vendor.ranges(fields.get("compatible_version_fw", "")),
    }


def toolkit(text: str) -> dict[str, Any]:
    fields = vendor.assignments(text)
    return {
        "package": fields["package_name"],
        "release": fields["version"],
        "family": vendor.family(fields["innerversion"]),
        "driver": vendor.bracketed(fields["compatible_version"]),
        "arch": fields["arch"],
        "path": fields["path"],
    }


def cann(release: str, family: str, families: tuple[str, ...], arch: str, path: str) -> dict[str, Any]:
    return {
        "package": "Ascend-cann-toolkit",
        "release": release,
        "family": f"V100R001{family}",
        "driver": families,
        "arch": arch,
        "path": f"{ASCEND}/{path}",
    }


def drv(release: str, family: str, cann: str, firmware: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    families = tuple(f"V100R001{each}" for each in cann.split())
    return {"release": release, "family": f"V100R001{family}", "cann": families, "firmware": firmware}


EXPECTED: dict[str, tuple[Any, Any]] = {
    "driver-23.0.version.info": (driver, drv("23.0.8", "C15", "C29 C30 C13 C14 C15", (("7.0.0", "7.1.97"),))),
    "driver-24.1.version.info": (driver, drv("24.1.rc2.4", "C18", "C13 C15 C16 C17 C18", (("7.0.0", "7.2.97"),))),
    "driver-25.0.version.info": (driver, drv("25.0.rc1.3", "C21", "C18 C19 C20 C21", (("7.0.0", "7.7.97"),))),
    "driver-25.3.version.info": (driver, drv("25.3.rc2", "C23", "C20 C21 C22 C23", (("7.1.0", "8.9.7"),))),
    # Version is a component's number here: the release is package_version.
    "driver-component-in-version.version.info": (driver, drv("25.3.rc2", "C23", "", ())),
    "firmware-23.0.version.info": (
        lambda text: (
            vendor.assignments(text)["Version"],
            vendor.assignments(text)["package_version"],
            vendor.ranges(vendor.assignments(text)["compatible_version_drv"]),
        ),
        ("7.1.0.13.214", "23.0.8", (("23.0.rc2", "23.0.rc2."), ("23.0.0", "23.0.0."))),
    ),
    "etc-ascend-install.info": (
        lambda text: [vendor.assignments(text).get(key) for key in ("UserGroup", "Driver_Install_Path_Param")],
        ["speech-npu", ASCEND],
    ),
    "etc-ascend-cann-install.info": (
        vendor.assignments,
        {"Install_Path": ASCEND, "Toolkit_InstallPath": f"{ASCEND}/ascend-toolkit"},
    ),
    "toolkit-7.0-test-build.install.info": (
        toolkit,
        cann(
            "7.0.T12",
            "C13",
            ("V100R001C29", "V100R001C13", "V100R003C10", "V100R003C12"),
            "aarch64",
            "ascend-toolkit/7.0.T12/aarch64-linux",
        ),
    ),
    "toolkit-8.1.install.info": (
        toolkit,
        cann("8.1.RC1", "C21", FAMILIES_8_5[:-1], "aarch64", "ascend-toolkit/8.1.RC1/aarch64-linux"),
    ),
    "toolkit-8.2.install.info": (
        toolkit,
        cann("8.2.RC1", "C22", FAMILIES_8_5, "aarch64", "ascend-toolkit/8.2.RC1/aarch64-linux"),
    ),
    "toolkit-8.5.install.info": (toolkit, cann("8.5.0", "C25", FAMILIES_8_5, "aarch64", "cann-8.5.0")),
    "toolkit-8.5-path-of-an-architecture.install.info": (
        toolkit,
        cann("8.5.0", "C25", FAMILIES_8_5, "x86_64", "cann-8.5.0/x86_64-linux"),
    ),
    "toolkit-8.5-development-build.install.info": (
        toolkit,
        cann("8.5.0", "C25", FAMILIES_8_5, "aarch64", "ascend-toolkit/8.5.0/aarch64-linux"),
    ),
    "nnae-8.0.install.info": (
        toolkit,
        cann("8.0.RC2", "C18", ("V100R001C13,V100R001C18", "V100R001C29"), "x86_64", "nnae/8.0.RC2")
        | {"package": "Ascend-cann-nnae"},
    ),
    "toolkit-8.2.version.info": (
        lambda text: [
            vendor.assignments(text)[key] for key in ("Version", "version_dir", "required_package_opp_kernel_version")
        ],
        ["8.2.0.0.187", "8.2.RC1", ">=7.5, <=8.2"],
    ),
    "opp-8.5.version.info": (
        lambda text: [
            vendor.assignments(text)[key] for key in ("Version", "version_dir", "required_package_amct_acl_version")
        ],
        ["8.5.0.1.214", "8.5.0", "8.5"],
    ),
    "cann-8.0.version.cfg": (vendor.part_versions, dict.fromkeys(PARTS, "7.6.0.3.214:8.0.1")),
    "cann-8.0-running-only.version.cfg": (
        vendor.part_versions,
        dict.fromkeys((*PARTS, "opp_kernel"), "7.5.0.2.118:8.0.RC2"),
    ),
    "nnal-atb-8.2.version.info": (
        lambda text: [vendor.labels(text)[key] for key in ("Ascend-cann-atb", "Ascend-cann-atb Version", "Platform")],
        ["8.2.RC1", "8.2.RC1.B137", "aarch64"],
    ),
    "upgrade-tool-devices-left-out.txt": (
        lambda text: [(each.device, each.component, each.version) for each in vendor.components(text)],
        [(0, name, "7.1.0.9.214") for name in ("nve", "uefi", "imu", "imp")] + [(5, "imp", "7.1.0.9.214")],
    ),
    "type-board-pci-ids.txt": (vendor.labels, {"PCI Vendor ID": "0x19e5", "PCI Device ID": "0xD802"}),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_file_is_read(name: str) -> None:
    read, expected = EXPECTED[name]
    assert read((DATA / name).read_text(encoding="utf-8")) == expected


def test_every_file_is_in_the_table() -> None:
    assert {path.name for path in DATA.iterdir()} - {"README.md"} == set(EXPECTED)


def test_families_count_as_items_and_as_ranges() -> None:
    families = ("V100R001C13,V100R001C19", "V100R001C30")
    inside = [
        name for name in ("C12", "C13", "C15", "C19", "C20", "C30") if vendor.family_inside(f"V100R001{name}", families)
    ]
    assert inside == ["C13", "C15", "C19", "C30"]
    assert not vendor.family_inside("V100R003C15", families)


@pytest.mark.parametrize(
    ("version", "low", "high", "expected"),
    [
        ("7.1.0.11.220", "7.0.0", "7.1.99", True),
        ("7.7.99.1", "7.0.0", "7.7.99", True),  # the upper bound takes in what begins like it
        ("7.8.0.1.220", "7.0.0", "7.7.99", False),
        ("6.9.9", "7.0.0", "7.7.99", False),
        ("24.0.3", "24.0", "24.0.", True),
        ("24.1.0", "24.0", "24.0.", False),
        ("23.0.rc3.2", "23.0.rc3", "23.0.rc3.", True),
        ("23.0.0", "23.0.rc3", "23.0.rc3.", False),
    ],
)
def test_vendor_ranges_are_inclusive(version: str, low: str, high: str, expected: bool) -> None:
    assert versions.inside(version, low, high) is expected


def test_versions_stand_in_the_vendors_order() -> None:
    """T < RC.alpha < RC < release; X.Y.Z.alphaN < X.Y.Z; X.Y.RCn.p and X.Y.Z.p come after X.Y.RCn and X.Y.Z."""
    ordered = [
        "7.0.T10",
        "7.0.RC1.alpha001",
        "7.0.RC1",
        "7.0.0.alpha002",
        "7.0.0",
        "8.0.RC3",
        "8.0.0",
        "8.2.RC1",
        "8.2.RC1.B150",
        "8.5.0.alpha001",
        "8.5.0",
        "8.5.1",
        "23.0.7",
        "24.1.rc2",
        "24.1.rc2.2",
        "24.1.RC3",
        "24.1.0",
        "24.1.0.1",
        "25.0.rc1.1",
        "25.5.1",
        "26.0.rc1",
    ]
    backwards = ordered[::-1]
    assert sorted(backwards, key=versions.parse) == ordered


@pytest.mark.parametrize(("one", "other"), [("8.5", "8.5.0"), ("26.0.rc1", "26.0.RC1"), ("25.5.0.0", "25.5")])
def test_the_same_version_is_written_in_several_ways(one: str, other: str) -> None:
    assert versions.parse(one) == versions.parse(other)


@pytest.mark.parametrize(
    ("version", "series", "expected"),
    [("25.5.1", "25.5.X", True), ("25.5.1", "25.5", True), ("25.50.1", "25.5", False), ("26.0.rc1", "26.0.RC1", True)],
)
def test_a_release_belongs_to_its_series(version: str, series: str, expected: bool) -> None:
    assert versions.in_series(version, series) is expected


@pytest.mark.parametrize(
    ("version", "public", "base"),
    [
        ("2.9.0.post1+gitee7ba04", "2.9.0.post1", "2.9.0"),
        ("2.9.0+cpu", "2.9.0", "2.9.0"),
        ("not a version+x", "not a version", "not a version"),
    ],
)
def test_public_and_base_parts_of_python_versions(version: str, public: str, base: str) -> None:
    assert (versions.public(version), versions.base(version)) == (public, base)
