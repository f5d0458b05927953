"""What a command line names: files, folders, patterns, standard input, channels; and what is said while it runs."""

from __future__ import annotations

import argparse
import io
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile

import inference
from env.errors import InputError, UsageError
from model import console, files, options, recordings, sources
from model.decoding import Decoded
from model.pieces import Piece
from model.prompts import Prompt, build
from model.signature import DecodingSignature
from model.sources import Source
from model.warmup import warm_up


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, channels in (("a.wav", 1), ("in/b.flac", 2), ("in/deep/c.wav", 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.full((800, channels), 0.1), 16_000)
    (tmp_path / "in/notes.txt").write_text("no audio")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["a.wav"], ["a.wav"]),
        (["in"], ["in/b.flac", "in/deep/c.wav"]),
        (["a.wav", "in", "a.wav"], ["a.wav", "in/b.flac", "in/deep/c.wav"]),
        (["in/*"], ["in/b.flac", "in/notes.txt"]),
        (["**/*.wav"], ["a.wav", "in/deep/c.wav"]),
        (["absent.wav"], ["absent.wav"]),
        (["in\\b.flac"], ["in/b.flac"]),
    ],
)
def test_files_folders_and_patterns_are_recordings(words: list[str], names: list[str], folder: Path) -> None:
    assert [str(path) for path in files.expand(words)] == names


def test_a_name_with_the_marks_of_a_pattern_is_a_name(folder: Path) -> None:
    Path("take [1].wav").write_bytes(b"RIFF")
    assert files.expand(["take [1].wav"]) == [Path("take [1].wav")]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_the_same_in_either_unicode_form(form: Literal["NFC", "NFD"], folder: Path) -> None:
    Path("größe").mkdir()
    Path("größe", unicodedata.normalize("NFD" if form == "NFC" else "NFC", "ä.wav")).write_bytes(b"RIFF")
    assert files.locate(unicodedata.normalize(form, "größe/ä.wav")).exists()


@pytest.mark.parametrize("address", ["https://example.org/a.wav", "s3://bucket/a.wav", "https:/example.org/a.wav"])
def test_an_address_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(UsageError, match="is an address: nothing is downloaded here"):
        files.expand([address])


def test_a_folder_or_a_pattern_without_recordings_says_so(folder: Path) -> None:
    Path("empty").mkdir()
    for word, message in (("empty", "holds no recordings"), ("in/*.mp3", "no file is named like this")):
        with pytest.raises(InputError, match=message):
            files.expand([word])


def test_channels_are_mixed_chosen_or_each_a_source(folder: Path) -> None:
    def pieces(channels: str) -> list[tuple[str, Piece]]:
        with sources.named(["a.wav", "in/b.flac"], channels) as things:
            return [(each.label, each.piece) for each in things]

    assert pieces("mix") == [("a.wav", Piece()), ("in/b.flac", Piece())]
    assert pieces("0") == [("a.wav", Piece(channels=(0,))), ("in/b.flac", Piece(channels=(0,)))]
    assert pieces("split") == [
        ("a.wav", Piece()),
        ("in/b.flac#0", Piece(channels=(0,))),
        ("in/b.flac#1", Piece(channels=(1,))),
    ]


def test_standard_input_is_a_recording(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("a.wav").read_bytes())))
    with sources.named(["-"]) as things:
        assert [each.label for each in things] == ["stdin"]
        assert soundfile.info(str(things[0].path)).frames == 800
        place = things[0].path
    assert not place.exists()


@pytest.mark.parametrize(
    ("paths", "places"),
    [
        (["x/a.wav", "x/b.wav"], ["out/a.txt", "out/b.txt"]),
        (["x/a.wav", "y/a.flac", "y/b.wav"], ["out/x/a.txt", "out/y/a.txt", "out/y/b.txt"]),
        (["x/a.wav", "x/a.flac"], ["out/a.wav.txt", "out/a.flac.txt"]),
    ],
)
def test_recordings_named_alike_keep_their_folders_or_their_endings(paths: list[str], places: list[str]) -> None:
    named_alike = [Source(Path(path), path) for path in paths]
    assert [str(place) for place in recordings.output_paths(named_alike, Path("out"), "txt").values()] == places


def test_each_channel_has_a_document_of_its_own() -> None:
    both = [Source(Path("c.wav"), f"c.wav#{channel}", Piece(channels=(channel,))) for channel in (0, 1)]
    places = recordings.output_paths(both, Path("out"), "srt")
    assert [str(place) for place in places.values()] == ["out/c.0.srt", "out/c.1.srt"]


def test_keywords_come_by_commas_by_spaces_again_and_from_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("Smith, John\nCANN\n", encoding="utf-8")
    words = [
        "--audio",
        "a.wav",
        "--keywords",
        "Ascend,NPU",
        "HCCL",
        "--keywords",
        "Atlas",
        "--keywords-file",
        str(listed),
    ]
    parsed = inference.parse(words)
    assert options.keywords(parsed) == ["Ascend", "NPU", "HCCL", "Atlas", "Smith, John", "CANN"]
    with pytest.raises(InputError, match="cannot be read as a list of names"):
        options.keywords(argparse.Namespace(keywords=[], keywords_file=tmp_path / "absent"))


@pytest.mark.parametrize(
    ("words", "instruction"),
    [
        (["--language", "German"], "can you transcribe the speech into a written format?"),
        (
            ["--language", "de-DE", "--punctuate"],
            "transcribe the German speech with proper punctuation and capitalization.",
        ),
        (["--task", "translate", "--target", "Japanese", "--language", "en"], "translate the speech to Japanese."),
    ],
)
def test_the_language_reaches_the_prompt_in_the_trained_wording(words: list[str], instruction: str) -> None:
    assert recordings.prompt(inference.parse(["--audio", "a.wav", *words]), plus=False).instruction == instruction


class Counter:
    """A reader that counts what it is asked for."""

    batch_size = 3

    def __init__(self) -> None:
        self.rows: list[int] = []

    @property
    def signature(self) -> DecodingSignature:
        return DecodingSignature(method="none")

    def decode(self, windows: list[object], prompts: list[Prompt]) -> list[Decoded]:
        self.rows.append(len(windows))
        return [Decoded("", 0) for _window in windows]


def test_warm_up_decodes_full_batches_of_the_first_recording_that_can_be_read(folder: Path) -> None:
    things = [Source(Path(name), name) for name in ("absent.wav", "in/notes.txt", "a.wav")]
    reader = Counter()
    warm_up(reader, things, build(), 2, 30.0)  # type: ignore[arg-type]
    assert reader.rows == [3, 3]
    warm_up(reader, things[:2], build(), 2, 30.0)  # type: ignore[arg-type]
    warm_up(reader, things, build(), 0, 30.0)  # type: ignore[arg-type]
    assert reader.rows == [3, 3]


def test_progress_is_told_off_a_terminal_at_least_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: Iterator[bool] = iter([False, False, True])  # two waits run out, then the bar ends
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return next(ticks)

    bar = console.Bar("utterances", 20)
    monkeypatch.setattr(bar._ended, "wait", wait)
    bar.advance(3)
    bar.keep_telling()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("note: utterances: 3 of 20 after 0 s") for line in lines)
    assert max(waited) <= 30


@pytest.mark.parametrize("name", ["x" * 300, "x" * 10_000, "é" * 200, "a\0b", "[" * 3000], ids=lambda name: name[:3])
def test_a_name_that_no_file_can_have_is_one_that_is_not_there(tmp_path: Path, name: str) -> None:
    assert not files.is_there(files.locate(name, [tmp_path]))
