"""An in-toto Statement: which tests ran on which bytes, and how they ended. Unsigned: that is its publisher's."""

from __future__ import annotations

import json
from typing import Any, Final

from env.language import Message, _
from verify.report.export.run import Exported, RefusedError
from verify.run.records import Status
from verify.run.verdict import Word

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
FILE = "attestation.intoto.json"
NAMESPACE = "granite-speech-verification"


def text(run: Exported) -> str:
    """The statement's JSON.

    The predicate has no word for what was skipped or never ran: these stand among the warned tests, and the result is
    then WARNED at best, so that no policy that only reads `failedTests` takes them for passed.

    Raises:
        RefusedError: the run is emulated, on a stand-in, elsewhere, or nothing says what it was on.
    """
    run.require_real()
    subjects = _subjects(run)
    if not subjects:
        raise RefusedError(_("no record can be named by its digest"))
    named: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for judged in run.verdict.checks:
        failed = judged.status in (Status.FAIL, Status.ERROR)
        kind = "passedTests" if judged.status is Status.PASS else "failedTests" if failed else "warnedTests"
        named[kind].append(judged.check)
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {"result": _result(run, named), "configuration": _configuration(run), **named},
    }
    return json.dumps(statement, ensure_ascii=False, indent=2) + "\n"


def _result(run: Exported, named: dict[str, list[str]]) -> str:
    if run.verdict.word is Word.FAILED or named["failedTests"]:
        return "FAILED"
    whole = run.verdict.word is Word.VERIFIED and not named["warnedTests"] and not run.verdict.notes
    return "PASSED" if whole else "WARNED"


def _subjects(run: Exported) -> list[dict[str, Any]]:
    """What was tested: the weights; and what is stated about them, the records."""
    found = [{"name": name, "digest": {"sha256": digest}} for name, digest in run.digests.items()]
    weights = run.facts.of("checkpoint", "sha256")
    if isinstance(weights, str) and weights:
        found.insert(0, {"name": "weights", "digest": {"sha256": weights}})
    return found


def _configuration(run: Exported) -> list[dict[str, Any]]:
    lock, sha256 = run.facts.of("setup", "lock"), run.facts.of("setup", "lock_sha256")
    found = [{"name": str(lock), "digest": {"sha256": str(sha256)}}] if lock and sha256 else []
    run_file = run.digests.get("run.json")
    return found or ([{"name": "run.json", "digest": {"sha256": run_file}}] if run_file else [])


def signing(path: str) -> Message:
    """The command that signs the statement."""
    return _("unsigned; to sign: {command}", command=f"ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n {NAMESPACE} {path}")
