"""The catalogue of known failures: every row knows its own examples, and no other row's unless it says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from env.doctor import diagnose
from env.failures import Failure, load_failures
from env.log_search import FIRST_CHARACTERS, SHORTEST_LITERAL, literals
from env.toml import load_toml

TESTS = Path(__file__).resolve().parents[1]
EXAMPLES: dict[str, list[str]] = load_toml(TESTS / "data" / "failure_examples.toml")
CATALOGUE = {failure.id: failure for failure in load_failures()}
RANK = {name: rank for rank, name in enumerate(CATALOGUE)}


def matches(failure: Failure, line: str) -> bool:
    return any(expression.search(line.encode()) for expression in failure.expressions)


def test_catalogue_has_ninety_rows_with_an_example_each() -> None:
    assert len(CATALOGUE) == len(load_failures()) >= 90
    assert list(EXAMPLES) == list(CATALOGUE)
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("failure", CATALOGUE.values(), ids=lambda failure: failure.id)
def test_row_is_whole(failure: Failure) -> None:
    assert all((failure.component, failure.cause, failure.confirm, failure.fix, failure.source, failure.expressions))
    for text in (failure.cause, failure.fix):
        assert text.endswith((".", ")")), text
        assert "\n" not in text


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_example_is_diagnosed_as_its_own_row_first(name: str, line: str) -> None:
    ids = [diagnosis.failure.id for diagnosis in diagnose(line) if diagnosis.code is None]
    assert ids[0] == name
    assert all(name in CATALOGUE[other].after for other in ids[1:]), ids


@pytest.mark.parametrize("failure", CATALOGUE.values(), ids=lambda failure: failure.id)
def test_every_sign_of_a_row_has_an_example(failure: Failure) -> None:
    for expression in failure.expressions:
        assert any(expression.search(line.encode()) for line in EXAMPLES[failure.id]), expression.pattern


def test_no_row_matches_the_example_of_another_unless_it_stands_after_it() -> None:
    crossed = {
        (failure.id, name)
        for failure in CATALOGUE.values()
        for name, lines in EXAMPLES.items()
        if name != failure.id and any(matches(failure, line) for line in lines)
    }
    assert crossed <= {(failure.id, name) for failure in CATALOGUE.values() for name in failure.after}


def test_rows_stand_after_what_they_name() -> None:
    for failure in CATALOGUE.values():
        for name in failure.after:
            assert RANK[name] < RANK[failure.id], f"{failure.id} wraps {name}"


WRAPPED = [
    ("LIB_HCCL", "BACKEND_AUTOLOAD"),
    ("BACKEND_AUTOLOAD", "VLLM_INFER_DEVICE"),
    ("TBE_DEPS", "INIT_500001"),
    ("OPS_561103", "INIT_500001"),
    ("DCMI_8005", "HAL_COUNT"),
    ("PERM_NODE", "HAL_COUNT"),
    ("E30006_OPP", "SETDEV_507033"),
    ("VISIBLE_RANGE", "INVALID_DEV_107001"),
    ("STALE_PROCESS", "TSD_NO_ANSWER"),
    ("E30006_OPP", "TSD_NO_ANSWER"),
    ("HCCL_SOCKET", "HCCL_INIT"),
    ("HCCL_NOTIFY", "TASK_TIMEOUT"),
    ("DRV_RET87", "SOC_507008"),
    ("KERNEL_RANGE", "SYNC_5070XX"),
    ("FORK_INIT", "CTX_107002"),
    ("HEALTH_BAD", "SYNC_5070XX"),
    ("PORT_USED", "HCCL_INIT"),
    ("PIP_CPU_TAG", "PIP_CONFLICT"),
    ("SYM_TORCH", "BACKEND_AUTOLOAD"),
    ("SHM", "CORE_IMPORT"),
    ("NO_TORCH_NPU", "NPU_NOT_IN_DEVICE"),
]


@pytest.mark.parametrize(("inner", "wrapper"), WRAPPED)
def test_inner_cause_comes_before_its_wrapper_wherever_they_stand(inner: str, wrapper: str) -> None:
    for log in ([EXAMPLES[wrapper][0], EXAMPLES[inner][0]], [EXAMPLES[inner][0], EXAMPLES[wrapper][0]]):
        ids = [diagnosis.failure.id for diagnosis in diagnose(log)]
        assert ids.index(inner) < ids.index(wrapper)
        assert ids[0] == inner


@pytest.mark.parametrize(
    "line",
    [
        "INFO step 107001 loss 0.31 err 0.02",
        "INFO request 507033 finished in 0.207001 s",
        "[PID: 107002] worker started, 0 failed, 207018 tokens",
        "wrote 500001 bytes, return to line 561103",
        "ASCEND_RT_VISIBLE_DEVICES=0,1",
        "ASCEND_HOME_PATH=/usr/local/Ascend/cann-8.5",
        "UserWarning: this is a warning, not a table | Warning|",
        "| 0     910B4               | OK            | 91.4        41                0    / 0             |",
        "[INFO] HCCL HcclGetRootInfo success, rank 0",
        "chmod 750 /opt/app",
        "CANN: 8.5.1",
        "cc -L/usr/local/Ascend/cann/devlib -lascend_hal",
        "ret is 0",
        "the task was Killed by nobody",
        "torch.npu.device_count() == 8",
        "No module named 'torch_npu_extension_of_mine'",
        "loss E50000 is no code, nor is part 5070155",
        "worker pid 107001 drew 561003 samples at 0x7010003",
        "I0110 08:00:12 E0110 klog",
        "drvRet=0, errNo[0x0000000005000000]",
        "visible devices: 0,1",
        # CANN's word for a fault of the vector core, which is none of the host's processor.
        "errorStr: Illegal instruction, which is usually caused by unaligned UUB addresses, fixp_error0 info",
    ],
)
def test_ordinary_line_is_no_failure(line: str) -> None:
    assert [diagnosis.failure.id for diagnosis in diagnose(line)] == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (r"ret is -8005\b", ["ret is -8005"]),
        (r"a\.so.{0,10}: b", ["a.so", ": b"]),
        (r"mod(?:ule|el) failed", ["mod", " failed"]),
        (r"Resource_?Busy", ["Resource", "Busy"]),
        (r"x{1,3}yz{0,2}w", ["y", "w"]),
        (r"[Ss]oc+ (?:(a)|b(c|[)(]))d", ["o", " ", "d"]),
        (r"ab\.?c", ["ab", "c"]),
        (r"^CANN:\s*$", ["CANN:"]),
        (r"a(?!b|c)d\(e\|f", ["a", "d(e|f"]),
        (r"", []),
    ],
)
def test_literals_are_what_every_match_holds(expression: str, expected: list[str]) -> None:
    runs = literals(expression)
    assert [run.text for run in runs] == expected
    for run in runs:
        assert re.sub(r"\\(.)", r"\1", expression[: run.end]).endswith(run.text)
        re.compile(expression[run.end :])


def test_alternatives_outside_of_a_group_are_refused() -> None:
    with pytest.raises(ValueError, match="alternatives"):
        literals("abcd|efgh")


def test_every_sign_is_searched_by_a_literal_of_its_own_examples() -> None:
    for failure in CATALOGUE.values():
        for sign in failure.signs:
            assert len(sign.literal) >= SHORTEST_LITERAL
            for line in EXAMPLES[failure.id]:
                if sign.pattern.search(line.encode()):
                    assert re.search(re.escape(sign.literal) + sign.rest, line), (failure.id, sign)


def test_literals_begin_with_few_characters() -> None:
    """Each first character is one more pass over the log (env/log_search.py, FIRST_CHARACTERS)."""
    firsts = {sign.literal[0] for failure in CATALOGUE.values() for sign in failure.signs}
    assert len(firsts) <= len(FIRST_CHARACTERS) + 10, sorted(firsts)


def test_expressions_have_bounded_gaps() -> None:
    for failure in CATALOGUE.values():
        for sign in failure.signs:
            assert not re.search(r"(?<!\\)\.[*+]", re.sub(r"\[[^]]*\]", "", sign.expression)), sign.expression
