"""The answers of `npu-smi info -l`, `-m` and `-t TOPIC`: labels with values, a map of chips, a matrix of links.

Nothing tells which option was given but what was printed, so the labels decide. What has a field of `Chip` fills it;
whatever else is printed stays under its own label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from env.npu_smi_reading import Chip, Kind, Process, decimal, version, whole, word

_LABEL = re.compile(r"([A-Za-z][^:|]{0,60}?)\s*:\s*(.*)\Z")
_WIDE_LABEL = re.compile(r"[A-Za-z][^:|]{0,60}?\s{2,}:")  # as npu-smi pads them: what a log line never has
_PROCESS = re.compile(
    r"Process id\s*:\s*([0-9]{1,9})\s+Process name\s*:(.*?)\s*Process memory\(MB\)\s*:\s*([0-9]{1,9})\Z"
)
_MAP_COLUMN = re.compile(r"NPU ID|Slot ID|Device ID|Chip Logic ID|Chip Phy-ID|Chip Name|Chip ID")
_NODE = re.compile(r"(NPU|Phy-ID)([0-9]{1,4})\Z")
_LEGEND = re.compile(r"\S+\s+= ")

# The labels that have a field, and how their values are read.
_FIELDS: dict[str, tuple[str, Any]] = {
    "NPU ID": ("npu", whole),
    "Chip ID": ("chip", whole),
    "Chip Phy-ID": ("phy", whole),
    "Chip Name": ("name", word),
    "Health": ("health", word),
    "Health Status": ("health", word),
    "NPU Real-time Power(W)": ("power_w", decimal),
    "Power Dissipation(W)": ("power_w", decimal),
    "Temperature(C)": ("temp_c", decimal),
    "Temperature (C)": ("temp_c", decimal),
    "NPU Temperature (C)": ("temp_c", decimal),
    "PCIe Bus Info": ("bus", word),
    "Aicore Usage Rate(%)": ("aicore_pct", decimal),
    "NPU Utilization(%)": ("npu_pct", decimal),
    "HBM Capacity(MB)": ("hbm_total_mb", whole),
    "Memory Capacity(MB)": ("hbm_total_mb", whole),
    "DDR Capacity(MB)": ("ddr_total_mb", whole),
}
_OWN = _FIELDS.keys() - {"Health"}  # no other program prints them, padded or not
_COUNTS = ("Total Count", "Card Count")  # of the whole answer to -l
_LISTED = {"NPU ID", "Chip Count", "Product Name", "Serial Number"}
# The kind by a part of a label that no kind further down has, in this order.
_TELLING: tuple[tuple[str, Kind], ...] = (
    ("Single Bit ", Kind.ECC),
    ("Software Version", Kind.BOARD),
    ("PCB ID", Kind.BOARD),
    ("Chip Version", Kind.BOARD),
    ("Clock Speed(MHz)", Kind.MEMORY),
    ("Aicore Freq(MHZ)", Kind.COMMON),
    ("Aicore curFreq(MHZ)", Kind.COMMON),
    ("Usage Rate(%)", Kind.USAGES),
    ("Health", Kind.HEALTH),
    ("Error Code", Kind.HEALTH),
    ("Real-time Power(W)", Kind.POWER),
    ("Power Dissipation(W)", Kind.POWER),
    ("Product Type", Kind.PRODUCT),
    ("Total Count", Kind.LIST),
    ("Card Count", Kind.LIST),
)
_TEMPERATURES = ("Temperature(C)", "Temperature (C)", "NPU Temperature (C)")


@dataclass
class Topics:
    """The lines of such answers, read one by one."""

    records: list[dict[str, str]] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    columns: tuple[str, ...] = ()  # of the map
    nodes: tuple[str, ...] = ()  # of the matrix, and whether it has CPU Affinity
    mapped: list[Chip] = field(default_factory=list)
    linked: list[Chip] = field(default_factory=list)
    taken: dict[int, str] = field(default_factory=dict)
    anchored: bool = False  # one label was padded as npu-smi does, or is one of its own
    last: str | None = None
    legend: bool = False

    def take(self, number: int, line: str) -> bool:
        """Read one line, and say whether it may belong to such an answer; `kind` tells in the end."""
        if self._process(line) or self._map(line) or self._matrix(line) or self._label(line):
            self.taken[number] = line
            return True
        return False

    def kind(self) -> Kind | None:
        """Which answer the lines are, or None where they are none."""
        if self.linked:
            return Kind.TOPOLOGY
        if self.mapped:
            return Kind.MAP
        labels = {label for record in self.records for label in record}
        if self.anchored and (labels & set(_FIELDS) or labels & {*_LISTED, *_COUNTS} or self._told(labels)):
            return self._told(labels) or (
                Kind.PROCESSES if self.processes else Kind.LIST if labels <= _LISTED and len(labels) > 1 else Kind.OTHER
            )
        return Kind.PROCESSES if self.processes else None

    def _told(self, labels: Iterable[str]) -> Kind | None:
        labels = set(labels)
        for part, kind in _TELLING:
            if any(part in label for label in labels):
                return kind
        return Kind.TEMPERATURE if labels.intersection(_TEMPERATURES) else None

    def driver_version(self) -> str | None:
        named = [record["Software Version"] for record in self.records if "Software Version" in record]
        return version(next(iter(named), None))

    def chips(self) -> tuple[Chip, ...]:
        """What the answer tells of each chip, or card; the counts of a list stand with its first one."""
        if self.linked or self.mapped:
            return tuple(self.linked or self.mapped)
        return tuple(_chip(record) for record in self.records)

    def _label(self, line: str) -> bool:
        match = _LABEL.match(line)
        if match is None or line.startswith("Process id"):
            if self.last == "Error Information" and self.records and "|" not in line:
                self.records[-1][self.last] += f" {line}"  # its further lines have no label
                return True
            self.last = None
            return False
        label, text = match[1], match[2].strip()
        self.anchored = self.anchored or bool(_WIDE_LABEL.match(line)) or label in _OWN
        record = self.records[-1] if self.records else {}
        if not self.records or label in record:
            kept = {"NPU ID": record["NPU ID"]} if label != "NPU ID" and "NPU ID" in record else {}
            self.records.append(kept)
        self.records[-1][label] = text
        self.last = label
        return True

    def _process(self, line: str) -> bool:
        match = _PROCESS.match(line)
        if match is None:
            return False
        record = self.records[-1] if self.records else {}
        npu, chip = whole(record.get("NPU ID", "")), whole(record.get("Chip ID", ""))
        self.processes.append(Process(npu, chip, int(match[1]), word(match[2].strip()), whole(match[3])))
        return True

    def _map(self, line: str) -> bool:
        columns = tuple(_MAP_COLUMN.findall(line))
        if len(columns) > 2 and not _MAP_COLUMN.sub("", line).strip():
            self.columns = columns
            return True
        cells = line.split(None, len(self.columns) - 1) if self.columns else []
        if len(cells) != len(self.columns) or not cells or whole(cells[0]) is None:
            return False
        if any(whole(cell) is None and cell != "-" for cell in cells[:-1]):
            return False
        self.mapped.append(_chip(dict(zip(self.columns, map(str.strip, cells), strict=True))))
        return True

    def _matrix(self, line: str) -> bool:
        cells = line.split()
        affinity = cells[-2:] == ["CPU", "Affinity"]
        nodes = cells[:-2] if affinity else cells
        if nodes and all(map(_NODE.match, nodes)) and (affinity or len(nodes) > 1):
            self.nodes = (*nodes, "CPU Affinity") if affinity else tuple(nodes)
            return True
        if not self.nodes:
            return False
        self.legend = self.legend or line == "Legend:"
        if self.legend:
            return line == "Legend:" or bool(_LEGEND.match(line))
        node = _NODE.match(cells[0])
        if node is None or len(cells) - 1 != len(self.nodes):
            return False
        npu, phy = (int(node[2]), None) if node[1] == "NPU" else (None, int(node[2]))
        links = dict(zip(self.nodes, cells[1:], strict=True))
        self.linked.append(Chip(npu, None, phy, None, None, None, None, None, None, None, None, other=links))
        return True


def _chip(record: dict[str, str]) -> Chip:
    fields: dict[str, Any] = dict.fromkeys(("npu", "chip", "phy", "name", "health", "power_w", "temp_c"))
    fields |= dict.fromkeys(("bus", "aicore_pct", "hbm_used_mb", "hbm_total_mb"))
    other = {}
    for label, text in record.items():
        name, read = _FIELDS.get(label, ("", word))
        figure = read(text.removeprefix("Ascend ") if name == "name" else text)
        if name and (figure is not None or word(text) is None):
            fields[name] = figure
        else:
            other[label] = text
    return Chip(**fields, other=other)
