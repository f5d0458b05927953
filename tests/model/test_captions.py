from __future__ import annotations

import json

import pytest

from model.captions import WRITERS, Segment, Transcript, timestamp

TALK = Transcript(
    "talk.wav",
    (
        Segment(0.0, 29.5, "hello there"),
        Segment(29.5, 40.0, " "),
        Segment(40.0, 3725.0615, "größe < 3 -->\n\nand on & on"),
    ),
    language="en",
    provenance={"rate": 16000},
)

GOLDEN = {
    "txt": "hello there größe < 3 -->\n\nand on & on\n",
    "srt": """\
1
00:00:00,000 --> 00:00:29,500
hello there

2
00:00:40,000 --> 01:02:05,062
größe < 3 -> and on & on
""",
    "vtt": """\
WEBVTT

00:00:00.000 --> 00:00:29.500
hello there

00:00:40.000 --> 01:02:05.062
größe &lt; 3 -> and on &amp; on
""",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_document_is_written_whole(name: str) -> None:
    assert WRITERS[name](TALK) == GOLDEN[name]


def test_json_is_one_line_that_reads_back() -> None:
    written = WRITERS["json"](TALK)
    assert written.count("\n") == 1
    value = json.loads(written)
    assert value["text"] == TALK.text
    assert value["provenance"] == {"rate": 16000}
    assert [segment["start"] for segment in value["segments"]] == [0.0, 29.5, 40.0]


def test_a_recording_without_words_gives_empty_documents() -> None:
    silent = Transcript("a.wav", (Segment(0, 1, ""),))
    assert {name: WRITERS[name](silent) for name in GOLDEN} == {"txt": "\n", "srt": "", "vtt": "WEBVTT\n"}


def test_japanese_windows_are_joined_without_spaces() -> None:
    assert Transcript("a.wav", (Segment(0, 1, "東京"), Segment(1, 2, "大阪")), language="ja").text == "東京大阪"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "00:00:00,000"), (59.9996, "00:01:00,000"), (3599.9994, "00:59:59,999")]
)
def test_a_time_is_rounded_once_and_carries(seconds: float, expected: str) -> None:
    assert timestamp(seconds, ",") == expected
