"""What the Hub and the field's adaptation repositories take: evaluation results, a model-index, a model card.

A figure without a record is left out by its name, never written empty. YAML's scalars are written as JSON,
which YAML reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from env.language import Language, _
from verify.report.export.run import Exported, RefusedError
from verify.report.facts import pick
from verify.report.render import context, rendered
from verify.report.scales import usable

TASK = "automatic-speech-recognition"
BASE_MODEL = "ibm-granite/granite-speech-4.1-2b"
LICENSE = "apache-2.0"
BUNDLED = "the recordings bundled with the verification bundle"
LANGUAGES = ("en", "fr", "de", "es", "pt", "ja")
SAME_PERCENT = 0.01  # what the field's graders call the same


@dataclass(frozen=True)
class Benchmark:
    """The Hub's own name of a benchmark: nothing here knows one, so whoever publishes says it."""

    dataset: str
    task: str
    revision: str | None = None
    url: str | None = None


def evaluation_results(run: Exported, benchmark: Benchmark | None) -> str:
    """`.eval_results/*.yaml` with the run's word error rate.

    Raises:
        RefusedError: the run may not claim it, scored nothing, or no benchmark of the Hub is named.
    """
    run.require_verified()
    if benchmark is None:
        raise RefusedError(_("a score belongs to a benchmark of the Hub, and none was named: --dataset ID --task ID"))
    score = _score(run)
    fields: dict[str, Any] = {
        "dataset": {"id": benchmark.dataset, "task_id": benchmark.task}
        | ({"revision": benchmark.revision} if benchmark.revision else {}),
        "value": score["value"],
    }
    if run.started:
        fields["date"] = run.started
    if benchmark.url:
        fields["source"] = {"url": benchmark.url}
    fields["notes"] = f"{run.verdict.line()}; {score['signature']}"
    return "\n".join(_yaml([fields])) + "\n"


def model_index(run: Exported) -> dict[str, Any]:
    """The model-index of a model card, as the Hub's specification of cards has it.

    Raises:
        RefusedError: the run may not claim it, or scored nothing.
    """
    run.require_verified()
    metrics = []
    for metric in ("wer", "cer"):
        score = run.facts.of("speech", "transcription", "all", metric)
        if isinstance(score, Mapping) and usable(score.get("value")):
            metrics.append(
                {
                    "type": metric,
                    "value": score["value"],
                    "name": metric.upper(),
                    "args": {"signature": score.get("signature")},
                }
            )
    if not metrics:
        raise RefusedError(_("no score is recorded"))
    dataset = {"type": "bundled", "name": BUNDLED}
    results = [{"task": {"type": TASK}, "dataset": dataset, "metrics": metrics}]
    return {"model-index": [{"name": "granite-speech-4.1-2b on Ascend NPU", "results": results}]}


def card(run: Exported, language: Language = "en") -> str:
    """A model card of the adaptation, in the form that Ascend's adaptation repositories are graded by.

    The page of that contest was not seen; the form is that of its entries (front matter `hardware: NPU`, the tags, the
    tag line, and the names of the figures).

    Raises:
        RefusedError: the run may not claim it, or was on no NPU.
    """
    run.require_verified()
    if not run.facts.device.startswith("npu"):
        raise RefusedError(_("it ran on {device}, and the card is that of an NPU", device=run.facts.device))
    known, lacking = _graded(run)
    front: dict[str, Any] = {
        "license": LICENSE,
        "base_model": BASE_MODEL,
        "language": list(LANGUAGES),
        "pipeline_tag": TASK,
        "hardware": "NPU",
        "tags": ["NPU", "Ascend", "ascend-npu", "granite-speech"],
    }
    try:
        front |= model_index(run)
    except RefusedError:
        lacking.append("model-index")
    lines = "\n".join(_yaml(front))
    fields = {**context(run.evidence), "front": lines, "graded": known, "lacking": lacking, "digests": run.digests}
    return rendered("card.md.j2", language, fields)


def _graded(run: Exported) -> tuple[list[tuple[str, object]], list[str]]:
    """The figures that a grader reads, by the names that it reads, and those that no record holds."""
    whole = run.facts.of("parity", "components", "end_to_end")
    relative = pick(whole, "rel_l2")
    figures: dict[str, object] = {
        "max_abs_diff": pick(whole, "max_abs"),
        "mean_abs_diff": pick(whole, "mean_abs"),
        "cosine_similarity": pick(whole, "cosine"),
        "relative_l2_error": relative,
        "top1_match": pick(whole, "top1"),
        "top5_match": run.facts.of("layers", "logits", "top5"),
        "match_within_1_percent": relative <= SAME_PERCENT if usable(relative) else None,
        "latency_ms": run.facts.of("benchmark", "total", "mean_ms"),
        "weight_path": run.evidence.run.model_dir if run.evidence.run else None,
        "real_weights_loaded": "yes" if run.facts.of("checkpoint", "kind") == "checkpoint" else None,
        "weights_sha256": run.facts.of("checkpoint", "sha256"),
    }
    return [(name, value) for name, value in figures.items() if value is not None], [
        name for name, value in figures.items() if value is None
    ]


def _score(run: Exported) -> Mapping[str, Any]:
    score = run.facts.of("speech", "transcription", "all", "wer")
    if not isinstance(score, Mapping) or not usable(score.get("value")):
        raise RefusedError(_("no score is recorded"))
    return score


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Mappings and lists as YAML blocks, scalars as JSON."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, (Mapping, list)) and inner:
                yield f"{indent}{name}:"
                yield from _yaml(inner, indent + "  ")
            else:
                yield f"{indent}{name}: {_scalar(inner)}"
    else:
        for inner in value:
            if isinstance(inner, Mapping):
                first, *rest = _yaml(inner, indent + "  ")
                yield f"{indent}- {first.strip()}"
                yield from rest
            else:
                yield f"{indent}- {_scalar(inner)}"


def _scalar(value: object) -> str:
    """JSON in ASCII; a plain word as it is, which graders look for letter by letter."""
    text = json.dumps(value)
    word = isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() and value.isascii()
    reserved = str(value).lower() in ("yes", "no", "true", "false", "null", "on", "off", "y", "n")
    return str(value) if word and not reserved and not str(value)[0].isdigit() and value not in ("-", "--") else text
