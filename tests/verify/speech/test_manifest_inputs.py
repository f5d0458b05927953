"""Manifests as people really write them: each line ends in an utterance or in one clear reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from env.errors import InputError
from verify.speech import manifest

GOOD = {"audio_filepath": "clips/a.flac", "duration": 1.5, "text": "hello", "lang": "en"}


def row(**fields: Any) -> str:
    return json.dumps({**GOOD, **fields}, ensure_ascii=False)


def without(name: str) -> str:
    return json.dumps({key: value for key, value in GOOD.items() if key != name})


BROKEN: list[tuple[str, str | bytes, str]] = [
    ("cut in the middle", row()[:-10], "is not JSON"),
    ("two objects", row() + row(), "is not JSON: Extra data"),
    ("a list", "[1, 2]", "is not a JSON object but list"),
    ("a number", "3", "is not a JSON object but int"),
    ("nested without end", "[" * 100_000, "is not JSON"),
    ("no path", without("audio_filepath"), "has no audio_filepath"),
    ("no language", without("lang"), "has no lang"),
    ("empty path", row(audio_filepath=" "), "audio_filepath is ' '"),
    ("NUL in the path", row(audio_filepath="a\0b"), "audio_filepath is 'a\\x00b'"),
    ("path is a number", row(audio_filepath=7), "audio_filepath is 7, not a text"),
    ("text is a number", row(text=7), "text is 7, not a text"),
    ("an address", row(audio_filepath="https://example.org/a.wav"), "audio_filepath is an address"),
    ("offset is negative", row(offset=-0.5), "offset is -0.5"),
    ("channel is a name", row(channel_selector="left"), "channel_selector is 'left', not a channel"),
    ("channel is negative", row(channel_selector=-1), "channel_selector is -1, not a channel"),
    ("pnc is unknown", row(pnc="maybe"), "pnc is 'maybe', not one of yes"),
    ("two languages", row(source_lang="de"), "lang is en, source_lang is de"),
    ("half a surrogate pair", '{"audio_filepath": "a", "text": "\\ud800", "lang": "en"}', "text is not valid UTF-8"),
    ("Latin-1 bytes", row(text="größe").encode("latin-1"), "text is not valid UTF-8"),
    ("duration is a text", row(duration="1.5"), "duration is '1.5'"),
    ("duration is NaN", row(duration=float("nan")), "duration is nan"),
    ("duration is negative", row(duration=-1), "duration is -1"),
    ("duration is zero", row(duration=0), "duration is 0"),
    ("duration is true", row(duration=True), "duration is True"),
    ("unknown language", row(lang="xx"), "lang xx: not a language of this model"),
    ("unknown task", row(taskname="diarize"), "taskname is 'diarize'"),
    ("a pair the model lacks", row(lang="fr", taskname="ast", target_lang="de"), "not trained to translate French"),
    ("transcript in another language", row(taskname="asr", target_lang="de"), "target_lang is de, but taskname is asr"),
    ("English without target", row(taskname="ast"), "English speech can be translated into several languages"),
]


def written(folder: Path, *lines: str | bytes, end: bytes = b"\n", start: bytes = b"") -> Path:
    path = folder / "set.jsonl"
    data = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(start + end.join(data))
    return path


@pytest.mark.parametrize(("line", "reason"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_line_is_named_and_the_rest_is_read(line: str | bytes, reason: str, tmp_path: Path) -> None:
    found = manifest.read(written(tmp_path, row(audio_filepath="x"), line, row(audio_filepath="y")))
    assert [utterance.key for utterance in found.utterances] == ["x", "y"]
    assert [problem.line for problem in found.problems] == [2]
    assert reason in found.problems[0].reason


def test_utterance_is_read_with_its_path_relative_to_the_manifest(tmp_path: Path) -> None:
    found = manifest.read(written(tmp_path, row(text="größe", lang="de")))
    path = (tmp_path / "clips" / "a.flac").resolve()
    expected = manifest.Utterance("clips/a.flac", "clips/a.flac", path, 1.5, "größe", "de", "transcribe", None)
    assert (found.utterances, found.problems) == ((expected,), ())


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    assert manifest.read(written(tmp_path, row(text="one\u2028two"))).utterances[0].text == "one\u2028two"


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    assert manifest.read(written(tmp_path, row(audio_filepath="/data/a.wav"))).utterances[0].path == Path("/data/a.wav")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(end: bytes, start: bytes, tmp_path: Path) -> None:
    found = manifest.read(
        written(tmp_path, row(audio_filepath="x"), row(audio_filepath="y"), b"", end=end, start=start)
    )
    assert ([utterance.key for utterance in found.utterances], found.problems) == (["x", "y"], ())


def test_a_repeated_path_is_left_out_but_another_task_on_it_is_not(tmp_path: Path) -> None:
    into = {"lang": "fr", "taskname": "ast", "target_lang": "en"}
    found = manifest.read(written(tmp_path, row(lang="fr"), row(**into), row(lang="fr", text="other"), row(**into)))
    assert [utterance.key for utterance in found.utterances] == ["clips/a.flac", "clips/a.flac > en"]
    assert [(problem.line, problem.reason) for problem in found.problems] == [
        (3, "repeats line 1: clips/a.flac"),
        (4, "repeats line 2: clips/a.flac > en"),
    ]


@pytest.mark.parametrize(
    ("fields", "task", "target"),
    [
        ({}, "transcribe", None),
        ({"taskname": "ASR", "target_lang": "en"}, "transcribe", None),
        ({"taskname": None, "target_lang": None}, "transcribe", None),
        ({"taskname": "s2t_translation", "target_lang": "de"}, "translate", "de"),
        ({"lang": "ja", "taskname": "ast"}, "translate", "en"),
    ],
)
def test_task_names_in_use_are_known(fields: dict[str, Any], task: str, target: str | None, tmp_path: Path) -> None:
    utterance = manifest.read(written(tmp_path, row(**fields))).utterances[0]
    assert (utterance.task, utterance.target) == (task, target)


def test_source_lang_is_read_where_lang_is_absent_and_duration_may_be_absent(tmp_path: Path) -> None:
    fields = {"audio_filepath": "a", "text": "", "source_lang": "DE"}
    utterance = manifest.read(written(tmp_path, json.dumps(fields))).utterances[0]
    assert (utterance.language, utterance.duration, utterance.text) == ("de", None, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"no json\n", "line 1: is not JSON"),
        (row().encode("utf-16"), "is UTF-16"),
        (b"no json\nneither\n" + row(lang="xx").encode(), r"line 1: is not JSON: .* \(2 like it\); line 3: lang xx"),
        (bytes(range(256)), "is no text"),
        (b"\x1f\x8b\x08 and no more", "is a damaged gzip file"),
    ],
)
def test_a_file_that_is_no_manifest_says_so(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        manifest.read(path)


def test_an_absent_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        manifest.read(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="holds no recordings and no manifest"):
        manifest.read(tmp_path)
