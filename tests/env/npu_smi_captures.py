"""What is to be read of every collected npu-smi output, by file name."""

from __future__ import annotations

from env.npu_smi import Kind

TABLE, FAILURE, NEITHER = Kind.TABLE, Kind.FAILURE, Kind.NEITHER

# file: kind, tool version, driver version, chips as {(npu, chip): (phy, name, health, power, temp, HBM used, total)},
# processes as (npu, chip, pid, name, memory), words of the error, lines left unread.
Figures = tuple[int | None, str | None, str | None, float | None, float | None, int | None, int | None]
Expected = tuple[
    Kind,
    str | None,
    str | None,
    dict[tuple[int, int], Figures],
    list[tuple[int, int, int, str | None, int]],
    tuple[str, ...],
    int,
]


def table(
    tool: str,
    driver: str,
    chips: dict[tuple[int, int], Figures],
    processes: tuple[tuple[int, int, int, str | None, int], ...] = (),
    unread: int = 0,
) -> Expected:
    return TABLE, tool, driver, chips, list(processes), (), unread


def failure(*words: str) -> Expected:
    return FAILURE, None, None, {}, [], words, 0


def neither(lines: int) -> Expected:
    return NEITHER, None, None, {}, [], (), lines


def cards(name: str, rows: str, total: int) -> dict[tuple[int, int], Figures]:
    """Healthy cards of one chip each; rows are "npu power temp used" separated by commas."""
    chips: dict[tuple[int, int], Figures] = {}
    for row in rows.split(","):
        npu, power, temp, used = row.split()
        chips[int(npu), 0] = (None, name, "OK", float(power), float(temp), int(used), total)
    return chips


A3_DIES = (
    "178.7 37 3419 36 3196,186.4 36 3413 36 3189,177.2 37 3412 37 3190,178.5 36 3411 37 3187,"
    "180.6 37 3403 37 3200,189.2 36 3398 36 3202,183.7 39 3400 37 3203,186.1 37 3418 38 3187"
)


def a3_dies() -> dict[tuple[int, int], Figures]:
    chips: dict[tuple[int, int], Figures] = {}
    for card, row in enumerate(A3_DIES.split(",")):
        power, *rest = (float(word) for word in row.split())
        for die in (0, 1):
            temp, used = rest[2 * die], int(rest[2 * die + 1])
            chips[card, die] = (2 * card + die, "Ascend910", "OK", None if die else power, temp, used, 65536)
    return chips


EXPECTED: dict[str, Expected] = {
    "310B1_v23.0.rc3_no-process-table.txt": table(
        "23.0.rc3", "23.0.rc3", {(0, 0): (None, "310B1", "OK", 10.7, 58, 8983, 11577)}
    ),
    "310P3_Duo_two-chips_v25.5.1_partial.txt": table(
        "25.5.1",
        "25.5.1",
        {
            (1, 0): (None, "310P3", "OK", None, 49, 1448, 44278),
            (1, 1): (None, "310P3", "OK", None, 45, 1511, 43693),
            (2, 0): (None, "310P3", "OK", None, 46, 1384, 44278),
        },
    ),
    "310P3_npu1_v24.1.0.1_idle.txt": table(
        "24.1.0.1", "24.1.0.1", {(1, 0): (None, "310P3", "OK", None, 47, 1894, 44215)}
    ),
    "310P3_npu224_v25.2.3_no-process-table.txt": table(
        "25.2.3", "25.2.3", {(224, 0): (None, "310P3", "OK", None, 71, 1263, 44280)}
    ),
    "310P3_npu24_v23.0.0_idle.txt": table("23.0.0", "23.0.0", {(24, 0): (None, "310P3", "OK", None, 29, 1832, 21527)}),
    "310P3_v22.0.0_hugepages-full_modelzoo-fasterrcnn.txt": table(
        "22.0.0", "22.0.2", {(0, 0): (None, "310P3", "OK", 16.3, 53, 4060, 21534)}
    ),
    "310P3_v22.0.0_modelzoo-transformer.txt": table(
        "22.0.0", "22.0.2", {(0, 0): (None, "310P3", "OK", 16.5, 56, 929, 21534)}
    ),
    "310P3_v22.0.0_modelzoo-yolov3.txt": table(
        "22.0.0", "22.0.2", {(0, 0): (None, "310P3", "OK", 16.5, 55, 931, 21534)}
    ),
    "310P3_v25.2.1_hugepages-in-use_partial.txt": table(
        "25.2.1",
        "25.2.1",
        {
            (0, 0): (None, "310P3", "OK", None, 49, 19435, 21527),
            (32, 0): (None, "310P3", "OK", None, 49, 1910, 21527),
            (32768, 0): (None, "310P3", "OK", None, 46, 19562, 21527),
        },
    ),
    "310P3_x3_v24.1.0.1_partial.txt": table(
        "24.1.0.1",
        "24.1.0.1",
        {
            (0, 0): (None, "310P3", "OK", None, 56, 1844, 21527),
            (32, 0): (None, "310P3", "OK", None, 58, 1846, 21527),
            (96, 0): (None, "310P3", "OK", None, 60, 1845, 21527),
        },
    ),
    "910A_v22.0.3_wide-legacy_flagperf.txt": table(
        "22.0.3", "22.0.3", {(4, 0): (None, "910A", "OK", None, 43, 861, 21534)}
    ),
    "910B1_x2_v24.1.rc3_partial.txt": table(
        "24.1.rc3", "24.1.rc3", cards("910B1", "0 94.6 49 3373,1 97.8 48 3367", 65536)
    ),
    "910B2C_x86_v25.0.rc1.1_partial.txt": table("25.0.rc1.1", "25.0.rc1.1", cards("910B2C", "0 88.3 34 3406", 65536)),
    "910B2_npu2-only_v23.0.3_idle.txt": table("23.0.3", "23.0.3", cards("910B2", "2 97.3 47 3335", 65536)),
    "910B2_x2_v26.0.rc1_wide116_proc-in-container-column.txt": table(
        "26.0.rc1",
        "26.0.rc1",
        cards("910B2", "0 424.0 64 38711,1 93.6 44 3406", 65536),
        processes=((0, 0, 1504884, None, 35358),),
    ),
    "910B4_masked-bus_v25.0.rc1.1_partial.txt": table(
        "25.0.rc1.1", "25.0.rc1.1", cards("910B4", "0 105.5 39 6154", 65536)
    ),
    "910B4_npu5-only_v25.5.2_idle.txt": table("25.5.2", "25.5.2", cards("910B4", "5 89.9 39 2922", 32768)),
    "910B4_x2_v23.0.rc3_partial.txt": table(
        "23.0.rc3", "23.0.rc3", cards("910B4", "0 82.6 47 3127,1 81.6 50 3128", 32768)
    ),
    "910B4_x2_v24.1.1_partial.txt": table("24.1.1", "24.1.1", cards("910B4", "0 88.2 30 26838,1 87.0 30 29356", 32768)),
    "910B4_x2_v25.5.3_partial.txt": table("25.5.3", "25.5.3", cards("910B4", "0 85.9 47 2859,1 89.7 48 2659", 32768)),
    "910B4_x8_v25.2.0_one-proc.txt": table(
        "25.2.0",
        "25.2.0",
        cards(
            "910B4",
            "0 84.7 38 2894,1 88.9 39 2653,2 85.3 38 2836,3 88.7 40 2842,"
            "4 86.0 39 2653,5 90.0 40 2836,6 88.6 39 2659,7 84.9 40 2659",
            32768,
        ),
        processes=((0, 0, 472206, "python3.9", 113),),
    ),
    # No generation of the tool prints this shape: the banner is read, and every row is said to be unread.
    "910B_v23.0.rc3.0_SUSPECT-invented_skills.txt": (NEITHER, "23.0.rc3.0", None, {}, [], (), 5),
    "910ProB_x8_v24.1.0_idle.txt": table(
        "24.1.0",
        "24.1.0",
        cards(
            "910ProB",
            "0 78.0 38 18,1 75.8 38 8,2 78.2 39 5,3 76.5 39 4,4 78.8 38 10,5 77.0 38 14,6 83.0 40 3,7 77.3 38 2",
            32768,
        ),
    ),
    "A3_Ascend910_x8x2_v24.1.rc3.7_idle.txt": table("24.1.rc3.7", "24.1.rc3.7", a3_dies()),
    "A3_v26.0.rc2_wide116_partial.txt": table(
        "26.0.rc2",
        "26.0.rc2",
        {
            (0, 0): (0, "Ascend910", "OK", 162.6, 34, 3419, 65536),
            (0, 1): (1, "Ascend910", "OK", None, 34, 2874, 65536),
        },
    ),
    "DERIVED_910B2_x4_Alarm-Critical-Warning-UNKNOWN.txt": table(
        "25.5.0",
        "25.5.0",
        {
            (0, 0): (None, "910B2", "Alarm", 98.4, 37, 3431, 65536),
            (1, 0): (None, "910B2", "Critical", 94.7, 37, 3429, 65536),
            (2, 0): (None, "910B2", "Warning", 96.3, 37, 3427, 65536),
            (3, 0): (None, "910B2", "UNKNOWN", None, None, None, None),
        },
    ),
    "FAIL_command-not-found.txt": failure("command not found"),
    "FAIL_dcmi-8005_g_conLogLevel.txt": failure("-8005", "g_conLogLevel=3"),
    "FAIL_dcmi-8005_ret4.txt": failure("-8005", "ret=4"),
    "FAIL_driver-not-complete.txt": failure("not be completely installed"),
    "FAIL_invalid-card-id_mindcluster.txt": failure("Invalid card id"),
    "FAIL_no-product-query.txt": failure("does not support querying product"),
    "HCCN_stat_and_link_stat_mindcluster.txt": neither(12),
    "LSPCI_d802_x8.txt": neither(8),
    "info-l_x8_910B3_v25.5.1_skills.txt": neither(5),
    "info-m_910B3_fixture.txt": neither(2),
    "info-m_910B3_mcu-row_v25.5.1_skills.txt": neither(3),
    "type-board-chip_910_v23.0.5_mindcluster.txt": neither(13),
    "type-board_910_v23.0.5_mindcluster.txt": neither(15),
    "type-common_910_mindcluster.txt": neither(11),
    "type-ecc_v23_mindcluster.txt": neither(14),
    "type-health-chip_OK_mindcluster.txt": neither(3),
    "type-health_card_OK.txt": neither(4),
    "type-memory_910B3_v25.5.1_skills.txt": neither(6),
    "type-proc-mem_910B3_v25.5.1_skills.txt": neither(1),
    "type-product_Atlas500A2.txt": neither(4),
    "xxx_A3_in-container_process-id-in-container_mindcluster.txt": table(
        "xxx.xxx.xxx",
        "xxx.xxx.xxx",
        {(0, 0): (0, "xxx", "OK", 157.3, 32, 3130, 65536), (0, 1): (0, "xxx", "OK", None, 32, 3130, 65536)},
        unread=1,
    ),
    "xxx_v23.0.5_elided_mindcluster.txt": table(
        "23.0.5", "23.0.5", cards("xxx", "0 73.1 37 0,7 67.0 38 0", 32768), unread=2
    ),
    "xxx_v24.1.rc1_elided_mindcluster.txt": table("24.1.rc1", "24.1.rc1", cards("xxx", "7 67.0 44 0", 32768), unread=3),
    "xxx_x8_v23.0.rc3_hugepages-procs_mindcluster.txt": table(
        "23.0.rc3",
        "23.0.rc2.3",
        cards(
            "xxx",
            "0 73.4 44 30710,1 69.6 39 30710,2 70.0 36 30710,3 69.6 44 30709,"
            "4 71.3 40 30709,5 67.0 36 30709,6 71.7 37 30710,7 69.1 42 30710",
            32768,
        ),
        processes=tuple(
            (npu, 0, pid, "python", memory)
            for npu, pid, memory in [
                (0, 139667, 30780),
                (1, 139577, 30782),
                (2, 139446, 30780),
                (3, 139372, 30780),
                (4, 139258, 30780),
                (5, 139163, 30780),
                (6, 139126, 30780),
                (7, 139090, 30780),
            ]
        ),
    ),
}
