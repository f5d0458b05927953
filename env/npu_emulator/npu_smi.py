"""What npu-smi prints of the emulated chips, in the layouts that env/npu_smi.py reads: the table, -m, and -t TOPIC.

Layouts: public tables of driver 25.2 (A2, A3: 98 columns, DDR: 106), and the labels of npu-smi's own source
(npu_common_info.c, npu_ecc_info.c) and its map, with a row for the management unit, as tools' fixtures have them.
Nothing here is a measurement: an emulated card idles.
"""

from __future__ import annotations

from collections.abc import Sequence

from .chips import EmulatedChip

VERSION = "25.2.1"
WIDE, NARROW = 104, 96  # inside the outer border: boards with DDR, and with HBM
TOPICS = ("common", "temp", "power", "usages", "ecc", "memory")
ECC = tuple(
    f"{bits} Bit {counter}"
    for counter in ("Error Count", "Aggregate Total Err Cnt", "Isolated Pages Count")
    for bits in ("Single", "Double")
)


def answer(arguments: Sequence[str], chip: EmulatedChip, count: int = 1) -> str | None:
    """What `npu-smi ARGUMENTS` prints; None for what is not emulated."""
    words = list(arguments)
    if words == ["info"]:
        return table(chip, count)
    if words == ["info", "-m"]:
        return mapping(chip, count)
    if words[:2] == ["info", "-t"] and len(words) in (5, 7) and words[2] in TOPICS and words[3] == "-i":
        return topic(words[2], chip, int(words[4]), int(words[6]) if words[5:6] == ["-c"] else None)
    return None


def bus(chip: EmulatedChip, device: int) -> str:
    """The place of a device on the emulated bus: the two dies of a card have one each."""
    return f"0000:{0x31 + device:02X}:00.0"


def table(chip: EmulatedChip, count: int) -> str:
    """`npu-smi info`."""
    hbm = chip.family.memory == "HBM"
    width = NARROW if hbm else WIDE
    columns = (27, 15, width - 44) if hbm else (31, 17, width - 50)
    second = {"A3": "Chip  Phy-ID", "310P": "Chip    Device"}.get(chip.name, "Chip")
    memory = "AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)" if hbm else "AICore(%)    Memory-Usage(MB)"

    def border(fill: str) -> str:
        return "+" + "+".join(fill * column for column in columns) + "+"

    def row(*cells: str) -> str:
        return "|" + "|".join(f" {cell}".ljust(column) for cell, column in zip(cells, columns, strict=True)) + "|"

    lines = [
        "+" + "-" * width + "+",
        "|" + f" npu-smi {VERSION}".ljust(34) + f"Version: {VERSION}".ljust(width - 34) + "|",
    ]
    lines += [border("-"), row("NPU   Name", "Health", "Power(W)    Temp(C)           Hugepages-Usage(page)")]
    lines += [row(second, "Bus-Id", memory), border("=")]
    for device in range(count):
        card, die = divmod(device, chip.family.dies)
        power = "NA" if chip.power_w is None else "-" if die else str(chip.power_w)
        used = f"{chip.idle_mb} / {chip.memory_mb}"
        lines.append(row(f"{card:<5} {chip.npu_smi}", "OK", f"{power:<11} {chip.temp_c:<17} 0    / 0"))
        place = f"{die:<5} {device}" if second != "Chip" else str(die)
        lines.append(
            row(place, bus(chip, device), f"0           0    / 0          {used}" if hbm else f"0            {used}")
        )
        lines.append(border("="))
    return "\n".join(lines) + "\n"


def mapping(chip: EmulatedChip, count: int) -> str:
    """`npu-smi info -m`: which chip is which device of the runtime; the last of a card is its management unit."""
    head = ("NPU ID", "Chip ID", "Chip Logic ID", *(("Chip Phy-ID",) if chip.name == "A3" else ()), "Chip Name")
    rows: list[Sequence[object]] = [head]
    for device in range(count):
        card, die = divmod(device, chip.family.dies)
        ids = (device,) * (len(head) - 3)
        name = chip.npu_smi if chip.npu_smi.startswith("Ascend") else f"Ascend {chip.npu_smi}"
        rows.append((card, die, *ids, name))
        if die == chip.family.dies - 1:
            rows.append((card, die + 1, *("-" for _id in ids), "Mcu"))
    return "".join("\t" + "".join(f"{cell!s:<31}" for cell in row).rstrip() + "\n" for row in rows)


def topic(name: str, chip: EmulatedChip, card: int, die: int | None = None) -> str:
    """`npu-smi info -t NAME -i CARD [-c CHIP]`: every chip of that card, or one."""
    hbm = chip.family.memory == "HBM"
    kind = "HBM" if hbm else "DDR"
    share = round(100 * chip.idle_mb / chip.memory_mb)
    power = "NA" if chip.power_w is None else str(chip.power_w)
    figures: dict[str, dict[str, object]] = {
        "temp": {"NPU Temperature (C)": chip.temp_c},
        "power": {"NPU Real-time Power(W)": power},
        "usages": {f"{kind} Capacity(MB)": chip.memory_mb, f"{kind} Usage Rate(%)": share, "Aicore Usage Rate(%)": 0},
        "memory": {f"{kind} Capacity(MB)": chip.memory_mb, f"{kind} Clock Speed(MHz)": "NA"},
        "ecc": {f"{kind} {counter}": 0 for counter in ECC},
        "common": {
            "Memory Usage Rate(%)": 0 if hbm else share,
            **({"HBM Usage Rate(%)": share} if hbm else {}),
            "Aicore Usage Rate(%)": 0,
            "Aicore Freq(MHZ)": chip.mhz or "NA",
            "Aicore curFreq(MHZ)": chip.mhz or "NA",
            "Aicore Count": chip.cores[0] or "NA",
            "Temperature(C)": chip.temp_c,
            "NPU Real-time Power(W)": power,
        },
    }
    lines: list[tuple[str, object]] = [("NPU ID", card), ("Chip Count", chip.family.dies)]
    for each in range(chip.family.dies) if die is None else [die]:
        lines += [("Chip ID", each), *figures[name].items()]
    return "".join(f"\t{label:<30} : {value}\n" for label, value in lines)
