"""The vendor's tables, in the layouts that its pages have, against compat.toml."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env import elsewhere
from env.audit.compat_check import DIFFERS, NOTHING_COMPARED, main
from env.audit.published import Cell, Package, Pythons, statements
from env.errors import InputError
from tests.env.chinese import read_by_chinese

NOTE = """# 版本说明

<table><tbody><tr><th>产品名称</th><td><p>TorchNPU</p></td></tr></tbody></table>

|TorchNPU代码分支名称|PyTorch版本|TorchNPU版本|TorchNPU安装包版本|CANN版本|Python版本|
|--|--|--|--|--|--|
|v2.9.0-26.1.0|2.9.0|26.1.0|2.9.0.post6|9.1.0|Python3.10.*x*、Python3.11.*x*、Python3.12.*x*、Python3.13.*x*|
|v2.7.1-26.1.0|2.7.1|26.1.1|2.7.1.post10|9.1.X|Python3.9.*x*、Python3.10.*x*、Python3.11.*x*、Python3.12.*x*、Python3.13.*x*|

<table class="tg"><thead>
  <tr><th rowspan="2">TorchNPU</th><th colspan="2">CANN版本</th></tr>
  <tr><th>8.5.X</th><th>9.0.X</th></tr></thead>
<tbody>
  <tr><td>7.3.X</td><td>Y</td><td>Y</td></tr>
  <tr><td>26.0.X</td><td>Y</td><td>Y</td></tr>
</tbody></table>
"""
# Its first heading reaches over three rows where the head has two.
CANN_NOTE = """CANN and Ascend HDK Version Compatibility
<table><colgroup><col><col></colgroup><thead>
  <tr><th rowspan="3">CANN</th><th colspan="3">Driver Version (Ascend HDK)</th></tr>
  <tr><th>25.0.X</th><th>26.0.RC1/25.7.RC1</th><th>26.1.1</th></tr>
</thead><tbody>
  <tr><td>9.0.X</td><td>Y</td><td>Y</td><td>Y</td></tr>
  <tr><td>9.1.X</td><td>N</td><td>Y</td><td>Y</td></tr>
</tbody></table>
"""
README = """
| PyTorch Version | Python version |
|:---:|:---:|
| PyTorch 2.13.0 | Python3.10, Python 3.14 |
| PyTorch 2.9.0 | Python3.10, Python 3.11 |

| CANN Version | Supported PyTorch Version | Supported Extension Version | Github Branch |
|---|---|---|---|
| CANN 8.2.RC1 | 2.6.0 | 2.6.0 | v2.6.0-7.1.0 |
|  | 2.5.1 | 2.5.1.post1 | v2.5.1-7.1.0 |
| CANN 8.2.RC1.alpha002 | 2.7.1 | 2.7.1rc1 | v2.7.1 |
| CANN 6.3.RC1 | 1.11.0 | 1.11.0 | v1.11.0-5.0.rc1 |

|CANN版本  |  配套Ascend HDK版本|
|--|--|
| [CANN 9.0.0](https://vendor.example/cann?v=9.9.9) | [Ascend HDK 26.0.RC1 ](https://vendor.example/) <br> HDK 25.5.2 |
"""


def saved(folder: Path, text: str) -> str:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_release_notes_are_read() -> None:
    assert statements(NOTE) == [
        Package("2.9.0.post6", "2.9.0", "26.1.0", "9.1.0", ("3.10", "3.11", "3.12", "3.13")),
        Package("2.7.1.post10", "2.7.1", "26.1.1", "9.1.X", ("3.9", "3.10", "3.11", "3.12", "3.13")),
        *[Cell("line", line, "8.5.X", True) for line in ("7.3.X", "26.0.X")],
        *[Cell("line", line, "9.0.X", True) for line in ("7.3.X", "26.0.X")],
    ]
    assert set(statements(CANN_NOTE)) == {
        Cell("driver", "9.0.X", "25.0.X", True),
        Cell("driver", "9.1.X", "25.0.X", False),
        *(Cell("driver", cann, hdk, True) for cann in ("9.0.X", "9.1.X") for hdk in ("26.0.RC1", "25.7.RC1", "26.1.1")),
    }


def test_a_readme_is_read() -> None:
    """An empty CANN is that of the row above; links and line breaks are no part of a version."""
    assert statements(README) == [
        Pythons("2.13.0", ("3.10", "3.14")),
        Pythons("2.9.0", ("3.10", "3.11")),
        Package("2.6.0", "2.6.0", "7.1.0", "8.2.RC1", ()),
        Package("2.5.1.post1", "2.5.1", "7.1.0", "8.2.RC1", ()),
        Package("1.11.0", "1.11.0", "5.0.rc1", "6.3.RC1", ()),
        Cell("driver", "9.0.0", "26.0.RC1", True),
        Cell("driver", "9.0.0", "25.5.2", True),
    ]


@pytest.mark.parametrize("text", [NOTE, CANN_NOTE, README], ids=["note", "cann", "readme"])
def test_what_is_published_is_what_the_table_has(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([saved(tmp_path, text)]) == 0
    assert "statements compared, 0 differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "old", "new", "difference"),
    [
        (NOTE, "2.9.0.post6|9.1.0", "2.9.0.post77|9.1.0", "torch-npu 2.9.0.post77 (CANN 9.1.0): published, not here"),
        (NOTE, "|2.9.0|26.1.0", "|2.9.1|26.1.0", "torch-npu 2.9.0.post6, torch: published 2.9.1, here 2.9.0"),
        (NOTE, "|26.1.1|", "|26.1.9|", "TorchNPU release: published 26.1.9, here 26.1.1"),
        (NOTE, "|9.1.X|", "|9.7.0|", "torch-npu 2.7.1.post10 with CANN 9.7.0: published yes, here not listed"),
        (NOTE, "Python3.9.*x*、", "", "Pythons: published 3.10, 3.11, 3.12, 3.13, here 3.9, 3.10, 3.11, 3.12, 3.13"),
        (
            NOTE,
            "<td>Y</td><td>Y</td>",
            "<td>Y</td><td>N</td>",
            "TorchNPU 7.3.X with CANN 9.0.X: published no, here yes",
        ),
        (NOTE, "26.0.X", "27.0.X", "TorchNPU 27.0.X with CANN 8.5.X: published yes, here nothing"),
        (CANN_NOTE, "<td>N</td>", "<td>Y</td>", "CANN 9.1.X with driver 25.0.X: published yes, here no"),
        (CANN_NOTE, "26.1.1", "26.9.0", "CANN 9.0.X with driver 26.9.0: published yes, here not listed"),
        (README, "<br> HDK 25.5.2", "<br> HDK 23.0.1", "CANN 9.0.0 with driver 23.0.1: published yes, here older"),
        (README, "Python3.10, Python 3.14", "Python3.10, Python 3.15", "torch 2.13.0: published for Python 3.15"),
        (
            README,
            "| CANN 8.2.RC1 | 2.6.0 | 2.6.0 |",
            "| CANN 8.2.RC2 | 2.6.0 | 2.6.0 |",
            "torch-npu 2.6.0 with CANN 8.2.RC2: published, here with evidence medium",
        ),
    ],
)
def test_a_difference_is_named(
    text: str, old: str, new: str, difference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in text
    path = saved(tmp_path, text.replace(old, new))
    assert main([path]) == DIFFERS
    out = capsys.readouterr().out
    assert f"{path}: " in out
    assert difference in out


def test_a_page_without_version_tables_is_not_taken_for_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "# A page\n\n| Name | Purpose |\n|---|---|\n| CANN 9.9.9 | x |\n\n```\n" + README + "\n```\n"
    assert main([saved(tmp_path, text)]) == NOTHING_COMPARED
    assert "no version table that can be compared" in capsys.readouterr().out


def test_what_is_no_regular_file_of_a_pages_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (str(tmp_path), str(tmp_path / "absent"), "/dev/null", "a\0b"):
        with pytest.raises(InputError):
            main([path])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="not a regular file"):
        main([str(pipe)])
    monkeypatch.setattr(elsewhere, "limit", lambda kind: 100)
    with pytest.raises(InputError, match="larger than"):
        main([saved(tmp_path, NOTE)])


def test_spans_cannot_fill_the_memory(tmp_path: Path) -> None:
    row = '<tr><th colspan="1000" rowspan="1000">x</th></tr>'
    with pytest.raises(InputError, match="too many cells"):
        main([saved(tmp_path, "<table>" + row * 1000 + "</table>")])


def test_nothing_of_a_page_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    text = NOTE.replace("26.1.0|2.9.0.post6", f"{{{{{code}}}}}|2.9.0.post6") + f"<script>{code}</script>"
    main([saved(tmp_path, text)])
    assert not marker.exists()


MARKS = ["<table>", "</table>", "<tr>", "<td>", "</td>", "<thead>", "<br>", "|", "--|", "```"]
WORDS = ["CANN版本", "8.5.X", "TorchNPU安装包版本", "2.9.0.post1", "Y", "N", "HDK", "PyTorch版本", "3.11", "\\"]
PIECES = st.sampled_from([*MARKS, *WORDS, "\n", "\n|", "<th rowspan='9'>"])


@given(st.lists(PIECES | st.text(max_size=5), max_size=60).map("".join))
def test_any_text_is_read(text: str) -> None:
    assert isinstance(statements(text), list)


def test_a_chinese_reader_gets_differences_in_chinese(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chinese = {
        "{path}: {difference}": "{path}：{difference}",
        "{what}: published {published}, here {here}": "{what}：官方为{published}，此处为{here}",
        "CANN {cann} with driver {driver}": "CANN {cann} 与驱动 {driver}",
        "yes": "是",
        "no": "否",
    }
    read_by_chinese(monkeypatch, chinese)
    path = saved(tmp_path, CANN_NOTE.replace("<td>N</td>", "<td>Y</td>"))
    main([path])
    assert f"{path}：CANN 9.1.X 与驱动 25.0.X：官方为是，此处为否" in capsys.readouterr().out


@pytest.mark.parametrize("piece", ["[", "[](", "<", "1", "1.", "| a ", "|", "<tr>", "<td>", "<table>", "\n|", "x|--\n"])
def test_a_hostile_page_takes_no_longer_than_its_size(piece: str) -> None:
    text = "<table><tr><td>" + piece * (100_000 // len(piece))
    with contextlib.suppress(ValueError):
        statements(text)
    with contextlib.suppress(ValueError):
        statements("|" + piece * (100_000 // len(piece)) + "|\n|--|\n|" + piece * (100_000 // len(piece)))
