"""What ascend-dmi prints, in the forms that other tools' tests and its user guide have; captures of our making."""

from __future__ import annotations

from pathlib import Path

import pytest

from env import ascend_dmi
from env.ascend_dmi import Item, Rate, UnreadableError

CAPTURES = Path(__file__).parents[1] / "data" / "vendor-tools"


def capture(name: str) -> str:
    return (CAPTURES / f"{name}.json").read_text(encoding="utf-8")


def test_a_bandwidth_is_that_of_the_largest_size_that_has_one() -> None:
    assert ascend_dmi.bandwidth(capture("bw_h2d")) == Rate(27.1, bytes=536870912)
    assert ascend_dmi.bandwidth(capture("bw_d2d")) == Rate(751.06, bytes=33554432)  # of the last it says NULL


def test_a_rate_of_both_dies_of_a_card_says_so() -> None:
    assert ascend_dmi.flops(capture("flops_bf16"), "bf16") == Rate(730.1680297851563, dies=2)
    assert ascend_dmi.flops('{"results":[{"TFLOPS@FP32":85.5,"device_id":"all"}]}', "fp32") == Rate(85.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no answer"),
        ("Segmentation fault", "no JSON in its answer: Segmentation fault"),
        ("{", "no JSON in its answer: {"),
        ("[" * 100_000 + "{" * 100_000, "no JSON in its answer"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000, "in its answer"),
        (capture("error"), "error 2: internal error"),
        (capture("bw_null"), "no bandwidth in its answer"),
        ('{"bandwidth": "NA"}', "no bandwidth"),
        ('{"bandwidth": NaN}', "no bandwidth"),
        ('{"bandwidth": true}', "no bandwidth"),
        ('{"bandwidth": "-1 GB/s"}', "no bandwidth"),
    ],
)
def test_what_holds_no_rate_is_unreadable(text: str, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        ascend_dmi.bandwidth(text)
    assert message in str(ascend_dmi.why(caught.value))


def test_a_rate_of_another_dtype_is_none_of_this_one() -> None:
    with pytest.raises(UnreadableError, match="no rate of fp16"):
        ascend_dmi.flops(capture("flops_bf16"), "fp16")


def test_items_have_their_own_words_or_their_groups() -> None:
    items = ascend_dmi.diagnosis(capture("dg_card"))
    assert [(item.name, item.word, ascend_dmi.meaning(item)) for item in items] == [
        ("device", "HEALTH", "good"),
        ("hbm", "SKIP", "untested"),
        ("aiflops", "FAIL", "untested"),  # the tool has no threshold for this chip: it judged nothing
    ]
    (failed,) = ascend_dmi.diagnosis(capture("dg_failed"))
    assert (failed.name, ascend_dmi.meaning(failed), "751.06 / 4999" in failed.text) == ("Hardware", "bad", True)
    with pytest.raises(UnreadableError, match="no diagnosis"):
        ascend_dmi.diagnosis("{}")


@pytest.mark.parametrize("word", ["SKIP", "NA", "NULL", "INFO", "", "null", "N/A", "PASSED?", "health?"])
def test_no_word_but_the_vendors_own_good_ones_passes(word: str) -> None:
    assert ascend_dmi.meaning(Item("hbm", word, "")) == "untested"


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("PASS", "good"), ("health", "good"), ("GENERAL_WARN", "warned"), ("WARN", "warned"), ("IMPORTANT_WARN", "bad"),
     ("EMERGENCY_WARN", "bad"), ("FAIL", "bad")],
)  # fmt: skip
def test_the_words_of_the_user_guide(word: str, meaning: str) -> None:
    assert ascend_dmi.meaning(Item("aicore", word, "")) == meaning


def test_the_tool_is_looked_for_at_the_vendors_place_only(tmp_path: Path) -> None:
    assert ascend_dmi.find_dmi(tmp_path) is None
    for release in ("7.3.0", "latest"):
        tool = tmp_path / "toolbox" / release / "Ascend-DMI" / "bin" / "ascend-dmi"
        tool.parent.mkdir(parents=True)
        tool.write_text("", encoding="utf-8")
    assert ascend_dmi.find_dmi(tmp_path) == tool
    environ = ascend_dmi.environment(tool, {"ASCEND_RT_VISIBLE_DEVICES": "3", "LD_LIBRARY_PATH": "/x"}, tmp_path)
    assert "ASCEND_RT_VISIBLE_DEVICES" not in environ
    assert environ["LD_LIBRARY_PATH"].split(":")[0] == str(tool.parents[1] / "lib64")
    assert environ["LD_LIBRARY_PATH"].endswith(":/x")
