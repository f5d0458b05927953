from __future__ import annotations

import json
from itertools import pairwise

import pytest

from model.alignment import Word
from model.captions import LINES, SHORTEST_CUE, WRITERS, Cue, Segment, Transcript, columns, cues, timestamp

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
    "tsv": "start\tend\ttext\n0\t29500\thello there\n40000\t3725062\tgröße < 3 --> and on & on\n",
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
    assert {name: WRITERS[name](silent) for name in GOLDEN} == {
        "txt": "\n",
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
    }


def test_japanese_windows_are_joined_without_spaces() -> None:
    assert Transcript("a.wav", (Segment(0, 1, "東京"), Segment(1, 2, "大阪")), language="ja").text == "東京大阪"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "00:00:00,000"), (59.9996, "00:01:00,000"), (3599.9994, "00:59:59,999")]
)
def test_a_time_is_rounded_once_and_carries(seconds: float, expected: str) -> None:
    assert timestamp(seconds, ",") == expected


LONG = (
    "and so my fellow americans ask not what your country can do for you ask what you can do for your country "
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
)
JAPANESE = "東京都の人口は約1400万人で、日本の都道府県の中で最も多いです。"


@pytest.mark.parametrize("width", [8, 21, 42, 200])
@pytest.mark.parametrize(("text", "language"), [(LONG, "en"), (JAPANESE * 3, "ja"), (LONG, None)])
def test_captions_are_at_most_two_lines_of_the_width_and_lose_nothing(width: int, text: str, language: str) -> None:
    made = cues(Transcript("a.wav", (Segment(3.0, 27.5, text),), language), width)
    assert all(1 <= len(cue.lines) <= LINES for cue in made)
    assert all(columns(line) <= width for cue in made for line in cue.lines)
    assert "".join("".join(line.split()) for cue in made for line in cue.lines) == "".join(text.split())
    assert (made[0].start, made[-1].end) == (3.0, 27.5)
    assert all(one.start <= one.end <= other.start for one, other in pairwise(made))


def aligned(*words: tuple[float, float, str]) -> Transcript:
    timed = tuple(Word(*word) for word in words)
    segment = Segment(words[0][0], words[-1][1], " ".join(word[2] for word in words), words=timed)
    return Transcript("a.wav", (segment,), "en")


def test_captions_have_the_times_of_their_words() -> None:
    talk = aligned((1.0, 1.3, "one"), (1.5, 2.4, "two"), (7.0, 7.3, "three"), (7.6, 8.0, "four"), (8.1, 8.2, "five"))
    assert cues(talk, 5) == [
        Cue(1.0, 2.4, ("one", "two")),
        Cue(7.0, 8.0, ("three", "four")),  # after a pause of more than three seconds
        Cue(8.1, 8.1 + SHORTEST_CUE, ("five",)),
    ]
    assert cues(talk) == [Cue(1.0, 2.4, ("one two",)), Cue(7.0, 8.2, ("three four five",))]


def test_a_short_caption_stays_until_it_can_be_read_or_the_next_one_begins() -> None:
    assert cues(aligned((1.0, 1.1, "a"), (1.4, 1.5, "b"), (1.6, 1.7, "c")), 1) == [
        Cue(1.0, 1.6, ("a", "b")),
        Cue(1.6, 1.6 + SHORTEST_CUE, ("c",)),
    ]


def test_json_says_what_its_times_and_its_text_are() -> None:
    value = json.loads(WRITERS["json"](aligned((1.0, 1.1, "a"))))
    assert value["word_times"] == "aligned to the CTC head"
    assert value["segments"][0]["words"] == [{"start": 1.0, "end": 1.1, "text": "a"}]
    translated = Transcript("a.wav", (Segment(0, 1, "hallo"),), "de", task="translate", target="de")
    value = json.loads(WRITERS["json"](translated))
    assert (value["task"], value["target"], value["word_times"]) == ("translate", "de", "shared out by length of text")
