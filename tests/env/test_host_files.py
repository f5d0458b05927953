"""Vendor files: every capture of a real host is read, and the table says what each of them holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from env import versions
from env.probe import vendor

CAPTURES = Path(__file__).resolve().parents[2] / ".." / "shared" / "facts" / "host-files"
FAMILIES_8_5 = ("V100R001C15", "V100R001C18", "V100R001C19", "V100R001C20", "V100R001C21", "V100R001C23")
PARTS_8_0_0 = ("runtime", "compiler", "hccl", "opp", "toolkit", "aoe", "ncs")
PARTS_8_0_RC3 = ("runtime", "compiler", "opp", "toolkit", "aoe", "ncs", "hccl", "opp_kernel")


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
        "path": f"/usr/local/Ascend/{path}",
    }


def drv(release: str, family: str, cann: str, firmware: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    families = tuple(f"V100R001{each}" for each in cann.split())
    return {"release": release, "family": f"V100R001{family}", "cann": families, "firmware": firmware}


EXPECTED: dict[str, tuple[Any, Any]] = {
    "driver_version.info_23.0.7": (driver, drv("23.0.7", "C15", "C29 C30 C13 C15", (("7.0.0", "7.1.99"),))),
    "driver_version.info_24.1.rc2.2": (
        driver,
        drv("24.1.rc2.2", "C18", "C30 C13 C15 C17 C18", (("7.0.0", "7.2.99"),)),
    ),
    "driver_version.info_25.0.rc1.1": (
        driver,
        drv("25.0.rc1.1", "C21", "C17 C18 C19 C20 C21", (("7.0.0", "7.7.99"),)),
    ),
    "driver_version.info_25.3.rc1": (driver, drv("25.3.rc1", "C23", "C19 C20 C21 C22 C23", (("7.0.0", "8.9.9"),))),
    # Version is a component's number here: the release is package_version.
    "driver_version.info_DERIVED_Version-is-hal": (driver, drv("25.3.rc1", "C23", "", ())),
    "firmware_version.info_23.0.7": (
        lambda text: (
            vendor.assignments(text)["Version"],
            vendor.assignments(text)["package_version"],
            vendor.ranges(vendor.assignments(text)["compatible_version_drv"]),
        ),
        ("7.1.0.11.220", "23.0.7", (("23.0.rc3", "23.0.rc3."), ("23.0.0", "23.0.0."))),
    ),
    "etc_ascend_install.info": (
        lambda text: [vendor.assignments(text).get(key) for key in ("UserGroup", "Driver_Install_Path_Param")],
        ["HwHiAiUser", "/usr/local/Ascend"],
    ),
    "etc_Ascend_ascend_cann_install.info": (
        vendor.assignments,
        {"Install_Path": "/usr/local/Ascend", "Toolkit_InstallPath": "/usr/local/Ascend/ascend-toolkit"},
    ),
    "ascend_toolkit_install.info_7.0.T10": (
        toolkit,
        cann(
            "7.0.T10",
            "C13",
            ("V100R001C29", "V100R001C30", "V100R001C13", "V100R003C10", "V100R003C11"),
            "aarch64",
            "ascend-toolkit/7.0.T10/aarch64-linux",
        ),
    ),
    "ascend_toolkit_install.info_8.1.RC1": (
        toolkit,
        cann("8.1.RC1", "C21", FAMILIES_8_5[:-1], "aarch64", "ascend-toolkit/8.1.RC1/aarch64-linux"),
    ),
    "ascend_toolkit_install.info_8.2.RC1": (
        toolkit,
        cann("8.2.RC1", "C22", FAMILIES_8_5, "aarch64", "ascend-toolkit/8.2.RC1/aarch64-linux"),
    ),
    "ascend_toolkit_install.info_8.5.0": (toolkit, cann("8.5.0", "C25", FAMILIES_8_5, "aarch64", "cann-8.5.0")),
    "ascend_toolkit_install.info_8.5.0_B212_x86_64": (
        toolkit,
        cann("8.5.0", "C25", FAMILIES_8_5, "x86_64", "cann-8.5.0/x86_64-linux"),
    ),
    "ascend_toolkit_install.info_8.5.0_devbuild_old-path": (
        toolkit,
        cann("8.5.0", "C25", FAMILIES_8_5, "aarch64", "ascend-toolkit/8.5.0/aarch64-linux"),
    ),
    "ascend_nnae_install.info_8.0.RC3": (
        toolkit,
        cann("8.0.RC3", "C19", ("V100R001C13,V100R001C19", "V100R001C30"), "x86_64", "nnae/8.0.RC3")
        | {"package": "Ascend-cann-nnae"},
    ),
    "toolkit_version.info_8.2.RC1": (
        lambda text: [
            vendor.assignments(text)[key] for key in ("Version", "version_dir", "required_package_opp_kernel_version")
        ],
        ["8.2.0.0.201", "8.2.RC1", ">=7.6, <=8.2"],
    ),
    "opp_version.info_8.5.0": (
        lambda text: [
            vendor.assignments(text)[key] for key in ("Version", "version_dir", "required_package_amct_acl_version")
        ],
        ["8.5.0.2.220", "8.5.0", "8.5"],
    ),
    "version.cfg_8.0.0": (vendor.part_versions, dict.fromkeys(PARTS_8_0_0, "7.6.0.1.220:8.0.0")),
    "version.cfg_8.0.RC3_running-only": (
        vendor.part_versions,
        dict.fromkeys(PARTS_8_0_RC3, "7.5.0.1.129:8.0.RC3"),
    ),
    "nnal_atb_version.info_8.2.RC1": (
        lambda text: [vendor.labels(text)[key] for key in ("Ascend-cann-atb", "Ascend-cann-atb Version", "Platform")],
        ["8.2.RC1", "8.2.RC1.B150", "aarch64"],
    ),
    "upgrade-tool_version_elided": (
        lambda text: [(each.device, each.component, each.version) for each in vendor.components(text)],
        [(0, name, "7.1.0.7.220") for name in ("nve", "uefi", "imu", "imp")] + [(7, "imp", "7.1.0.7.220")],
    ),
    "LSPCI_d803_board.txt": (vendor.labels, {"PCI Vendor ID": "0x19e5", "PCI Device ID": "0xD803"}),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_captured_file_is_read(name: str) -> None:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"the captures are not beside the project: {name}")
    read, expected = EXPECTED[name]
    assert read(path.read_text(encoding="utf-8")) == expected


def test_every_captured_file_is_in_the_table() -> None:
    if not CAPTURES.is_dir():
        pytest.skip("the captures are not beside the project")
    assert {path.name for path in CAPTURES.iterdir()} - {"SOURCES.md"} == set(EXPECTED)


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
