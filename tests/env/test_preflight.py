"""Setup stops before any download, and names everything that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from env.audit.preflight import preflight
from env.errors import HostError, PythonVersionError, StorageError
from env.probe.host import Disk, Driver, Host, PciDevice, Python, System, Toolkit
from env.stack import load_stack

STACK = load_stack()
GIB = 1 << 30
ROOMY = (Disk("environments", "/srv/bundle", 500 * GIB, 400 * GIB),)
BARE = Host(system=System("x86_64", libc="glibc 2.35", disks=ROOMY), python=Python("3.10.14"))
SERVER = Host(
    system=System("aarch64", libc="glibc 2.35", disks=ROOMY),
    python=Python("3.11.9"),
    environ={"ASCEND_HOME_PATH": "/usr/local/Ascend/cann-8.5.1"},
    driver=Driver("/usr/local/Ascend/driver", release="25.5.1", libraries=True),
    pci=(PciDevice("0000:c1:00.0", "0x19e5", "0xd802", "0x120000"),),
    modules=("drv_davinci_intf_host",),
    toolkits=(
        Toolkit(
            "/usr/local/Ascend/cann-8.5.1",
            "cann-<version>",
            release="8.5.1",
            arch="aarch64",
            active=True,
            folders=("runtime", "compiler", "opp"),
            kernels=("ascend910b",),
        ),
    ),
)


def test_a_bare_machine_may_build_the_host_profile() -> None:
    preflight(BARE, STACK, "auto", "host")


def test_a_whole_ascend_host_may_build_the_npu_profile() -> None:
    preflight(SERVER, STACK, "npu:0", "npu")


def test_asking_for_an_npu_without_a_driver_names_what_was_looked_for() -> None:
    with pytest.raises(HostError) as stopped:
        preflight(BARE, STACK, "npu:0", "npu")
    message = str(stopped.value)
    for named in ("/usr/local/Ascend/driver/version.info", "npu-smi", "/dev/davinci*", "no CANN toolkit", "npu:0"):
        assert named in message
    assert stopped.value.exit_code == 10


def test_another_python_is_its_own_error() -> None:
    with pytest.raises(PythonVersionError, match=r"Python 3\.13\.1 is outside the declared stack"):
        preflight(replace(BARE, python=Python("3.13.1")), STACK, "cpu", "host")


def test_a_small_disk_is_its_own_error() -> None:
    small = replace(BARE, system=replace(BARE.system, disks=(Disk("environments", "/srv", 20 * GIB, GIB),)))
    with pytest.raises(StorageError, match=r"1\.0 GiB free in /srv"):
        preflight(small, STACK, "cpu", "host")


def test_several_kinds_are_named_together_and_the_machine_leads() -> None:
    with pytest.raises(HostError) as stopped:
        preflight(replace(BARE, python=Python("3.9.2")), STACK, "npu:0", "npu")
    assert "Python 3.9.2" in str(stopped.value)


def test_the_torch_npu_that_will_be_installed_is_judged() -> None:
    toolkits = (replace(SERVER.toolkits[0], release="8.3.RC1"),)
    with pytest.raises(HostError, match=r"torch-npu 2\.9\.0\.post2 \(declared\) does not pair with CANN 8\.3\.RC1"):
        preflight(replace(SERVER, toolkits=toolkits), STACK, "npu:0", "npu", torch_npu="2.9.0.post2")
    preflight(SERVER, STACK, "npu:0", "npu", torch_npu="2.9.0.post2")  # TorchNPU 26.0.X works with CANN 8.5.X
