"""Manifests of the field's tools, as their own documentation and sources write them."""

from __future__ import annotations

import gzip
import io
import json
import sys
import types
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from env.errors import InputError
from model.pieces import Piece
from verify.speech import manifest
from verify.speech.manifest import Reading


def read(folder: Path, name: str, content: str | bytes, **how: Any) -> manifest.Manifest:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return manifest.read(path, Reading(**how))


def audio(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"RIFF")


def cut(**fields: Any) -> dict[str, Any]:
    """As lhotse writes a cut of a corpus with one file a recording."""
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": "wav/r.wav"}],
        "sampling_rate": 16000,
        "num_samples": 101440,
        "duration": 6.34,
    }
    spoken = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 6.34, "channel": 0, "text": "HELLO"}
    whole = {"id": "r-0", "start": 0.0, "duration": 6.34, "channel": 0, "type": "MonoCut", "recording": recording}
    return {**whole, "supervisions": [{**spoken, "language": "English"}], **fields}


# name, content, how it is read: then of each utterance key, text, language
KINDS: list[tuple[str, str, str, dict[str, Any], list[tuple[str, str | None, str]]]] = [
    (
        "NeMo without a language",
        "m.json",
        '{"audio_filepath": "a.wav", "duration": 1.0, "text": "hi"}',
        {"language": "English"},
        [("a.wav", "hi", "en")],
    ),
    (
        "NeMo segments of one file",
        "m.json",
        '{"audio_filepath": "a.wav", "offset": 0.0, "duration": 1.5, "text": "x", "lang": "en"}\n'
        '{"audio_filepath": "a.wav", "offset": 1.5, "duration": 2, "text": "y", "lang": "en"}\n'
        '{"audio_filepath": "a.wav", "offset": 3.5, "text": "z", "lang": "en"}',
        {},
        [("a.wav @ 0+1.5", "x", "en"), ("a.wav @ 1.5+2", "y", "en"), ("a.wav @ 3.5", "z", "en")],
    ),
    (
        "NeMo canary",
        "m.json",
        '{"audio_filepath": "a.wav", "duration": 9, "taskname": "asr", "source_lang": "en-US", "target_lang": "en", '
        '"pnc": "yes", "answer": "na"}',
        {},
        [("a.wav", None, "en")],
    ),
    (
        "NeMo canary, a translation with the transcript beside it",
        "m.json",
        '{"audio_filepath": "a.wav", "source_lang": "en", "target_lang": "de", "text": "yes", "answer": "ja"}',
        {},
        [("a.wav > de", "ja", "en")],
    ),
    (
        "Hugging Face AudioFolder, JSON lines",
        "data/metadata.jsonl",
        '{"file_name": "train/0.wav", "transcription": "hi"}',
        {"language": "en"},
        [("train/0.wav", "hi", "en")],
    ),
    (
        "Hugging Face AudioFolder, CSV with a comma and a line break in quotes",
        "metadata.csv",
        'file_name,transcription\n0.wav,"one, two\nthree"\n1.wav,four\n',
        {"language": "de_DE"},
        [("0.wav", "one, two\nthree", "de"), ("1.wav", "four", "de")],
    ),
    (
        "Hugging Face datasets, exported",
        "rows.jsonl",
        '{"audio": {"path": "c/0.wav", "array": null}, "sentence": "hi", "locale": "en"}',
        {},
        [("c/0.wav", "hi", "en")],
    ),
    (
        "a JSON array over several lines",
        "rows.json",
        json.dumps([{"path": "0.wav", "text": "hi", "language": "fr"}] * 1, indent=1),
        {},
        [("0.wav", "hi", "fr")],
    ),
    (
        "Common Voice, with a lone quote",
        "de/test.tsv",
        "client_id\tpath\tsentence_id\tsentence\tup_votes\tage\tlocale\tsegment\n"
        'x\tcommon_voice_de_1.mp3\t1\t"Ja, sagte er.\t2\t\tde\t\ny\tcommon_voice_de_2.mp3\t2\tNein.\t2\t\tde\t\n',
        {},
        [("common_voice_de_1.mp3", '"Ja, sagte er.', "de"), ("common_voice_de_2.mp3", "Nein.", "de")],
    ),
    (
        "columns of one's own",
        "own.csv",
        "clip;words;tongue\n0.wav;hi;ja_JP\n",
        {"columns": {"audio": "clip", "text": "words", "language": "tongue"}},
        [("0.wav", "hi", "ja")],
    ),
    (
        "texts of no language, transcribed only",
        "m.jsonl",
        '{"audio_filepath": "a.wav"}',
        {},
        [("a.wav", None, "und")],
    ),
    ("lhotse, a cut of the whole recording", "cuts.jsonl", json.dumps(cut()), {}, [("wav/r.wav", "HELLO", "en")]),
    (
        "lhotse, a cut with two supervisions",
        "cuts.jsonl",
        json.dumps(
            cut(
                start=1.0,
                duration=4.0,
                supervisions=[
                    {"start": 0.5, "duration": 1.0, "text": "A", "language": "en", "channel": 0},
                    {"start": 2.0, "duration": 1.25, "text": "B", "language": "en", "channel": 0},
                ],
            )
        ),
        {},
        [("wav/r.wav @ 1.5+1", "A", "en"), ("wav/r.wav @ 3+1.25", "B", "en")],
    ),
]


@pytest.mark.parametrize("case", KINDS, ids=[case[0] for case in KINDS])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_manifests_of_the_fields_tools_are_read(
    packed: bool, case: tuple[str, str, str, dict[str, Any], list[tuple[str, str | None, str]]], tmp_path: Path
) -> None:
    _label, name, content, how, expected = case
    data = gzip.compress(content.encode()) if packed else content
    result = read(tmp_path, name + ".gz" * packed, data, **how)
    assert result.problems == ()
    assert [(each.key, each.text, each.language) for each in result.utterances] == expected
    assert result.name == Path(name).stem


def test_a_segment_is_a_piece_and_a_duration_alone_is_none(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "a.wav", "duration": 2.0, "text": "", "lang": "en"},
        {"audio_filepath": "a.wav", "offset": 0, "duration": 2.0, "text": "", "lang": "en", "channel_selector": 1},
        {"audio_filepath": "b.wav", "text": "", "lang": "en", "channel_selector": [0, 1], "pnc": "no"},
        {"audio_filepath": "c.wav", "text": "", "lang": "en", "channel_selector": "average"},
    ]
    result = read(tmp_path, "m.json", "\n".join(map(json.dumps, rows))).utterances
    assert [each.piece for each in result] == [Piece(), Piece(0, 2.0, (1,)), Piece(channels=(0, 1)), Piece()]
    assert [each.punctuate for each in result] == [None, None, False, None]
    assert [each.key for each in result] == ["a.wav", "a.wav @ 0+2 # 1", "b.wav # 0+1", "c.wav"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "MixedCut"}, "is a MixedCut of lhotse"),
        ({"recording": None, "type": "MonoCut"}, "is a cut without its recording"),
        ({"recording": {"sources": [{"type": "command", "channels": [0], "source": "rm"}]}}, "of the type command"),
        ({"start": "soon"}, "is a damaged cut"),
    ],
)
def test_a_cut_that_needs_lhotse_is_left_out_with_its_reason(
    fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = cut(recording={**cut()["recording"], "sources": [{"type": "file", "channels": [0, 1], "source": "2.wav"}]})
    result = read(tmp_path, "cuts.jsonl", "\n".join([json.dumps(cut(**fields)), json.dumps(good)]))
    assert [each.piece.channels for each in result.utterances] == [(0,)]
    assert reason in result.problems[0].reason


KALDI = {
    "wav.scp": "rec1 wav/1.wav\nrec2 sph2pipe -f wav 2.sph |\n",
    "segments": "u1 rec1 0.50 2.00\nu2 rec1 2.0 -1\nu3 rec2 0 1\nu4 rec9 0 1\n",
    "text": "u1 hello there\nu2\nu3 no\n",
    "utt2lang": "u1 eng\nu2 eng\nu3 eng\n",
    "reco2file_and_channel": "rec1 1 B\n",
}


def test_a_kaldi_folder_is_read_and_its_commands_are_not_run(tmp_path: Path) -> None:
    """kaldi-asr.org, "Data preparation": wav.scp, segments, text, utt2lang, reco2file_and_channel."""
    for name, content in KALDI.items():
        (tmp_path / name).write_text(content)
    result = manifest.read(tmp_path)
    assert [(each.key, each.text, each.language, each.piece) for each in result.utterances] == [
        ("wav/1.wav @ 0.5+1.5 # 1", "hello there", "en", Piece(0.5, 1.5, (1,))),
        ("wav/1.wav @ 2 # 1", "", "en", Piece(2.0, None, (1,))),
    ]
    assert [(each.kind, each.line) for each in result.problems] == [("command", 3), ("audio", 4)]
    (tmp_path / "segments").unlink()
    assert [each.key for each in manifest.read(tmp_path, Reading(language="en")).utterances] == ["wav/1.wav # 1"]


def test_a_folder_of_recordings_is_read_with_the_texts_beside_them(tmp_path: Path) -> None:
    audio(tmp_path, "84/121/84-121-0000.flac", "84/121/84-121-0001.flac", "b.wav", "c.wav", ".hidden/d.wav")
    (tmp_path / "84/121/84-121.trans.txt").write_text("84-121-0000 GO DO YOU HEAR\n84-121-0001 BUT\n")
    (tmp_path / "b.txt").write_text("good\nday\n")
    result = manifest.read(tmp_path, Reading(language="en"))
    assert [(each.key, each.text) for each in result.utterances] == [
        ("84/121/84-121-0000.flac", "GO DO YOU HEAR"),
        ("84/121/84-121-0001.flac", "BUT"),
        ("b.wav", "good day"),
        ("c.wav", None),
    ]
    before = result.sha256
    (tmp_path / "b.txt").write_text("good night")
    assert manifest.read(tmp_path, Reading(language="en")).sha256 != before


def test_common_voices_clips_and_names_in_either_unicode_form_lead_to_their_files(tmp_path: Path) -> None:
    audio(tmp_path, "clips/1.mp3", unicodedata.normalize("NFD", "größe/ä.wav"), "back/slash.wav")
    rows = [
        {"path": name, "sentence": "x", "locale": "de"}
        for name in ("1.mp3", "größe/ä.wav", "back\\slash.wav", "no.wav")
    ]
    rows += [{"path": f"file://{tmp_path}/clips/1.mp3", "sentence": "x", "locale": "de"}]
    result = read(tmp_path, "m.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert [each.path.exists() for each in result.utterances] == [True, True, True, False, True]
    assert [each.key for each in result.missing] == ["no.wav"]


def test_what_is_left_out_is_told_by_kind_with_its_count_and_what_to_do(tmp_path: Path) -> None:
    rows = [{"audio_filepath": f"{n}.wav", "text": "x", "lang": "xx" if n < 5 else "en"} for n in range(6)]
    rows += [{"audio_filepath": "s3://b/a.wav", "text": "x", "lang": "en"}, rows[5]]
    result = read(tmp_path, "m.jsonl", "\n".join(map(json.dumps, rows)))
    told = manifest.left_out(result.problems)
    assert [text.partition(": ")[0] for text in told] == [
        "5 lines are left out (1, 2, 3, ...)",
        "line 7 is left out",
        "line 8 is left out",
    ]
    assert "leave the lines out" in told[0]
    assert "fetch the recordings" in told[1]
    assert "a segment of its own has an offset" in told[2]


def test_a_limit_counts_what_can_be_used(tmp_path: Path) -> None:
    rows = [{"audio_filepath": f"{n}.wav", "text": "x", "lang": "xx" if n == 0 else "en"} for n in range(9)]
    result = read(tmp_path, "m.jsonl", "\n".join(map(json.dumps, rows)), limit=3)
    assert [each.key for each in result.utterances] == ["1.wav", "2.wav", "3.wav"]


def test_a_task_for_all_is_taken_where_a_row_has_none(tmp_path: Path) -> None:
    row = {"audio_filepath": "a.wav", "text": "x", "lang": "en"}
    assert read(tmp_path, "m.jsonl", json.dumps(row), task="translate", target="de").utterances[0].key == "a.wav > de"
    assert (
        read(tmp_path, "m.jsonl", json.dumps({**row, "taskname": "asr"}), task="translate").utterances[0].target is None
    )


def test_a_manifest_comes_by_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audio(tmp_path, "a.wav")
    text = io.TextIOWrapper(io.BytesIO(b'{"audio_filepath": "a.wav", "text": "x", "lang": "en"}\n'))
    monkeypatch.setattr(sys, "stdin", text)
    result = manifest.read(Path("-"))
    assert (result.name, result.missing) == ("stdin", ())


def test_parquet_needs_pyarrow_and_its_recordings_become_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets' Audio feature: a struct of bytes and path (huggingface/datasets, features/audio.py)."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="is Parquet, for which pyarrow is needed"):
        read(tmp_path, "set.parquet", b"PAR1....PAR1")

    class Batch:
        def to_pylist(self) -> list[dict[str, Any]]:
            return [{"audio": {"bytes": b"RIFF", "path": "x.wav"}, "sentence": "hi"}]

    class ParquetFile:
        def __init__(self, source: io.BytesIO) -> None:
            assert source.read(4) == b"PAR1"

        def iter_batches(self) -> list[Batch]:
            return [Batch()]

    package = types.ModuleType("pyarrow")
    package.parquet = types.SimpleNamespace(ParquetFile=ParquetFile)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    utterance = read(tmp_path, "set.parquet", b"PAR1....PAR1", language="en").utterances[0]
    assert utterance.path.read_bytes() == b"RIFF"
    assert (utterance.path.suffix, utterance.text) == (".wav", "hi")


def test_a_packed_manifest_is_unpacked_as_far_as_a_plain_one_may_go(tmp_path: Path) -> None:
    packed = gzip.compress(b"\n" * (1 << 28), 1)  # 256 MiB in one
    with pytest.raises(InputError, match="larger than 128 MiB"):
        read(tmp_path, "bomb.jsonl.gz", packed)


def test_a_million_unusable_lines_are_no_manifest_and_told_by_the_first_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path, "a.jsonl", "x\n" * 1_000_000)
    assert "(10000 like it)" in str(refused.value.why)


def test_lines_that_are_alike_share_their_reason(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav")
    line = json.dumps({"audio_filepath": "a.wav", "text": "one", "lang": "en"})
    result = read(tmp_path, "a.jsonl", line + "\nx" * 2000)
    assert len(result.problems) == 2000
    assert len({id(problem.reason) for problem in result.problems}) <= 1001
