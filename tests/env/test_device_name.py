"""How a device is named, in the one place that understands it."""

from __future__ import annotations

import pytest

from env.device_name import DeviceName


@pytest.mark.parametrize(
    ("text", "kind", "index", "label"),
    [
        ("auto", None, 0, "auto"),
        ("cpu", "cpu", 0, "cpu"),
        ("cpu:0", "cpu", 0, "cpu"),
        ("npu", "npu", 0, "npu:0"),
        ("npu:0", "npu", 0, "npu:0"),
        ("npu:15", "npu", 15, "npu:15"),
        ("cuda:1", "cuda", 1, "cuda:1"),
    ],
)
def test_names_of_devices(text: str, kind: str | None, index: int, label: str) -> None:
    name = DeviceName.parse(text)
    assert (name.kind, name.index, name.label, str(name)) == (kind, index, label, text)


@pytest.mark.parametrize(
    "text",
    ["", "gpu", "npu:", "npu:-1", "npu:x", "npu:0:1", "cpu:1", "NPU:0", "npu: 0", "auto:0", "npu:٣", "npu:99999"],
)
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(ValueError, match="no device"):
        DeviceName.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("npu", "npu:0", True), ("npu:1", "npu:0", False), ("npu:0", "cuda:0", False), ("cpu", "cpu:0", True)],
)
def test_two_spellings_of_one_device(one: str, other: str, same: bool) -> None:
    assert DeviceName.parse(one).is_same(DeviceName.parse(other)) is same
