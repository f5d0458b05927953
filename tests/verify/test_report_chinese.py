"""The Chinese document is Chinese: no English sentence outside code, logs and what records quote.

Four English words in a row are a sentence. Looked at is the document as Markdown: its code, inline and in blocks, is
left out, and so are the columns that quote a record: texts of clips, lines of logs, sources of limits, and the names
that figures and faults have in their files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from env.language import _
from tests.verify.report_runs import RUNS, document, evidence_of, with_record
from verify.report.render import DOCUMENTS, render

MARKDOWN = MarkdownIt("commonmark").enable("table")
SENTENCE = re.compile(r"(?<![\w.-])[A-Za-z][A-Za-z'’-]*(?: [A-Za-z][A-Za-z'’-]*){3,}(?![\w])")
QUOTED = {
    "参考",  # what was spoken
    "识别结果",
    "仅编码器（CTC）",
    "与 CPU 相同",
    "日志行",
    "来源",  # of a limit or a rule: a table's own note
    "配置",  # of the rows that were compared
    "对照",
    "故障",  # of a fault campaign: what was planted, and what its file tells of it
    "未检出的原因",
    "条件",  # a signature: names of devices and versions
}
NAMES = re.compile(
    r"Intel\(R\) Xeon\(R\) Gold 6338 CPU"
    r"|Unterminated string starting at|Input data was truncated"  # what a JSON parser tells of a damaged file
)


def visible(token: Token) -> str:
    """An inline token without its code."""
    return "".join(" " if child.type != "text" else child.content for child in token.children or [])


def texts(markdown: str) -> Iterator[str]:
    """Headings, paragraphs, items and cells as a reader sees them, quoted columns left out."""
    columns: list[str] = []
    tokens = MARKDOWN.parse(markdown)
    cell = 0
    for before, token in pairwise(tokens):
        if before.type == "table_open":
            columns = []
        if before.type == "tr_open":
            cell = 0
        if token.type != "inline":
            continue
        if before.type == "th_open":
            columns.append(visible(token))
        if before.type == "td_open":
            cell += 1
            if columns[cell - 1] in QUOTED:
                continue
        yield visible(token)


def sentences(markdown: str) -> list[str]:
    """The English sentences of a document."""
    return [match[0] for text in texts(markdown) for match in SENTENCE.finditer(NAMES.sub("", text))]


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("run", RUNS)
def test_no_english_sentence_stands_in_the_chinese_document(run: str, kind: str) -> None:
    assert sentences(document(run, "zh", kind)) == []


@pytest.mark.parametrize("run", RUNS)
def test_the_english_document_is_full_of_them(run: str) -> None:
    assert len(sentences(document(run, "en"))) > 20


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("结论：no such file here。", ["no such file here"]),
        ("- **失败**，the device never computed it", ["the device never computed it"]),
        ("### the worker was ended by a signal", ["the worker was ended by a signal"]),
        ("| 问题 |\n| --- |\n| it holds other values |", ["it holds other values"]),
        ("见 `python -m verify report again`。", []),
        ("```text\nthe log of a worker\n```", []),
        ("| 日志行 | 原因 |\n| --- | --- |\n| the log of a worker | 内存不足 |", []),
        ("Granite-Speech-4.1-2B 适配与验证报告（Ascend NPU）", []),
        ("language_model.model.layers.3 > o_proj", []),
    ],
)
def test_four_english_words_in_a_row_are_a_sentence(markdown: str, expected: list[str]) -> None:
    assert sentences(markdown) == expected


def test_an_english_reason_is_caught() -> None:
    reason = "the weights of this layer are not the checkpoint's"
    evidence = with_record("cpu-stand-in", "weights", reason=reason)
    assert sentences(render(evidence, "zh")) == [reason, reason]  # in the table of checks, and under the figures


def test_a_reason_with_a_translation_is_not() -> None:
    evidence = with_record("cpu-stand-in", "weights", reason=_("{check} on {device}", check="weights", device="npu:0"))
    assert evidence != evidence_of("cpu-stand-in")
    assert "weights 在 npu:0 上运行" in render(evidence, "zh")
