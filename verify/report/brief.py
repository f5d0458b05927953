"""What the adaptation document tells of a run in few words, where the evidence tells all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from env.language import Message, _
from verify.report.facts import Facts, figures, pick
from verify.run.plan import FULL_LEVEL
from verify.run.records import Status

SOAK_LEVEL = 4
HOST_SHOWN = ("os", "kernel", "driver", "firmware", "cann", "nnal", "npu_smi")  # what decides beside the packages


@dataclass(frozen=True)
class Brief:
    """The facts of one run, condensed."""

    facts: Facts

    @property
    def architecture(self) -> list[tuple[str, dict[str, object]]]:
        """The figures of the architecture by part: {"encoder.num_layers": 16} is "encoder" with num_layers=16."""
        parts: dict[str, dict[str, object]] = {}
        for name, value in self.facts.figures("checkpoint", "architecture"):
            part, dot, inner = name.partition(".")
            parts.setdefault(part if dot else "-", {})[inner if dot else part] = value
        return list(parts.items())

    @property
    def host(self) -> dict[str, object]:
        """What of the host decides beside the packages."""
        host = self.facts.of("machine", "host")
        kept = {key: pick(host, key) for key in HOST_SHOWN}
        return {name: value for name, value in figures(kept) if not isinstance(value, (list, tuple))}

    @property
    def times(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Each component's times, the whole pass last."""
        total = self.facts.of("benchmark", "total")
        return [*self.facts.named("benchmark", "components"), ("total", total if isinstance(total, Mapping) else {})]

    @property
    def same_tokens(self) -> list[object]:
        """How many tokens of each row are the reference's."""
        return [row.get("same") for row in self.facts.rows("tokens", "free")]

    @property
    def same_texts(self) -> int:
        """How many clips have the reference's text."""
        return sum(row.get("text") == row.get("cpu") for row in self.facts.rows("speech", "words", "rows"))

    @property
    def not_shown(self) -> list[Message]:
        """What this run proves nothing about, whatever its verdict."""
        run, used = self.facts.evidence.run, self.facts.verdict.device.used
        level = run.level if run else 0
        lacking = []
        if used is not None and not used.startswith("npu"):
            lacking.append(_("anything of an NPU: it ran on {device}", device=used))
        if any(record.emulated for record in self.facts.evidence.records.values()):
            lacking.append(_("anything of real hardware: the NPU was emulated"))
        if level < FULL_LEVEL:
            lacking.append(_("audio up to the last position (level 3)"))
        if level < SOAK_LEVEL:
            lacking.append(_("whether it holds for long under load (level 4)"))
        lacking += [
            _("{check}: {status}", check=judged.check, status=Message(judged.status.value))
            for judged in self.facts.verdict.checks
            if judged.status in (Status.SKIP, Status.NOT_RUN, Status.ERROR)
        ]
        return lacking
