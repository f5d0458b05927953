"""The name of a device as it is asked for: parsed here, once, and understood everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["npu", "cuda", "cpu"]
KINDS: tuple[Kind, ...] = ("npu", "cuda", "cpu")  # in the order in which `auto` takes them


@dataclass(frozen=True)
class DeviceName:
    """`auto` (no kind), or a kind with the index of a card: "npu" is "npu:0"."""

    kind: Kind | None
    index: int = 0
    text: str = "auto"  # as it was spelled

    @classmethod
    def parse(cls, text: str) -> DeviceName:
        """Raises: ValueError, where it names no device."""
        if text == "auto":
            return cls(None)
        match = re.fullmatch(r"(npu|cuda|cpu)(?::([0-9]{1,4}))?", text)
        if match is None or (match[1] == "cpu" and match[2] not in (None, "0")):
            raise ValueError(f"no device {text!r}: npu:N, cuda:N, cpu or auto")
        kind = next(kind for kind in KINDS if kind == match[1])
        return cls(kind, int(match[2] or 0), text)

    def __str__(self) -> str:
        return self.text

    @property
    def label(self) -> str:
        """As torch spells it: "npu:0", "cpu"; "auto" where none is named."""
        if self.kind is None:
            return "auto"
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    def is_same(self, other: DeviceName) -> bool:
        """Whether two names mean one device: "npu" is "npu:0"."""
        return (self.kind, self.index) == (other.kind, other.index)
