from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from env.errors import RecordError
from verify.speech import transcripts
from verify.speech.transcripts import Journal, Line

HEADER = {"model": "tiny", "device": "cpu", "decoding": {"max_new_tokens": 200}}
ONE = Line("b.wav", "b.wav", "de", "transcribe", None, "grüße", "grüsse", duration=2.0, seconds=0.5, notes=("loop",))
TWO = Line("a.wav", "a.wav", "ja", "transcribe", None, "東京", "東京都", duration=1.0, seconds=0.25)
LOST = Line("c.wav", "c.wav", "en", "transcribe", None, "gone", error="c.wav: no such file")


def test_a_finished_file_is_sorted_has_no_times_and_reads_back_with_them(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    transcripts.write(path, HEADER, [ONE, TWO, LOST])
    rows = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    assert [row.get("key") for row in rows] == [None, "a.wav", "b.wav", "c.wav"]
    assert all("seconds" not in row for row in rows)
    found = transcripts.read(path)
    assert (found.header, found.lines, found.dropped) == (HEADER, (TWO, ONE, LOST), None)
    assert (found.done, found.failed) == ((TWO, ONE), (LOST,))


def test_a_run_killed_after_any_byte_goes_on_with_every_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule: whatever byte the file ends at, whole lines are kept, the rest is dropped, and the end is the same."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # some hundred rounds: the disk need not keep up
    path = tmp_path / "out.jsonl"
    with Journal(path, 0, HEADER) as journal:
        begun = journal.path.stat().st_size
        journal.add([ONE])
        journal.add([TWO])
    whole = journal.path.read_bytes()
    for size in range(begun, len(whole) + 1):
        journal.path.write_bytes(whole[:size])
        done, _ = transcripts.earlier(path, HEADER)
        with Journal(path, 0, HEADER) as again:
            again.add([line for line in (ONE, TWO) if line.key not in done])
        assert again.path.read_bytes() == whole
        assert len(done) == whole[:size].count(b"\n") - 1


def test_a_part_says_what_it_dropped(tmp_path: Path) -> None:
    with Journal(tmp_path / "out.jsonl", 3, HEADER) as journal:
        journal.add([ONE, TWO])
    assert journal.path.name == "out.jsonl.part-3"
    journal.path.write_bytes(journal.path.read_bytes()[:-30])
    with Journal(tmp_path / "out.jsonl", 3, HEADER) as again:
        assert again.dropped is not None
        assert again.dropped.startswith('{"key": "a.wav"')


def test_parts_of_any_number_of_processes_are_found_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for rank, line in ((0, ONE), (11, TWO), (2, LOST)):
        with Journal(path, rank, HEADER) as journal:
            journal.add([line])
    lines, counts = transcripts.earlier(path, HEADER)
    assert sorted(lines) == ["a.wav", "b.wav", "c.wav"]
    assert counts == {"out.jsonl.part-0": 1, "out.jsonl.part-2": 0, "out.jsonl.part-11": 1}
    transcripts.finish(path, HEADER, lines.values())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.jsonl", "out.times.json"]


def test_a_text_outweighs_a_failure_whichever_comes_first() -> None:
    found = replace(LOST, error=None, hypothesis="found")
    assert transcripts.newest([LOST, found]) == {"c.wav": found}
    assert transcripts.newest([found, LOST]) == {"c.wav": found}


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    with Journal(tmp_path / "out.jsonl", 0, HEADER):
        pass
    with pytest.raises(RecordError, match="device was 'cpu', is 'npu:0'"):
        Journal(tmp_path / "out.jsonl", 0, {**HEADER, "device": "npu:0"})
    with pytest.raises(RecordError, match="was made with other settings"):
        transcripts.earlier(tmp_path / "out.jsonl", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no transcripts"),
        ('{"kind": "transcripts"', "holds no transcripts"),
        ('{"key": "a"}\n', "is not a file of transcripts"),
        ("WEBVTT\n\n", "is not a file of transcripts"),
        ('{"kind": "transcripts", "schema": 9}\n', "schema 1 required, 9 found"),
        ('{"kind": "transcripts", "schema": 1}\n{"key": \n{}\n', "line 2 is damaged"),
    ],
)
def test_a_file_that_cannot_be_scored_says_why(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        transcripts.read(path)


def test_the_data_hash_follows_references_and_audio_but_not_order_or_results() -> None:
    one, two = replace(ONE, audio_sha256="1"), replace(TWO, audio_sha256="2")
    assert transcripts.data_sha256([one, two]) == transcripts.data_sha256([two, replace(one, hypothesis="x")])
    assert transcripts.data_sha256([one, two]) != transcripts.data_sha256([one, replace(two, reference="x")])
    assert transcripts.data_sha256([one, two]) != transcripts.data_sha256([one, replace(two, audio_sha256="3")])


@pytest.mark.parametrize(
    ("ended", "notes", "endless"),
    [
        ("eos", (), False),
        ("loop", (), True),
        ("limit", (), True),
        ("eos", ("stopped at 200 new tokens, before the model's end of text",), False),  # the field decides
        (None, ("stopped at 200 new tokens, before the model's end of text",), True),  # a file without the field
        (None, ("repetition loop: 'a' 9 times, stopped",), True),
        (None, ("telephone band",), False),
    ],
)
def test_a_text_that_does_not_end_is_known_by_its_field_or_in_older_files_by_its_notes(
    ended: str | None, notes: tuple[str, ...], endless: bool
) -> None:
    assert replace(ONE, ended=ended, notes=notes).endless is endless


def test_a_file_of_before_there_was_ended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    transcripts.write(path, HEADER, [replace(ONE, ended="loop"), TWO])
    path.write_text(path.read_text(encoding="utf-8").replace(', "ended": "loop"', "").replace(', "ended": null', ""))
    assert [line.ended for line in transcripts.read(path).lines] == [None, None]
