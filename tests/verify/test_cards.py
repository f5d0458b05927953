"""Several cards of one machine: what they come to together, how they are run, and the document that compares them."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from env.device_name import DeviceName
from env.errors import DeviceError, RecordError, UsageError
from env.language import LANGUAGES, translate
from model.device import resolve
from tests.verify.report_runs import DATA
from verify import cards as several
from verify import links
from verify.report import cards as comparison
from verify.report.__main__ import latest_run, main
from verify.run.cards import CARDS_FILE, LINKS_FILE, Cards, machine, read_cards
from verify.run.verdict import Word

LAYER = "projector.qformer.encoder.layer.0.intermediate_query"  # that departs in the captured run


def machine_of(tmp_path: Path, *runs: str | None) -> tuple[Path, Cards]:
    """A machine's folder whose cards are copies of captured runs; None is a card that left nothing."""
    folder = tmp_path / "results" / "20260101T000000Z-0000"
    folder.mkdir(parents=True)
    cards = {f"npu:{index}": f"npu-{index}" for index in range(len(runs))}
    for name, run in zip(cards.values(), runs, strict=True):
        if run is not None:
            shutil.copytree(DATA / run, folder / name, ignore=shutil.ignore_patterns("*.md"))
    listed = {"schema": 1, "started": "2026-01-01", "device": "npu:all", "cards": cards, "command": "nox -s verify"}
    (folder / CARDS_FILE).write_text(json.dumps(listed))
    return folder, read_cards(folder)


@pytest.mark.parametrize(
    ("runs", "word", "line"),
    [
        (("npu-verified", "npu-verified"), Word.VERIFIED, "2 of 2 cards verified"),
        (("npu-verified", "npu-failed"), Word.FAILED, f"1 of 2 cards verified; npu:1 failed, first in {LAYER}"),
        (("npu-verified", None), Word.NOT_VERIFIED, "1 of 2 cards verified; npu:1 not verified"),
        (("npu-verified", "interrupted"), Word.INCOMPLETE, "1 of 2 cards verified; npu:1 incomplete"),
        (
            ("npu-failed", None, "npu-verified"),
            Word.FAILED,
            f"1 of 3 cards verified; npu:0 failed, first in {LAYER}; npu:1 not verified",
        ),
        ((), Word.NOT_VERIFIED, "0 of 0 cards verified"),
    ],
)
def test_the_machine_is_as_its_worst_card(tmp_path: Path, runs: tuple[str | None, ...], word: Word, line: str) -> None:
    worst, text = machine(*machine_of(tmp_path, *runs))
    assert worst is word
    assert translate(text, "en").replace(" (stand-in weights)", "") == line


def test_what_weakens_one_card_stands_behind_the_machine(tmp_path: Path) -> None:
    _word, text = machine(*machine_of(tmp_path, "npu-verified", "emulated-substituted"))
    assert "EMULATED" in text


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"schema": 1}', '{"started": "", "device": "", "cards": {"npu:0": "../elsewhere"}, "command": ""}'],
)
def test_a_damaged_list_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / CARDS_FILE).write_text(content)
    with pytest.raises(RecordError, match=r"cards\.json"):
        read_cards(tmp_path)


def test_the_documents_of_the_cards_and_their_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _cards = machine_of(tmp_path, "npu-verified", "npu-failed")
    assert latest_run(folder.parent) == folder
    assert main(["--run", str(folder), "--strict"]) == 30
    assert "1 of 2 cards verified" in capsys.readouterr().out
    for language in LANGUAGES:
        text = (folder / f"cards.{language}.md").read_text()
        assert all(f"(npu-{index}/report.{language}.md)" in text for index in (0, 1))
        assert (folder / "npu-1" / f"report.{language}.md").exists()
        assert text.count("\n## ") == 1  # of the failed card alone: what is wrong


def test_a_card_whose_tokens_are_not_those_of_most_is_marked(tmp_path: Path) -> None:
    folder, cards = machine_of(tmp_path, "npu-verified", "npu-verified", "npu-verified")
    record = folder / "npu-2" / "records" / "generate.json"
    value = json.loads(record.read_text())
    value["data"]["token_ids"][0] += 1
    record.write_text(json.dumps(value))
    assert [row.tokens for row in comparison.rows(folder, cards)] == ["same", "same", "other"]


def test_a_card_that_left_nothing_is_a_row(tmp_path: Path) -> None:
    folder, cards = machine_of(tmp_path, "npu-verified", None)
    assert "not verified" in comparison.render(folder, cards, "en")


@pytest.mark.parametrize(
    ("text", "indexes"), [("npu:all", None), ("npu:0,1", (0, 1)), ("cuda:3,1,3", (3, 1)), ("npu:0", ()), ("npu", ())]
)
def test_names_of_several(text: str, indexes: tuple[int, ...] | None) -> None:
    name = DeviceName.parse(text)
    assert name.indexes == indexes
    assert name.several is (indexes != ())


@pytest.mark.parametrize("text", ["cpu:all", "all", "npu:0,", "npu:,1", "npu:0,all", "cpu:0,0"])
def test_what_names_no_set_of_cards(text: str) -> None:
    with pytest.raises(ValueError, match="no device"):
        DeviceName.parse(text)


def test_what_runs_on_one_card_refuses_several() -> None:
    with pytest.raises(UsageError, match="npu:all names several cards"):
        resolve("npu:all")


def test_cards_that_cannot_be_counted_are_told(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no driver' >&2; exit 1\n")
    python.chmod(0o755)
    with pytest.raises(DeviceError, match="npu:all: the cards cannot be counted") as caught:
        several.count(DeviceName.parse("npu:all"), python)
    assert "no driver" in str(caught.value.why)


def test_every_line_of_a_card_says_whose_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    commands = {f"npu:{index}": [sys.executable, "-c", f"print('line', {index})"] for index in range(8)}
    assert not several.run_all(commands, at_once=3)
    assert sorted(capfd.readouterr().out.splitlines()) == [f"npu:{index} | line {index}" for index in range(8)]


WAITS = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
print("ready", flush=True)
signal.pause()
"""


def test_an_interruption_reaches_every_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once both wait for it; the children end by themselves, and the caller knows why."""
    ready = threading.Semaphore(0)
    main_thread = threading.get_ident()
    monkeypatch.setattr(several, "show", lambda label, line: ready.release())

    def interrupt() -> None:
        ready.acquire()
        ready.acquire()
        signal.pthread_kill(main_thread, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert several.run_all({f"npu:{index}": [sys.executable, "-c", WAITS] for index in range(2)}, at_once=2)


def test_after_an_interruption_no_further_card_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    main_thread = threading.get_ident()

    def interrupt(label: str, _line: str) -> None:
        begun.append(label)
        signal.pthread_kill(main_thread, signal.SIGINT)

    monkeypatch.setattr(several, "show", interrupt)
    assert several.run_all({f"npu:{index}": [sys.executable, "-c", WAITS] for index in range(3)}, at_once=1)
    assert begun == ["npu:0"]


PYTHON = Path(sys.executable)
CPUS = ["cpu", "cpu"]
ROW = {"bytes": 1024, "seconds": 1e-4, "gb_s": 0.01, "exact": True}


@pytest.mark.slow
def test_two_processes_are_joined_and_their_sums_are_exact(tmp_path: Path) -> None:
    """Over gloo, which is what CPUs have; the code is that of HCCL and NCCL but for the name."""
    figures = links.measure(CPUS, PYTHON, tmp_path)
    assert figures.problem is None, (tmp_path / "logs" / "links.log").read_text()
    assert [row.bytes for row in figures.rows] == list(links.SIZES)
    assert all(row.exact and row.gb_s > 0 for row in figures.rows)
    assert figures.backend == "gloo"


def test_cards_that_do_not_answer_are_told(tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    silent.chmod(0o755)
    figures = links.measure(CPUS, silent, tmp_path, limit_s=0.2)
    assert figures.problem == "the cards did not answer each other in 0 s (logs/links.log)"


def test_a_card_that_leaves_is_named(tmp_path: Path) -> None:
    leaving = tmp_path / "python"
    leaving.write_text('#!/bin/sh\ncase "$*" in *"--rank 1"*) exit 1;; esac\nexec tail -f /dev/null\n')
    leaving.chmod(0o755)
    figures = links.measure(["npu:0", "npu:3"], leaving, tmp_path)
    assert figures.problem == "npu:3 left while the cards were joined (logs/links.log)"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"problem": "sums over the links are wrong, from 1024 bytes on", "rows": [ROW]}, Word.FAILED),
        ({"problem": "the cards did not answer each other in 600 s (logs/links.log)", "rows": []}, Word.INCOMPLETE),
        ({"problem": None, "rows": [ROW]}, Word.VERIFIED),
        ({"problem": None, "rows": [], "skipped": "emulated cards have no links"}, Word.VERIFIED),
    ],
)
def test_wrong_links_fail_a_machine_whose_cards_are_right(
    tmp_path: Path, changes: dict[str, object], word: Word
) -> None:
    folder, cards = machine_of(tmp_path, "npu-verified", "npu-verified")
    (folder / LINKS_FILE).write_text(json.dumps({"backend": "hccl", "cards": ["npu:0", "npu:1"], **changes}))
    worst, line = machine(folder, cards)
    assert worst is word
    text = comparison.render(folder, cards, "en")
    assert "## Links between the cards" in text
    assert ("links: " in translate(line, "en")) is (word is not Word.VERIFIED)
