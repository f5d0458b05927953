"""What granite_speech_plus writes into its texts, by the examples of its model card and of the library's documentation
(granite_speech_plus.md of transformers 5.9.0, whose loop over [T:N] was carried out by hand for the times here).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import inference
from env.errors import UsageError
from model import prompts, recordings, tags
from model.alignment import Word
from model.captions import WRITERS, Segment, Transcript
from model.decoding import Decoded, Decoding, Transcriber, _Embedded, prompt_text
from model.prompts import SPEAKERS, TIMESTAMPS
from model.signature import DecodingSignature
from model.tags import Turn

CARD = "[Speaker 1]: Hello how are you [Speaker 2]: I'm fine and how are you feeling [Speaker 1]: I feel wonderful"
CARD_TURNS = (
    Turn("Speaker 1", "Hello how are you"),
    Turn("Speaker 2", "I'm fine and how are you feeling"),
    Turn("Speaker 1", "I feel wonderful"),
)


@pytest.mark.parametrize(
    ("text", "turns", "plain"),
    [
        (CARD, CARD_TURNS, "Hello how are you I'm fine and how are you feeling I feel wonderful"),
        ("so [Speaker 1]: yes", (Turn(None, "so"), Turn("Speaker 1", "yes")), "so yes"),
        ("[Speaker 1]: [Speaker 2]: yes", (Turn("Speaker 2", "yes"),), "yes"),
        ("", (), ""),
    ],
)
def test_turns_are_those_of_the_model_card(text: str, turns: tuple[Turn, ...], plain: str) -> None:
    assert tags.read(text, SPEAKERS, 10.0) == tags.Untagged(plain, turns)


@pytest.mark.parametrize(
    ("text", "words", "plain"),
    [
        ("hello [T:45] world [T:82]", [(0.0, 0.45, "hello"), (0.45, 0.82, "world")], "hello world"),
        ("_ [T:30] hello [T:45]", [(0.3, 0.45, "hello")], "hello"),
        (
            "a [T:950] b [T:20] _ [T:990] c [T:5] d[T:5]",
            [(0.0, 9.5, "a"), (9.5, 10.2, "b"), (19.9, 20.05, "c"), (20.05, 20.05, "d")],
            "a b c d",
        ),
        ("hello [T:45] wor", [(0.0, 0.45, "hello"), (0.45, 0.45, "wor")], "hello wor"),
    ],
)
def test_times_are_unwrapped_as_the_librarys_documentation_does(
    text: str, words: list[tuple[float, float, str]], plain: str
) -> None:
    read = tags.read(text, TIMESTAMPS, 21.0)
    assert read == tags.Untagged(plain, words=tuple(Word(*word) for word in words))


@pytest.mark.parametrize(
    ("text", "task", "note"),
    [
        ("hello world", SPEAKERS, "no speaker is named in the text"),
        ("hello world", TIMESTAMPS, "no times are in the text"),
        ("hello [T:90] world [T:80]", TIMESTAMPS, "its times go on to 10.8 s of 2.0: they are not used"),
    ],
)
def test_tags_that_cannot_be_read_leave_the_text_with_a_note(text: str, task: str, note: str) -> None:
    assert tags.read(text, task, 2.0) == tags.Untagged("hello world", notes=(note,))  # type: ignore[arg-type]


def test_another_task_keeps_its_text() -> None:
    assert tags.read("[Speaker 1]: hello [T:4]", "transcribe", 1.0) == tags.Untagged("[Speaker 1]: hello [T:4]")


@pytest.mark.parametrize("task", prompts.TAGGED)
def test_a_decoded_text_has_no_tags_left(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {SPEAKERS: CARD, TIMESTAMPS: "hello [T:45] world [T:82]"}[task]
    monkeypatch.setattr(Transcriber, "_text", lambda self, row: Decoded(said, 3, ("stopped",)))
    reader = Transcriber(None, None, Decoding())  # type: ignore[arg-type]
    decoded = reader._decoded([], _Embedded(None, 1, None, task, 1.0))  # type: ignore[arg-type]
    assert "[" not in decoded.text
    assert bool(decoded.turns) == (task == SPEAKERS)
    assert bool(decoded.words) == (task == TIMESTAMPS)
    assert decoded.notes == ("stopped",)


def test_the_system_turn_stands_before_the_users() -> None:
    turns: list[dict[str, str]] = []

    def apply(given: list[dict[str, str]], **_: object) -> str:
        turns.extend(given)
        return ""

    template = SimpleNamespace(chat_template="there", apply_chat_template=apply)
    prompt_text(SimpleNamespace(tokenizer=template), prompts.build(TIMESTAMPS, plus=True))
    assert [turn["role"] for turn in turns] == ["system", "user"]
    assert turns[0]["content"].startswith("Knowledge Cutoff Date: April 2024.\nToday's Date: December 19, 2024.\n")
    assert turns[1]["content"].startswith("<|audio|> Timestamps: ")


def test_more_new_tokens_are_left_for_times() -> None:
    assert prompts.build(TIMESTAMPS, plus=True).tokens == 5
    assert Decoding().budget(30 * 16_000, 5) == 1000
    assert Decoding(7).budget(30 * 16_000, 5) == 7


MEETING = Transcript(
    "meeting.wav",
    (Segment(0.0, 10.0, " ".join(turn.text for turn in CARD_TURNS), turns=CARD_TURNS), Segment(10.0, 12.0, "")),
    language="en",
    task=SPEAKERS,
)


def test_each_turn_is_a_line_of_text_and_a_caption_of_its_own() -> None:
    lines = [
        "[Speaker 1]: Hello how are you",
        "[Speaker 2]: I'm fine and how are you feeling",
        "[Speaker 1]: I feel wonderful",
    ]
    assert WRITERS["txt"](MEETING) == "\n".join(lines) + "\n"
    cues = [cue.split("\n", 2)[2] for cue in re.split(r"\n\n", WRITERS["srt"](MEETING))]
    assert [" ".join(cue.split()) for cue in cues] == lines
    assert WRITERS["tsv"](MEETING).splitlines()[1].endswith(" ".join(lines))


def test_json_has_turns_beside_a_text_without_tags() -> None:
    data = json.loads(WRITERS["json"](MEETING))
    assert "[" not in data["text"]
    assert data["segments"][0]["turns"][1] == {"speaker": "Speaker 2", "text": "I'm fine and how are you feeling"}
    timed = Segment(0.0, 1.0, "hello", words=(Word(0.0, 0.45, "hello"),))
    assert (
        json.loads(WRITERS["json"](Transcript("a.wav", (timed,), task=TIMESTAMPS)))["word_times"]
        == "written by the model"
    )


class Speakers:
    """A reader that names two speakers in each window."""

    batch_size = 1
    signature = DecodingSignature(method="none")

    def decode(self, windows: list[Any], asked: list[prompts.Prompt]) -> list[Decoded]:
        assert all(prompt.system for prompt in asked)
        turns = (Turn("Speaker 1", "yes"), Turn("Speaker 2", "no"))
        return [Decoded("yes no", 2, turns=turns) for _window in windows]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000 * 3), 16_000)
    return path


def session(plus: bool) -> Any:
    signature = SimpleNamespace(device="cpu", dtype="float32", weights_name="none", as_json=dict)
    return SimpleNamespace(plus=plus, reader=lambda *_, **__: Speakers(), speech_signature=lambda *_, **__: signature)


def test_speakers_of_two_windows_are_said_to_be_numbered_anew(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = inference.parse(["--audio", str(recording), "--task", SPEAKERS, "--window", "2"])
    assert recordings.run(options, session(plus=True)) == 0
    shown = capsys.readouterr()
    assert shown.out == "[Speaker 1]: yes\n[Speaker 2]: no\n[Speaker 1]: yes\n[Speaker 2]: no\n"
    assert "speakers are numbered anew in each of 2 windows" in shown.err


def test_a_window_that_is_longer_than_training_was_is_told(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--audio", str(recording), "--task", TIMESTAMPS, "--window", "300"]
    recordings.run(inference.parse(words), session(plus=True))
    assert "trained for up to 210 s of --task word_timestamps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "plus", "problem"),
    [
        (["--task", SPEAKERS], False, "granite_speech_plus alone was trained for it, and this checkpoint is none"),
        (
            ["--task", "translate", "--target", "de"],
            True,
            "--task translate: granite_speech_plus was not trained for it",
        ),
        (["--punctuate"], True, "--punctuate: granite_speech_plus was not trained for it"),
        (["--language", "ja"], True, "--language ja: not a language of this model"),
    ],
)
def test_what_the_checkpoint_was_not_trained_for_is_refused_in_a_sentence(
    recording: Path, words: list[str], plus: bool, problem: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        recordings.run(inference.parse(["--audio", str(recording), *words]), session(plus))


@pytest.mark.parametrize("digits", ["9" * 13, "9" * 5000, "1000"])
def test_a_number_that_no_time_has_is_no_tag(digits: str) -> None:
    found = tags.read(f"hello [T:45] world [T:{digits}] again [T:82]", TIMESTAMPS, 30.0)
    assert [word.text for word in found.words][:1] == ["hello"]
    assert found.words[-1].end == 0.82
