"""`python -m verify.report.references --run RUN`: the rows that a run would add to its chip's reference times."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from env.arguments import Parser
from env.digest import file_sha256
from env.errors import RecordError, VerificationIncompleteError, run_main
from env.language import Message, _
from env.options import RESULTS, place, run_folder
from env.stack import ROOT
from verify.reference.chip_times import LOWER, UPPER
from verify.report.facts import Facts
from verify.report.scales import usable
from verify.run.records import RECORDS, Evidence, read_evidence
from verify.run.verdict import Caveat, Word, judge

TIMED = ("encoder", "projector", "language_model", "total")
UNFIT = (Caveat.EMULATED, Caveat.STAND_IN, Caveat.OTHER_DEVICE)


def unfit(evidence: Evidence) -> Message | None:
    """Why a run's figures may not stand for its device and model; None where they may."""
    verdict = judge(evidence)
    notes = [note.caveat for note in verdict.notes]
    bad = next((caveat for caveat in UNFIT if caveat in notes), None)
    if bad is not None:
        return _("its verdict is qualified: {caveat}", caveat=Message(bad.value))
    if verdict.word is not Word.VERIFIED:
        return _("its verdict is: {word}", word=Message(verdict.word.value))
    if (record := evidence.records.get("benchmark")) and record.signature.get("device_map"):
        return _("its model lies over several cards: {device}", device=record.signature.get("device"))
    return None


def rows(evidence: Evidence, sha256: str) -> Iterator[str]:
    """The TOML of each row, as verify/reference/chips/<chip>.toml has it."""
    facts = Facts(evidence, judge(evidence))
    signature = (record.signature if (record := facts.record("benchmark")) else None) or {}
    named = {**dict(facts.named("benchmark", "components")), "total": facts.of("benchmark", "total")}
    for name in TIMED:
        times: Any = named.get(name)
        if isinstance(times, Mapping) and usable(times.get("mean_ms"), log=True):
            yield _row(name, times, signature, sha256)


def _row(name: str, times: Mapping[str, Any], signature: Mapping[str, Any], sha256: str) -> str:
    samples = times.get("samples_ms")
    fields = {
        "component": name,
        "dtype": signature.get("dtype"),
        "batch": signature.get("batch"),
        "seq_len": signature.get("seq_len"),
        "value": round(float(times["mean_ms"]), 3),
        "lower": LOWER,
        "upper": UPPER,
        "source": f"a run of this bundle on {signature.get('device_name')}",
        "run_sha256": sha256,
        "n": len(samples) if isinstance(samples, list) else None,
    }
    lines = ["[[rows]]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None)]
    versions = signature.get("versions")
    if isinstance(versions, Mapping):
        inner = ", ".join(f"{json.dumps(str(n))} = {json.dumps(str(v))}" for n, v in versions.items() if v is not None)
        lines.append(f"versions = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m verify.report.references",
        description=_("Propose the rows of a chip's reference times from a run."),
        epilog=_("exit codes: 0 proposed; 31 the run cannot stand for its device; 32 no records"),
    )
    parser.add_argument("--run", metavar="RUN", type=place, required=True, help=_("a run's id or folder"))
    parser.add_argument("--results", metavar="DIR", type=place, default=str(ROOT / str(RESULTS.settings["default"])))
    options = parser.parse_args(arguments)
    folder = run_folder(options.results, options.run)
    evidence = read_evidence(folder)
    reason = unfit(evidence)
    if reason is not None:
        raise VerificationIncompleteError(
            _("{run} can be no reference", run=folder.name), why=reason, next="nox -s verify -- --device npu:0"
        )
    proposed = list(rows(evidence, file_sha256(Path(folder, RECORDS, "benchmark.json"))))
    if not proposed:
        raise RecordError(_("{run} holds no times", run=folder.name), next="nox -s verify")
    print("\n".join(proposed), end="")
    return 0


if __name__ == "__main__":
    run_main(main)
