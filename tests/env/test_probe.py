"""What the probe makes of a machine's files: layouts, links, damaged metadata; and the page that shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from env.probe import Host, cann, driver, packages, probe
from env.probe.command import main
from env.probe.host import Firmware, Holder, NpuSmi
from env.probe.tree import Tree
from env.runner import Completed
from tests.env import machines

NODE = {"path": "/dev/davinci0", "mode": 0o660, "uid": 0, "gid": 0}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    machines.build("healthy-910b4", tmp_path)
    return tmp_path


def test_one_toolkit_is_found_once_however_many_links_lead_to_it(machine: Path) -> None:
    host = probe(machine)
    assert [(toolkit.path, toolkit.layout, toolkit.active) for toolkit in host.toolkits] == [
        ("/usr/local/Ascend/cann-8.5.1", "cann-<version>", True)
    ]
    toolkit = host.toolkits[0]
    assert toolkit.set_env == "/usr/local/Ascend/cann-8.5.1/set_env.sh"
    assert (toolkit.folders, toolkit.kernels) == (("runtime", "compiler", "opp"), ("ascend910b",))
    assert toolkit.part("runtime") == "8.5.1"


def test_the_old_layouts_folder_of_links_leads_to_the_release(tmp_path: Path) -> None:
    machines.build("old-layout", tmp_path)
    toolkit = probe(tmp_path).toolkits[0]
    assert toolkit.path == "/usr/local/Ascend/ascend-toolkit/8.2.RC1"
    assert (toolkit.layout, toolkit.release, toolkit.active) == ("ascend-toolkit", "8.2.RC1", True)
    assert toolkit.set_env == "/usr/local/Ascend/ascend-toolkit/set_env.sh"


def test_the_default_link_is_active_when_no_variable_chooses(tmp_path: Path) -> None:
    machines.build("cann-mixed", tmp_path)
    manifest = tmp_path / ".capture/manifest.json"
    value = json.loads(manifest.read_text())
    value["environ"] = {}
    manifest.write_text(json.dumps(value))
    (tmp_path / "usr/local/Ascend/cann").unlink()
    (tmp_path / "usr/local/Ascend/cann").symlink_to("cann-8.5.0")
    active = probe(tmp_path).toolkit
    assert active is not None
    assert active.release == "8.5.0"


def test_the_installed_driver_is_where_the_record_says(machine: Path) -> None:
    record = machine / "etc/ascend_install.info"
    record.write_text(record.read_text().replace("=/usr/local/Ascend\n", "=/data/hdk/\n"))
    (machine / "data/hdk").mkdir(parents=True)
    (machine / "usr/local/Ascend/driver").rename(machine / "data/hdk/driver")
    installed = probe(machine).driver
    assert installed is not None
    assert (installed.path, installed.release, installed.libraries) == ("/data/hdk/driver", "25.5.1", True)


def test_firmware_is_asked_of_the_chips_where_its_file_is_absent(machine: Path) -> None:
    (machine / "usr/local/Ascend/firmware/version.info").unlink()
    tool = machine / "usr/local/Ascend/driver/tools/upgrade-tool"
    tool.parent.mkdir()
    tool.touch()
    printed = "{\nGet component version(7.8.0.3.210) succeed for deviceId(0), componentType(0).\n"
    printed += '{"device_id":0, "component":nve, "version":7.8.0.3.210}\n}\n'

    def answer(name: str, args: Sequence[str], *, timeout: float) -> Completed:
        assert (name, args[0]) == ("upgrade-tool", "/usr/local/Ascend/driver/tools/upgrade-tool")
        return Completed(tuple(args), 0, printed)

    firmware = driver.firmware(Tree(machine), ["/usr/local/Ascend"], answer)
    assert firmware == Firmware("/usr/local/Ascend/driver/tools/upgrade-tool", version="7.8.0.3.210")


def test_the_release_of_a_toolkit_without_its_record_is_found_in_its_parts(machine: Path) -> None:
    home = machine / "usr/local/Ascend/cann-8.5.1"
    (home / "aarch64-linux/ascend_toolkit_install.info").unlink()
    (home / "version.cfg").write_text("# version: 1.0\nruntime_running_version=[8.5.0.1.220:8.5.1]\n")
    toolkit = probe(machine).toolkit
    assert toolkit is not None
    assert (toolkit.release, toolkit.part("runtime"), toolkit.arch) == ("8.5.1", "8.5.1", "aarch64")


def test_metadata_that_names_nothing_is_noted_and_its_folder_believed(machine: Path) -> None:
    folder = machine / machines.SITE.lstrip("/") / "numpy-1.26.4.dist-info"
    (folder / "METADATA").write_text("")
    host = probe(machine)
    numpy = host.distribution("numpy")
    assert numpy is not None
    assert numpy.version == "1.26.4"
    assert [each.where.rpartition("/")[2] for each in host.unread] == ["numpy-1.26.4.dist-info"]


def test_egg_info_of_a_system_package_is_read(tmp_path: Path) -> None:
    site = tmp_path / "usr/lib/python3/dist-packages"
    (site / "old-1.0.egg-info").mkdir(parents=True)
    (site / "old-1.0.egg-info/PKG-INFO").write_text("Name: old\nVersion: 1.0\n")
    (site / "older-0.5.egg-info").write_text("Name: older\nVersion: 0.5\n")
    distributions = packages.distributions(Tree(tmp_path), ["/usr/lib/python3/dist-packages"])
    assert [(each.name, each.version) for each in distributions] == [("old", "1.0"), ("older", "0.5")]


def test_json_holds_every_fact(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(machine), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Host) == probe(machine)


def test_the_page_shows_the_facts_that_matter(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(machine)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "machine   aarch64, openEuler 22.03 (LTS-SP4), kernel 5.10.0-216.0.0.115.oe2203sp4.aarch64, host",
        "driver    HDK 25.5.1 in /usr/local/Ascend/driver; firmware 25.5.1 (7.8.0.3.210)",
        "CANN      8.5.1 (V100R001C25SPC002B105, active) /usr/local/Ascend/cann-8.5.1; ascend910b",
        "chip      0.0 910B4: OK, 2811 of 32768 MB used",
        "HAL       2 devices by /usr/local/Ascend/driver/lib64/driver/libascend_hal.so",
        "nodes     2 devices, 5 nodes; PCI accelerators: 2",
        "package   torch-npu 2.9.0.post1+gitee7ba04",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NODE | {"mode": "0660"}, "Expected `int`, got `str` - at `$.nodes[0].mode`"),
        (NODE | {"mode": True}, "Expected `int`, got `bool` - at `$.nodes[0].mode`"),
        ({"path": "/dev/davinci0"}, "Object missing required field `mode` - at `$.nodes[0]`"),
        ([], "Expected `object`, got `array` - at `$.nodes[0]`"),
    ],
)
def test_facts_of_another_shape_are_noted_with_their_place(value: object, message: str, machine: Path) -> None:
    manifest = machine / ".capture/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"nodes": [value]}))
    [note] = probe(machine).unread
    assert note.where == ".capture/manifest.json"
    assert note.why == message


def test_facts_of_another_schema_are_noted(machine: Path) -> None:
    (machine / ".capture/manifest.json").write_text('{"schema": 2}')
    assert [note.why for note in probe(machine).unread] == ["schema 1 required, 2 found"]


NAMESPACES = """
ns_id 128 identify 0 root_tgid 1 dev_num 2 namespace 00000000a1b2c3d4(#), udev list:
logic_devid udevid
       0        0
       1        1


ns_id 5 identify 7a00 root_tgid 91 dev_num 1 namespace 00000000b2c3d4e5, udev list:
logic_devid udevid
       0        3


ns_id 9 identify 7b00 root_tgid 250 dev_num 0 namespace 00000000c2c3d4e5, udev list:
logic_devid udevid
"""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("the device is used. ret is -8020", (Holder(91, (3,)), Holder(250))),
        ("ret is -8005", ()),  # nobody is asked who holds what where nothing is held
        (None, ()),
    ],
)
def test_who_holds_the_devices_is_read_of_the_drivers_table(
    error: str | None, expected: tuple[Holder, ...], tmp_path: Path
) -> None:
    (tmp_path / "proc/uda").mkdir(parents=True)
    (tmp_path / "proc/uda/namespace_node").write_text(NAMESPACES, encoding="utf-8")
    assert driver.holders(Tree(tmp_path), NpuSmi("failed", error=error)) == expected


@pytest.mark.parametrize(
    ("place", "variables", "home"),
    [
        ("/usr/local/Ascend", {}, ""),
        ("/home/dev/Ascend", {}, "/home/dev"),
        ("/data/sw", {"ATB_HOME_PATH": "/data/sw/nnal/atb/latest/atb/cxx_abi_1"}, ""),
        ("/data/sw", {"ATB_HOME_PATH": "/data/sw/nnal/atb/8.5.1/atb/cxx_abi_1/"}, "/root"),
    ],
)
def test_nnal_is_read_wherever_a_toolkit_may_be(
    place: str, variables: dict[str, str], home: str, tmp_path: Path
) -> None:
    folder = tmp_path / place.lstrip("/") / "nnal/atb"
    (folder / "8.5.1/atb/cxx_abi_1").mkdir(parents=True)
    (folder / "8.5.1/version.info").write_text("    Ascend-cann-atb : 8.5.1\n", encoding="utf-8")
    (folder / "latest").symlink_to("8.5.1")
    (nnal,) = cann.nnal(Tree(tmp_path), ("/usr/local/Ascend",), variables, home)
    assert (nnal.path, nnal.release, nnal.abis) == (f"{place}/nnal/atb/8.5.1", "8.5.1", ("cxx_abi_1",))
