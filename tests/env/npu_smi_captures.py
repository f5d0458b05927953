"""What is to be read of every npu-smi output under tests/data/npu-smi, by file name."""

from __future__ import annotations

from typing import Any

from env.npu_smi import Kind

TABLE, FAILURE, NEITHER = Kind.TABLE, Kind.FAILURE, Kind.NEITHER

# name without .txt: kind, tool version, driver version,
# chips as {(npu, chip): (phy, name, health, power, temp, HBM used, total)},
# processes as (npu, chip, pid, name, memory), words of the error, lines left unread.
Figures = tuple[int | None, str | None, str | None, float | None, float | None, int | None, int | None]
Chips = dict[tuple[int | None, int | None], Figures]
Running = tuple[int | None, int | None, int, str | None, int]
Expected = tuple[
    Kind,
    str | None,
    str | None,
    Chips,
    list[Running],
    tuple[str, ...],
    int,
]


def table(
    tool: str | None,
    driver: str | None,
    chips: Chips,
    processes: tuple[Running, ...] = (),
    unread: int = 0,
) -> Expected:
    return TABLE, tool, driver, chips, list(processes), (), unread


def failure(*words: str, unread: int = 0) -> Expected:
    return FAILURE, None, None, {}, [], words, unread


def neither(lines: int) -> Expected:
    return NEITHER, None, None, {}, [], (), lines


def answer(kind: Kind, *chips: tuple[int | None, int | None], driver: str | None = None, **figures: object) -> Expected:
    """An answer to an option; `figures` are those of its chips that a table would have, None unless they are named."""
    names = ("phy", "name", "health", "power", "temp", "used", "total")
    fields = [figures.get(name) for name in names]
    each: list[Any] = [
        tuple(field[place] if isinstance(field, list) else field for field in fields) for place in range(len(chips))
    ]
    return kind, None, driver, dict(zip(chips, each, strict=True)), [], (), 0


def cards(name: str, rows: str, total: int) -> Chips:
    """Healthy cards of one chip each; rows are "npu power temp used" separated by commas."""
    chips: Chips = {}
    for row in rows.split(","):
        npu, power, temp, used = row.split()
        chips[int(npu), 0] = (None, name, "OK", float(power), float(temp), int(used), total)
    return chips


A3_CARDS = (
    "171.4 38 3402 37 3171,179.9 35 3391 34 3166,174.6 39 3397 38 3180,181.3 37 3388 36 3175,"
    "176.2 36 3405 35 3162,184.7 38 3394 39 3169,180.8 40 3399 38 3184,178.1 36 3386 37 3173"
)


def two_dies(rows: str, health: str = "OK", first: int = 0) -> Chips:
    """Cards of two dies each, the second without a power of its own; rows are "power temp used temp used"."""
    chips: Chips = {}
    for card, row in enumerate(rows.split(","), start=first):
        power, *rest = (float(word) for word in row.split())
        for die in (0, 1):
            temp, used = rest[2 * die], int(rest[2 * die + 1])
            chips[card, die] = (2 * card + die, "Ascend910", health, None if die else power, temp, used, 65536)
    return chips


EXPECTED: dict[str, Expected] = {
    "310b-no-bus": table("23.0.rc2", "23.0.rc2", {(0, 0): (None, "310B1", "OK", 9.4, 63, 7346, 11580)}),
    "310p-duo-build-in-version": table(
        "25.0.rc1.b027",
        "25.0.rc1.b027",
        {
            (2, 0): (None, "310P3", "OK", None, 43, 1571, 44280),
            (2, 1): (None, "310P3", "OK", None, 42, 1312, 43693),
        },
    ),
    "310p-duo-cut-in-the-second-card": table(
        "25.5.0",
        "25.5.0",
        {
            (3, 0): (None, "310P3", "OK", None, 51, 1502, 44278),
            (3, 1): (None, "310P3", "OK", None, 48, 1466, 43693),
            (5, 0): (None, "310P3", "OK", None, 50, 1397, 44278),
        },
    ),
    "310p-head-cut-off": table(
        None,
        None,
        {
            (33280, 0): (None, "310P3", "OK", None, 55, 1803, 21527),
            (33312, 0): (None, "310P3", "OK", None, 49, 1811, 21527),
            (33536, 0): (None, "310P3", "OK", None, 52, 1807, 21527),
        },
    ),
    "310p-hugepages-in-use": table(
        "25.2.0",
        "25.2.0",
        {
            (0, 0): (None, "310P3", "OK", None, 52, 18911, 21527),
            (96, 0): (None, "310P3", "OK", None, 47, 1873, 21527),
            (32864, 0): (None, "310P3", "OK", None, 44, 19120, 21527),
        },
    ),
    "310p-narrow-hugepages-full": table("22.0.0", "22.0.3", {(0, 0): (None, "310P3", "OK", 17.2, 61, 3377, 21534)}),
    "310p-narrow-idle": table("22.0.0", "22.0.3", {(0, 0): (None, "310P3", "OK", 15.8, 48, 917, 21534)}),
    "310p-no-process-table": table("25.2.2", "25.2.2", {(192, 0): (None, "310P3", "OK", None, 68, 1337, 44280)}),
    "310p-one-card-idle": table("23.0.1", "23.0.1", {(40, 0): (None, "310P3", "OK", None, 33, 1719, 21527)}),
    "310p-preload-noise": table(
        "25.2.3", "25.2.3", {(1024, 0): (None, "310P3", "OK", None, 51, 20011, 21527)}, unread=1
    ),
    "310p-three-cards": table(
        "24.1.0.2",
        "24.1.0.2",
        {
            (0, 0): (None, "310P3", "OK", None, 54, 1782, 21527),
            (64, 0): (None, "310P3", "OK", None, 57, 1791, 21527),
            (160, 0): (None, "310P3", "OK", None, 62, 1779, 21527),
        },
    ),
    "910-first-card-left-out-in-a-fence": table("24.1.rc2", "24.1.rc2", cards("xxx", "7 65.9 42 0", 32768), unread=3),
    "910-name-masked-eight-processes": table(
        "23.0.rc2",
        "23.0.rc1.5",
        cards(
            "xxx",
            "0 71.2 43 29874,1 68.8 38 29874,2 72.5 41 29871,3 70.6 45 29874,"
            "4 69.9 37 29870,5 66.4 39 29871,6 73.0 42 29874,7 70.1 40 29870",
            32768,
        ),
        processes=tuple(
            (npu, 0, pid, "train_step", memory)
            for npu, pid, memory in [
                (0, 88213, 29942),
                (1, 88164, 29943),
                (2, 88102, 29941),
                (3, 88051, 29942),
                (4, 87990, 29939),
                (5, 87936, 29941),
                (6, 87905, 29942),
                (7, 87871, 29939),
            ]
        ),
    ),
    "910-rows-left-out": table("23.0.6", "23.0.6", cards("xxx", "0 71.8 35 0,7 68.3 40 0", 32768), unread=2),
    "910a-cell-one-column-short": table("22.0.4", "22.0.4", {(6, 0): (None, "910A", "OK", None, 52, 748, 21534)}),
    "910b1-two-cards": table("24.1.rc2", "24.1.rc2", cards("910B1", "2 96.1 46 3352,3 93.9 51 3349", 65536)),
    "910b2-every-health-word": table(
        "25.5.2",
        "25.5.2",
        {
            (4, 0): (None, "910B2", "Alarm", 97.7, 44, 3402, 65536),
            (5, 0): (None, "910B2", "Critical", 93.8, 81, 3411, 65536),
            (6, 0): (None, "910B2", "Warning", 95.1, 72, 3408, 65536),
            (7, 0): (None, "910B2", "UNKNOWN", None, None, None, None),
        },
    ),
    "910b2-one-card-idle": table("23.0.2", "23.0.2", cards("910B2", "4 91.6 44 3291", 65536)),
    # The id of the last column is the process's within its container; its name is not shown outside of it.
    "910b2-wide-process-of-a-container": table(
        "26.0.rc2",
        "26.0.rc2",
        cards("910B2", "0 397.5 61 40912,1 95.2 43 3377", 65536),
        processes=((0, 0, 2207415, None, 37530),),
    ),
    "910b2c-four-part-version": table("25.0.rc1.2", "25.0.rc1.2", cards("910B2C", "1 86.9 36 3389", 65536)),
    "910b4-bus-masked": table("25.0.rc1.2", "25.0.rc1.2", cards("910B4", "2 103.2 42 5893", 65536)),
    "910b4-bus-masked-in-part": table(
        "25.5.0",
        "25.5.0",
        cards("910B4-1", "0 84.9 35 2855,1 131.6 44 58231", 65536),
        processes=((1, 0, 52817, "VLLM::EngineCor", 55402),),
    ),
    "910b4-eight-cards-one-process": table(
        "25.2.1",
        "25.2.1",
        cards(
            "910B4",
            "0 83.1 36 2811,1 87.4 37 2702,2 86.2 41 2799,3 90.3 38 2723,"
            "4 85.5 43 2730,5 89.6 42 2741,6 87.9 35 2688,7 82.8 37 2694",
            32768,
        ),
        processes=((3, 0, 618340, "python3.11", 127),),
    ),
    "910b4-four-cards-two-processes": table(
        "25.5.1",
        "25.5.1",
        {
            (0, 0): (None, "910B4-1", "OK", 91.4, 41, 28417, 65536),
            (1, 0): (None, "910B4-1", "Warning", 88.2, 43, 2871, 65536),
            (2, 0): (None, "910B4-1", "Alarm", 87.9, 78, 2866, 65536),
            (3, 0): (None, "910B4-1", "UNKNOWN", None, None, None, None),
        },
        processes=((0, 0, 81234, "python3 a|b", 25480), (0, 0, 81240, None, 120)),
    ),
    "910b4-memory-in-use": table("24.1.2", "24.1.2", cards("910B4", "0 112.4 33 27411,1 109.7 32 30122", 32768)),
    # Memory of the board's own (DDR) stands beside the HBM; the HBM is what a model is loaded into.
    "910prob-eight-cards-both-memories": table(
        "24.1.1",
        "24.1.1",
        cards(
            "910ProB",
            "0 76.3 41 21,1 74.9 40 6,2 79.5 42 7,3 75.2 43 9,4 80.1 41 12,5 78.7 44 11,6 81.4 45 1,7 77.8 40 0",
            32768,
        ),
    ),
    "910b-without-digit-both-memories": table(
        "25.2.3",
        "25.2.3",
        {
            (3, 0): (None, "910B", "OK", 71.3, 47, 18, 32768),
            (6, 0): (None, "910B", "OK", 69.9, 44, 0, 32768),
        },
    ),
    # The head that tells the memories apart ends in the middle: their order tells.
    "910b-head-cut-short": table(
        "25.2.3",
        "25.2.3",
        {
            (3, 0): (None, "910B", "OK", 71.3, 47, 18, 32768),
            (6, 0): (None, "910B", "OK", 69.9, 44, 0, 32768),
        },
        unread=1,
    ),
    # One memory of a chip that has two, and no head: it is the board's, and the chip's own was not shown.
    "910b-hbm-not-shown": table(None, None, {(3, 0): (None, "910B", "OK", 71.3, 47, None, None)}, unread=1),
    "950-heads-cut-off": table(
        None,
        None,
        {
            (2, 0): (None, "Ascend950PR", "Warning", 188.4, 61, 71204, 114688),
            (5, 0): (None, "Ascend950DT", "OK", 191.7, 49, 4511, 131072),
        },
        processes=((2, 0, 884120, None, 66012),),
    ),
    "950-two-cards-one-process": table(
        "25.7.rc1.2",
        "25.7.rc1.2",
        {
            (2, 0): (None, "Ascend950PR", "Warning", 188.4, 61, 71204, 114688),
            (5, 0): (None, "Ascend950DT", "OK", 191.7, 49, 4511, 131072),
        },
        processes=((2, 0, 884120, "serve_speech", 66012),),
    ),
    "a3-eight-cards-two-dies": table("24.1.rc3.5", "24.1.rc3.5", two_dies(A3_CARDS)),
    "a3-every-die-alarms": table(
        "25.2.3", "25.2.3", two_dies("167.4 39 3141 38 2934,166.1 38 3127 37 2928", health="Alarm")
    ),
    # A masked version is none.
    "a3-in-container-one-die-twice": table(
        None,
        None,
        {(0, 0): (2, "xxx", "OK", 163.8, 36, 3094, 65536), (0, 1): (2, "xxx", "OK", None, 37, 3094, 65536)},
        unread=1,
    ),
    "a3-one-card-wide": table(
        "26.0.rc1",
        "26.0.rc1",
        two_dies("171.5 35 9120 36 3011", first=3),
        processes=((3, 0, 990011, "python", 6105),),
    ),
    "a3-wide-one-card-no-process-table": table("26.0.rc3", "26.0.rc3", two_dies("159.3 36 3388 35 2861", first=1)),
    "a3-wide-processes-of-host-and-container": table(
        "26.0.rc3",
        "26.0.rc3",
        two_dies("173.6 40 14877 39 14902,182.2 43 59834 41 2877"),
        processes=(
            (0, 0, 713310, "serve_speech", 11801),
            (0, 1, 713311, "serve_speech", 11822),
            (1, 0, 720455, "VLLM::Worker_TP", 56770),
        ),
    ),
    "failure-card-id": failure("Invalid card id", "Error parameter", "Usage", unread=1),
    "failure-command-not-found": failure("command not found"),
    "failure-dcmi-8005": failure("-8005", "ret=87"),
    "failure-dcmi-8005-log-level": failure("-8005", "g_conLogLevel=1"),
    "failure-dcmi-8020-device-used": failure("-8020", "because the device is used"),
    "hccn-packets-and-links": neither(12),
    "info-l-950": answer(Kind.LIST, (5, None)),
    "info-l-first-two-of-four": answer(Kind.LIST, (2, None), (5, None)),
    "info-m-950": answer(Kind.MAP, (2, 0), (5, 0), phy=[2, 5], name=["Ascend950PR", "Ascend950DT"]),
    "info-m-chip-and-mcu": answer(Kind.MAP, (6, 0), (6, 1), name=["910B2", "Mcu"]),
    "info-m-one-chip": answer(Kind.MAP, (3, 0), name="910B4"),
    "info-m-two-dies": answer(
        Kind.MAP, (4, 0), (4, 1), (4, 2), phy=[8, 9, None], name=["Ascend910", "Ascend910", "Mcu"]
    ),
    "lspci-eight-boards": neither(8),
    "no-card": failure("no NPU card"),
    # The banner is read, and every row is said to be unread.
    "no-version-prints-this": (NEITHER, "23.0.rc1.0", None, {}, [], (), 5),
    "type-board-indented": answer(Kind.BOARD, (2, None), driver="25.7.rc1.2"),
    "type-board-of-a-card": answer(Kind.BOARD, (3, None), driver="23.0.6"),
    "type-board-of-a-chip": answer(Kind.BOARD, (3, 0), name="xxx"),
    "type-common": answer(Kind.COMMON, (3, 0), power=83.5, temp=46.0),
    "type-ecc": answer(Kind.ECC, (None, 0)),
    "type-ecc-950": answer(Kind.ECC, (5, None)),
    "type-health-of-a-card": answer(Kind.HEALTH, (4, 0), health="OK"),
    "type-health-of-a-chip": answer(Kind.HEALTH, (None, None), health="Warning"),
    "type-health-several-errors": answer(Kind.HEALTH, (1, None), health="Alarm"),
    "type-memory": answer(Kind.MEMORY, (None, None), total=32768),
    "type-memory-950": answer(Kind.MEMORY, (5, None), total=131072),
    "type-power": answer(Kind.POWER, (2, None), power=187.2),
    "type-power-not-available": answer(Kind.POWER, (40, 0)),
    "type-proc-mem": (Kind.PROCESSES, None, None, {}, [(None, None, 318446, "serve_speech", 28190)], (), 0),
    "type-product": answer(Kind.PRODUCT, (1, 0)),
    "type-spod-info-not-supported": failure("does not support"),
    "type-temp": answer(Kind.TEMPERATURE, (2, None), temp=57.0),
    "type-topo": answer(Kind.TOPOLOGY, (0, None), (1, None), (2, None)),
    "type-usages": answer(Kind.USAGES, (6, 0), total=65536),
    "type-usages-950": answer(Kind.USAGES, (5, None), total=131072),
    "type-usages-two-chips": answer(Kind.USAGES, (96, 0), (96, 1), total=[44278, 43693]),
}
