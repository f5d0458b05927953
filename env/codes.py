"""The vendor's codes (codes.toml) in a log: what each says, which layer it is from, what to look at.

A code is one only where it is written as one: EI0006 as it stands, a number behind a word of failure or the name of an
API, a driver's value behind its variable. Every shape below begins with a fixed character, which re finds at memory
speed (`nox -s bench-doctor`); the rest is tried at those places alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from env.language import Message, _
from env.log_search import Hit, hit_at, line_at
from env.toml import load_toml

TABLE = Path(__file__).with_name("codes.toml")

# What a bare number has to follow to be a code, with nothing but "code is", "ret =" and the like between: step 107001
# of a training run is none.
FAILING = r"(?i:err(?:or|no)?|fail(?:ed|ure)?|exception|code|result)|[rR]et|return|错误|失败|错误码|返回码|返回值"
API = r"\b(?:acl|rt|hal|drv|hccl|Hccl|dcmi)\w{0,40}[A-Z]\w{0,40}"
BETWEEN = (
    r"(?:[\s:=.()\[\]\"'_-]|：|is|code|Code|ret|with|num|number|returns?|value|status|fail(?:ed|ure)?|error){0,16}"
)
_BEFORE = re.compile(rf"(?:{FAILING}|{API}){BETWEEN}\Z".encode())
_BEFORE_REACH = 160  # bytes before a number that are looked at
_HCCL = re.compile(rb"(?i:hccl)")
_DCMI = re.compile(rb"(?i:dcmi|npu-smi|ret is|ret code|health)")

_INNER = ("9999", "8888")  # every module reports its own faults with these
# The layers by the letters that their codes begin with (the errClass of the vendor's error_code.json), for codes that
# the tables do not list.
_FAMILIES: Mapping[str, str] = {
    "EL": "driver",
    "EJ": "hccp",
    "EI": "hccl",
    "EE": "runtime",
    "EH": "acl-text",
    "EZ": "operator",
    "EB": "compiler",
    "EC": "compiler",
    "EA": "compiler",
    "EK": "profiling",
    "EP": "profiling",
    "EF": "graph",
    "EM": "graph",
    "EO": "graph",
    "EG": "graph",
    "E1": "graph",
    "E2": "fusion",
    "E3": "tsd",
    "E4": "compiler",
    "E5": "operator",
    "E6": "operator",
    "E7": "operator",
    "E8": "operator",
    "E9": "compiler",
}
INNER = _("an internal error of this layer")
UNLISTED = _("a code of this layer that the vendor's published tables do not list")


@dataclass(frozen=True)
class Layer:
    """A part of the stack that has codes of its own; `depth` counts from the innermost."""

    id: str
    depth: int
    name: Message
    look: Message
    source: str


@dataclass(frozen=True)
class Code:
    """A code of a layer. An echo repeats what a layer below reported, so it is no cause where anything else is."""

    text: str
    layer: Layer
    meaning: Message
    echo: bool

    @property
    def number(self) -> bool:
        """Whether it is a return value of AscendCL or the operator library, the numbers that rows are known by."""
        return self.layer.id in ("acl", "aclnn")

    @property
    def full_name(self) -> str:
        """As a row of failures.toml names it where the text alone could be another layer's: "drv:87"."""
        return f"{self.layer.id}:{self.text}"


@dataclass(frozen=True)
class CodeHit:
    """A code and where the log has it first."""

    code: Code
    hit: Hit


@cache
def load_codes(path: Path = TABLE) -> Mapping[str, Mapping[str, Code]]:
    """Every code by layer and text; the layers innermost first."""
    tables: list[dict[str, Any]] = load_toml(path)["layer"]
    codes: dict[str, dict[str, Code]] = {}
    for depth, table in enumerate(tables):
        layer = Layer(table["id"], depth, Message(table["name"]), Message(table["look"]), table["source"])
        codes[layer.id] = {
            text: Code(text, layer, Message(row["meaning"]), row.get("echo", table.get("echo", False)))
            for row in table["code"]
            for text in row["codes"].split()
        }
    return codes


@cache
def named_codes() -> Mapping[str, Code]:
    """The codes that tell their layer by themselves: EI0006, W40011, ERR00100."""
    return {text: code for codes in load_codes().values() for text, code in codes.items() if text[0] in "EW"}


@cache
def numbers() -> Mapping[str, Code]:
    """The return values of AscendCL and of the operator library."""
    return {**load_codes()["acl"], **load_codes()["aclnn"]}


def _named(match: re.Match[bytes]) -> Code | None:
    text = match[0].decode()
    code = named_codes().get(text)
    if text.startswith("ERR"):
        code = code or named_codes().get(f"ERR*{text[-3:]}")
        return replace(code, text=text) if code else None
    if code is not None or text[0] == "W" or match.string[match.end() : match.end() + 1] not in (b":", b")"):
        return code
    family = _FAMILIES.get(text[:2])
    return _unlisted(text, family) if family else None


def _unlisted(text: str, layer: str) -> Code:
    anyone = next(iter(load_codes()[layer].values()))
    return replace(anyone, text=text, meaning=INNER if text.endswith(_INNER) else UNLISTED, echo=True)


def _number(match: re.Match[bytes]) -> Code | None:
    return numbers().get(match[0].decode())


def _stated(match: re.Match[bytes]) -> Code | None:
    """What stands behind "error code is" (a small number is a result of HCCL where the line speaks of it) and errNo."""
    if match[2]:
        return load_codes()["hccl-result"].get(str(int(match[2], 16)))
    text = match[1].decode()
    if len(text) < 3:
        return load_codes()["hccl-result"].get(text)
    return numbers().get(text) or (_unlisted(text, "acl") if len(text) == 6 else None)


def _inner(match: re.Match[bytes]) -> Code | None:
    text = "0x" + match[0].decode().lower().removeprefix("0x").lstrip("0")
    codes = load_codes()["runtime-inner"]
    return replace(codes.get(text) or codes.get(f"{text[:5]}*") or codes["0x7*"], text=text)


def _driver(match: re.Match[bytes]) -> Code | None:
    return load_codes()["drv"].get(match[1].decode())


def _management(match: re.Match[bytes]) -> Code | None:
    return load_codes()["dcmi"].get(match[0].decode())


def _system(match: re.Match[bytes]) -> Code | None:
    return load_codes()["os"].get(match[1].decode())


def _follows_failure(match: re.Match[bytes]) -> bool:
    before = match.string[max(0, match.start() - _BEFORE_REACH) : match.start()]
    return _BEFORE.search(before[before.rfind(b"\n") + 1 :]) is not None


def _of_management(match: re.Match[bytes]) -> bool:
    return _DCMI.search(line_at(match.string, match.start())) is not None


def _of_hccl(match: re.Match[bytes]) -> bool:
    return len(match[1] or match[2]) > 2 or _HCCL.search(line_at(match.string, match.start())) is not None


def _of_runtime(match: re.Match[bytes]) -> bool:
    """Not an exception of Python's, which says by itself what it is: what CANN writes."""
    at = match.start()
    return match.string[at - 1 : at] == b"e" or b"Standard function" in line_at(match.string, at)


def _certain(_match: re.Match[bytes]) -> bool:
    return True


# What a code looks like, which code it is, and whether what stands around it says that it is one.
_ALONE = rb"(?!\w|\.\d)"
_SHAPES: tuple[tuple[bytes, Callable[[re.Match[bytes]], Code | None], Callable[[re.Match[bytes]], bool]], ...] = (
    (rb"E(?<![A-Za-z0-9_.-]E)(?:[A-Z]\d{4}(?!\w)|\d{5}(?=[:)\]])|RR\d{5}(?!\d))", _named, _certain),
    (rb"W(?<![A-Za-z0-9_.-]W)(?:E\d{4}|\d{5})(?=[:)\]])", _named, _certain),
    (rb"1(?<![\w.]1)(?:0[07]|48|61)\d{3}" + _ALONE, _number, _follows_failure),
    (rb"20(?<![\w.]20)[07]\d{3}" + _ALONE, _number, _follows_failure),
    (rb"3(?<![\w.]3)(?:00|61)\d{3}" + _ALONE, _number, _follows_failure),
    (rb"5(?<![\w.]5)(?:0[07]|61)\d{3}" + _ALONE, _number, _follows_failure),
    (rb"err(?:or code is[ :]{0,4}(\d{1,6})(?!\w|\.\d)|No\[0x\w{8}05\w\w([0-9a-fA-F]{4})\])", _stated, _of_hccl),
    (rb"rrno[ \[:=]{1,3}(\d{1,3})(?!\w)", _system, _of_runtime),
    (rb"0x0?7[01][0-9A-Fa-f]{5}(?![0-9A-Fa-f])", _inner, _follows_failure),
    (rb"drv(?:_?[Rr]et|_?[Ee]rr)\w{0,12}\s?[:=]\s?\(?(\d{1,5})(?!\w)", _driver, _certain),
    (rb"-8\d{3}(?!\d)", _management, _of_management),
)


class CodeScanner:
    """Finds the codes of a log block by block, each where it comes first (env/log_search.py drives it)."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str], CodeHit] = {}
        self._shapes = [(re.compile(expression), told, sure) for expression, told, sure in _SHAPES]

    def examine(self, buffer: bytes, begin: int, end: int, lines: int) -> None:
        """Look at what starts in buffer[begin:end]; `lines` newlines stand before the buffer."""
        first: dict[tuple[str, str], tuple[int, Code]] = {}
        for shape, told, sure in self._shapes:
            for match in shape.finditer(buffer, begin):
                position = match.start()
                if position >= end:
                    break
                code = told(match)
                if code is None:
                    continue
                key = code.layer.id, code.text
                if key not in self.hits and first.get(key, (end, code))[0] > position and sure(match):
                    first[key] = position, code
        for key, (position, code) in first.items():
            self.hits[key] = CodeHit(code, hit_at(buffer, position, lines))
