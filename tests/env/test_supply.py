"""What is known of the pins: what pip-audit could not look up is never taken for sound."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from env import builder, supply
from env.runner import TIMED_OUT, Completed
from env.stack import load_stack
from env.supply import Answers, ask, batches, licences, lines, pins

# As pip-audit 2.10.1 printed it (--format json), a vulnerable one as its README shows one.
SOUND = {"name": "jinja2", "version": "3.1.6", "vulns": []}
VULNERABLE = {
    "name": "Flask",
    "version": "0.5",
    "vulns": [{"id": "PYSEC-2019-179", "fix_versions": ["1.0"], "aliases": ["CVE-2019-1010083"], "description": "..."}],
}
UNKNOWN = {
    "name": "torch-npu",
    "skip_reason": "Dependency not found on PyPI and could not be audited: torch-npu (2.9.0.post1)",
}
PINS = [("flask", "0.5"), ("jinja2", "3.1.6"), ("torch-npu", "2.9.0.post1")]


def answering(*rows: Mapping[str, Any], code: int = 0, text: str | None = None, error: str = "") -> Any:
    asked: list[list[str]] = []

    def runner(args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None) -> Completed:
        asked.append(Path(args[args.index("--requirement") + 1]).read_text(encoding="utf-8").splitlines())
        out = json.dumps({"dependencies": rows, "fixes": []}) if text is None else text
        return Completed(tuple(args), code, out, error)

    runner.asked = asked  # type: ignore[attr-defined]
    return runner


def test_advisories_and_what_could_not_be_looked_up_are_told_apart() -> None:
    answers = ask(PINS, Path("python"), answering(SOUND, VULNERABLE, UNKNOWN, code=1))
    assert [(one.pin, one.id, one.fixed) for one in answers.advisories] == [
        (("flask", "0.5"), "PYSEC-2019-179", ("1.0",))
    ]
    assert answers.skipped == {("torch-npu", "2.9.0.post1"): UNKNOWN["skip_reason"]}


@pytest.mark.parametrize(
    ("runner", "reason"),
    [
        (
            answering(code=1, text="", error="WARNING\nERROR:pip_audit._cli:Could not connect to the feed"),
            "ERROR:pip_audit._cli:Could not connect to the feed",
        ),
        (answering(code=TIMED_OUT, text=""), "it said nothing"),
        (answering(text="[]"), "it said nothing"),
        (answering(), "pip-audit does not name it"),
    ],
)
def test_no_answer_is_no_clean_bill(runner: Any, reason: str) -> None:
    assert ask(PINS, Path("python"), runner) == Answers((), dict.fromkeys(PINS, reason))


def test_a_package_in_two_versions_is_asked_about_twice_and_never_in_one_file() -> None:
    asked = [("filelock", "4.1.0"), ("filelock", "4.2.11"), ("rich", "15.0.0")]
    runner = answering()
    ask(asked, Path("python"), runner)
    assert runner.asked == [["filelock==4.1.0", "rich==15.0.0"], ["filelock==4.2.11"]]
    assert sorted(chain.from_iterable(batches(asked))) == asked


def test_every_lock_and_what_none_holds_is_asked_about() -> None:
    held = pins()
    assert held["torch-npu", load_stack().packages["torch-npu"]] == ["stack.toml"]
    assert "supply.txt" in held[next(pin for pin in held if pin[0] == "pip-audit")]
    assert {"tools.txt", "nox.txt", "host-aarch64-py310.txt"} <= set(chain.from_iterable(held.values()))


def test_a_licence_is_that_of_the_very_version_that_is_installed(tmp_path: Path) -> None:
    site = tmp_path / "host" / "lib" / "python3.11" / "site-packages"
    for name, version, line in (("rich", "15.0.0", "License-Expression: MIT"), ("torch", "2.8.0", "License: BSD")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{line}\n", "utf-8")
    assert licences([("rich", "15.0.0"), ("torch", "2.9.0")], tmp_path) == {
        "MIT": [("rich", "15.0.0")],
        "": [("torch", "2.9.0")],
    }


def test_the_reader_sees_all_of_it() -> None:
    held = {pin: ["host.txt"] for pin in PINS}
    answers = ask(PINS, Path("python"), answering(SOUND, VULNERABLE, UNKNOWN))
    assert list(lines(held, answers, {"BSD": PINS[:1], "": PINS[1:]})) == [
        "flask 0.5: PYSEC-2019-179, fixed in 1.0 (host.txt)",
        f"torch-npu 2.9.0.post1: could not be looked up: {UNKNOWN['skip_reason']}",
        "licence BSD: flask 0.5",
        "licence not known here: jinja2 3.1.6; torch-npu 2.9.0.post1",
        "3 pins: 2 looked up, 1 with a known vulnerability, 1 not looked up",
    ]


@pytest.mark.parametrize(
    ("rows", "code"), [([SOUND, VULNERABLE, UNKNOWN], 3), ([SOUND, UNKNOWN], 4), ([SOUND], 0)], ids=str
)
def test_the_exit_code_says_which_it_was(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(row["name"]).lower() for row in rows]
    held = {pin: ["host.txt"] for pin in PINS if pin[0] in names}
    monkeypatch.setattr(supply, "pins", lambda: held)
    monkeypatch.setattr(builder, "build", lambda *arguments: None)
    monkeypatch.setattr(supply, "choose", lambda: None)
    monkeypatch.setattr(supply, "configured", lambda sources: sources)
    monkeypatch.setattr(supply, "ask", lambda asked, python: ask(asked, python, answering(*rows)))
    assert supply.main([]) == code
    assert f"{len(held)} pins" in capsys.readouterr().out
