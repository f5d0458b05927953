"""The vendor's codes in a log: every one of the published tables is named, in each way that logs write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from env.__main__ import main
from env.codes import INNER, UNLISTED, load_codes, named_codes, numbers
from env.codes_check import DIFFERS, NOTHING_READ
from env.doctor import Diagnosis, diagnose
from env.errors import InputError
from env.failures import load_failures

PUBLISHED = (Path(__file__).resolve().parents[1] / "data" / "vendor-codes.txt").read_text(encoding="utf-8")
CODES = re.findall(r"^(?!#).*$", PUBLISHED, re.MULTILINE)
TABLES = [line.split() for line in PUBLISHED.split("\n# ")]


def known() -> set[str]:
    return set(" ".join(CODES).split())


def told(log: str) -> set[str]:
    """The codes that the doctor names in a log, by themselves or by a row that explains them."""
    diagnoses = diagnose(log)
    return {each.failure.id for each in diagnoses} | {
        code for each in diagnoses if each.code is None for code in each.failure.covers
    }


def of_codes(log: str) -> list[str]:
    return [each.failure.id for each in diagnose(log) if each.code]


def test_every_published_code_is_listed_with_layer_meaning_and_what_to_look_at() -> None:
    assert len(known()) > 161 + 406
    for text in known():
        code = numbers().get(text) or named_codes()[text]
        assert all((code.meaning, code.layer.name, code.layer.look, code.layer.source)), text


@pytest.mark.parametrize(
    "written",
    [
        "NPU function error: aclrtFoo(x), error code is {}",
        "Call aclrtFoo(x) failed : {} at file runtime.cc line 204",
        "open device 0 failed, runtime result = {}.[FUNC:ReportCallError][FILE:log_inner.cpp]",
        "[ERROR]  acl set device 0 failed, errorCode = {}",
        "OSError: (External) ACL error, the error code is : {}",
        "aclrtMallocAlign32 failed, ret: {}",
        "调用失败，返回码：{}",
    ],
)
def test_every_number_is_named_however_it_is_written(written: str) -> None:
    codes = [text for text in known() if text.isdigit()]
    assert len(codes) > 161
    assert set(codes) <= told("\n".join(written.format(code) for code in codes))


@pytest.mark.parametrize(
    "written",
    [
        "{}: [PID: 811] 2026-11-23-06:08:00.123.456 something",
        "[PID: 811] 2026-11-23-06:08:00.123.456 Some_Title({}): something",
        '{{"detail": "first\\n{}: something"}}',
        "(Worker pid=9) ERROR 02-09 17:11:36 [worker.py:751] {}: something",
    ],
)
def test_every_named_code_is_named_however_it_is_written(written: str) -> None:
    codes = [text for text in known() if not text.isdigit()]
    assert len(codes) > 400
    assert set(codes) <= told("\n".join(written.format(code) for code in codes))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[ERROR] HCCL(3,python): [op_base.cc:974]errNo[0x0000000005000009]HcclAllGather", ["hccl-result:9"]),
        ("OPS function error: HcclBroadcast, error code is 4", ["hccl-result:4"]),
        ("halMemCreate failed drvRetCode=17, size=2, flags=0", ["drv:17"]),
        ("halCqReportRecv failed: device_id=0, drv_ret_code=33[FUNC:LogicCqReportV2]", ["drv:33"]),
        ("dcmi get card list failed, ret is -8010", ["-8010"]),
        ("failed to get device health:ret code: -8012,health code: 4", ["-8012"]),
        ("stream setup failed, retCode=0x7020010.[FUNC:SyncGetDevMsg]", ["0x7020010"]),
        ("ErrCode=5, desc=[driver error:internal error], InnerCode=0x07020022", ["0x7020022"]),
        ("Kernel task happen error, retCode=0x7159999", ["0x7159999"]),
        ("[ERROR] 2026-01-01 (PID:1, Device:0) ERR01005 OPS internal error", ["ERR01005"]),
        ("[ERROR] (PID:1, Device:-1) ERR99999 UNKNOWN application exception", ["ERR99999"]),
        ("[ERROR] HCCP(9,python): connect fail, errno:111, ip 10.0.0.4", ["os:111"]),
        ("rtOpen failed. Reason: Standard function open failed. [Errno 13] Permission", ["os:13"]),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x'", []),
        ("EX1234: no family of ours", []),
        ("NPU function error: aclnnFoo, error code is 561998", ["561998"]),
        ("EI0777: a code of a later release", ["EI0777"]),
        ("E10016: Opname [x] specified is not in the model", ["E10016"]),
        ("loss 0.3, errors 0, 107001 samples, EI00021, XEI0002", []),
        ("epoch 5, error code 7", []),
        ("0x7020010 lies on the heap; drvRet=0; errNo[0x0000000005000000]", []),
    ],
)
def test_shapes_of_codes(line: str, expected: list[str]) -> None:
    assert of_codes(line) == expected


def test_a_modules_own_fault_is_one_whether_it_is_listed_or_not() -> None:
    [diagnosis] = diagnose("E89999: Inner Error!")
    assert (diagnosis.failure.cause, diagnosis.failure.echo) == (INNER, True)


def test_a_code_that_no_table_lists_is_said_to_be_of_its_layer() -> None:
    [diagnosis] = diagnose("EI0777: a code of a later release")
    assert diagnosis.failure.cause == UNLISTED
    assert diagnosis.failure.component == load_codes()["hccl"]["EI0006"].layer.name


ECHOES = [code.text for codes in load_codes().values() for code in codes.values() if code.echo and code.text[0] == "E"]


@pytest.mark.parametrize("echo", [text for text in ECHOES if "*" not in text])
def test_an_echo_never_comes_first(echo: str) -> None:
    for log in (f"{echo}: Inner Error!\nEL0007: no permission\n", f"EL0007: no permission\n{echo}: Inner Error!\n"):
        first = diagnose(log)[0]
        assert (first.failure.id, first.failure.echo) == ("EL0007", False)
    assert [each.failure.id for each in diagnose(f"{echo}: Inner Error!")] == [echo]


def test_independent_faults_have_each_its_line_and_inner_layers_come_first() -> None:
    log = (
        "EE1004: a null pointer\nfine\nEI0010: P2P\nfine\nE20007: a pass\nEJ0004: an address\nerror code is 507000\n"
        "libhccl.so: cannot open shared object file\n"
    )
    assert [(each.failure.id, each.line) for each in diagnose(log)] == [
        ("LIB_HCCL", 8),
        ("EJ0004", 6),
        ("EI0010", 3),
        ("E20007", 5),
        ("EE1004", 1),
        ("507000", 7),
    ]


def test_a_row_beats_the_codes_that_it_explains() -> None:
    log = "rtGetDevice failed, drvRet=87\nEE1001: the argument is invalid\nEL0008: no events\n"
    assert [each.failure.id for each in diagnose(log)] == ["DRV_RET87", "EL0008"]


def test_rows_name_codes_that_exist() -> None:
    listed = {text for codes in load_codes().values() for text in codes}
    listed |= {code.full_name for codes in load_codes().values() for code in codes.values()}
    prefixes = {text.rstrip("*")[:5] for text in listed if text.startswith("0x7")}
    for failure in load_failures():
        for code in failure.covers:
            assert code in listed or code[:5] in prefixes or code.startswith("ERR"), (failure.id, code)


def test_meanings_are_short_and_ours() -> None:
    for codes in load_codes().values():
        for code in codes.values():
            assert 3 < len(code.meaning) <= 110, code
            assert not code.meaning.endswith("."), code


def test_a_code_alone_says_what_it_means_and_what_to_look_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_text("EJ0002: the port\nEE9999: Inner Error!\nNPU function error, error code is 507000\n")
    assert main(["doctor", str(log)]) == 0
    code = load_codes()["hccp"]["EJ0002"]
    assert capsys.readouterr().out == (
        f"EJ0002 ({code.layer.name}), line 1\n  seen:    EJ0002: the port\n  means:   {code.meaning}\n"
        f"  look at: {code.layer.look}\n  source:  {code.layer.source}\n\n"
        "beside it, as what was made of it:\n"
        "  EE9999, line 2: an internal error of the runtime\n"
        "  507000, line 3: an internal error, not named further\n"
    )


FILES = {
    "NPUErrorCodes.h": '      {107001,\n       "Invalid"},\n      {599999, "New"},\n',
    "error_code.json": '{"error_info_list": [{"ErrCode": "EI0006"}, {"ErrCode": "EI0099"}]}',
    "drv_error_code.h": r'    "           \"ErrCode\": \"EL0016\",\n"' + "\n",
    "rt_error_codes.h": "#define ACL_ERROR_RT_X 107000   // x\n#define ACL_ERROR_RT_LONG \\\n    599998\n",
    "hccl_types.h": "    HCCL_E_PARA = 1,\n    HCCL_E_NEW = 77,\n    HCCL_E_RESERVED\n",
    "ascend_hal_error.h": "DRV_ERROR_NONE = 0, DRV_ERROR_X = 87, DRV_ERROR_NOT_SUPPORT = 0xfffe, DRV_ERROR_N = 999",
    "dcmi.h": "DCMI_ERR_CODE_A (DCMI_ERROR_CODE_BASE - 1)\n#define DCMI_ERR_CODE_B (DCMI_ERROR_CODE_BASE - 99)\n",
}


def test_codes_check_names_what_the_table_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert main(["codes-check", *(str(tmp_path / name) for name in FILES)]) == DIFFERS
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["599999", "EI0099", "599998", "77", "999", "-8099"]
    assert last == "14 codes read, 6 not listed"


def test_codes_check_says_when_all_are_listed_or_nothing_was_read(tmp_path: Path) -> None:
    file = tmp_path / "x.h"
    file.write_text('{107001, "x"}')
    assert main(["codes-check", str(file)]) == 0
    file.write_text("nothing")
    assert main(["codes-check", str(file)]) == NOTHING_READ
    with pytest.raises(InputError, match="cannot read"):
        main(["codes-check", str(tmp_path / "absent")])


def test_json_of_a_code_has_the_fixed_fields() -> None:
    [diagnosis] = diagnose("EL0008: no events")
    assert isinstance(diagnosis, Diagnosis)
    assert set(diagnosis.as_dict()) == {"id", "line", "cause", "fix"}
