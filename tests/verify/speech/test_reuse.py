"""Texts of an earlier run stand for the same audio, segment, channel and prompt, not for what is named alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.pieces import Piece
from tests.verify.speech.evaluation_worker import HEADER, HashReader
from verify.speech import audio_evaluation, evaluation, manifest, reuse, transcripts
from verify.speech.evaluation import Asking
from verify.speech.shards import Group, Place
from verify.speech.transcripts import Line

ALONE = Group(Place())


def clip(path: Path, seed: int, seconds: float = 1.0, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal((int(seconds * 16_000), channels))
    soundfile.write(path, 0.1 * noise, 16_000)


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"text": "x", "lang": "en", **row}) + "\n" for row in rows), encoding="utf-8")
    return path


def run(source: Path, output: Path, **more: Any) -> tuple[dict[str, Line], list[evaluation.Plan], HashReader]:
    plans: list[evaluation.Plan] = []
    reader = HashReader()
    done = evaluation.evaluate(
        reader,
        manifest.read(source).utterances,
        output,
        HEADER,
        ALONE,
        on_start=lambda plan, counts: plans.append(plan),
        **more,
    )
    assert done is not None
    return {line.key: line for line in done.lines}, plans, reader


def test_two_manifests_named_alike_do_not_share_texts(tmp_path: Path) -> None:
    """test-clean/manifest.jsonl and test-other/manifest.jsonl, both with wav/0000.flac, into one file."""
    sets = []
    for seed, name in enumerate(("test-clean", "test-other")):
        clip(tmp_path / name / "wav/0000.flac", seed)
        sets.append(written(tmp_path / name / "manifest.jsonl", {"audio_filepath": "wav/0000.flac"}))
    first, _plans, _reader = run(sets[0], tmp_path / "out.jsonl")
    second, plans, reader = run(sets[1], tmp_path / "out.jsonl")
    alone, _plans, _reader = run(sets[1], tmp_path / "alone.jsonl")
    assert second["wav/0000.flac"].hypothesis == alone["wav/0000.flac"].hypothesis
    assert second["wav/0000.flac"].hypothesis != first["wav/0000.flac"].hypothesis
    assert (plans[0].left(), reader.calls) == (1, 1)
    assert plans[0].reasons() == ["1: the recording is another one now"]
    kept = transcripts.read(tmp_path / "out.replaced.jsonl")
    assert [line.hypothesis for line in kept.lines] == [first["wav/0000.flac"].hypothesis]


def test_a_recording_replaced_under_its_name_is_transcribed_again_and_the_others_stand(tmp_path: Path) -> None:
    for number in range(3):
        clip(tmp_path / f"{number}.flac", number)
    source = written(tmp_path / "set.jsonl", *({"audio_filepath": f"{n}.flac"} for n in range(3)))
    run(source, tmp_path / "out.jsonl")
    clip(tmp_path / "1.flac", 77)
    _lines, plans, _reader = run(source, tmp_path / "out.jsonl")
    assert (sorted(plans[0].done), plans[0].reasons()) == (
        ["0.flac", "2.flac"],
        ["1: the recording is another one now"],
    )


def test_segments_of_one_file_are_each_transcribed_and_so_is_each_channel(tmp_path: Path) -> None:
    clip(tmp_path / "call.wav", 1, 6.0, channels=2)
    rows = [{"audio_filepath": "call.wav", "offset": start, "duration": 1.5} for start in (0.0, 1.5, 3.0)]
    rows += [{"audio_filepath": "call.wav", "channel_selector": channel} for channel in (0, 1)]
    lines, _plans, _reader = run(written(tmp_path / "m.json", *rows), tmp_path / "out.jsonl")
    assert [round(line.duration, 3) for line in lines.values()] == [6.0, 6.0, 1.5, 1.5, 1.5]
    assert len({(line.hypothesis or "").split()[0] for line in lines.values()}) == 5
    clip(tmp_path / "0.wav", 1, 6.0, channels=2)
    samples = soundfile.read(tmp_path / "call.wav")[0]
    soundfile.write(tmp_path / "cut.wav", samples[24_000:48_000], 16_000)
    cut, _plans, _reader = run(written(tmp_path / "cut.json", {"audio_filepath": "cut.wav"}), tmp_path / "cut.jsonl")
    assert (cut["cut.wav"].hypothesis or "").split()[0] == (lines["call.wav @ 1.5+1.5"].hypothesis or "").split()[0]


UTTERANCE = manifest.Utterance("a", "a", Path("a.wav"), None, "x", "en", "transcribe", None)
LINE = Line(
    "a", "a", "en", "transcribe", None, "x", "text", audio_sha256="1", prompt=Asking().prompt_for(UTTERANCE).content
)


class Known(reuse.Digests):
    def of(self, path: Path) -> str | None:
        return "1"


@pytest.mark.parametrize(
    ("line", "utterance", "asking", "reason"),
    [
        ({}, {}, Asking(), None),
        ({}, {"text": "corrected"}, Asking(), None),
        ({}, {"language": "de"}, Asking(), None),
        ({}, {"language": "ja"}, Asking(), reuse.JOINED),
        ({"audio_sha256": "2"}, {}, Asking(), reuse.AUDIO),
        ({"offset": 1.0}, {}, Asking(), reuse.PIECE),
        ({}, {"piece": Piece(1.0, 2.0)}, Asking(), reuse.PIECE),
        ({}, {"piece": Piece(channels=(0,))}, Asking(), reuse.PIECE),
        ({"channels": (1,)}, {"piece": Piece(channels=(1,))}, Asking(), None),
        ({}, {}, Asking(punctuate=True), reuse.PROMPT),
        ({}, {"punctuate": True}, Asking(), reuse.PROMPT),
        ({}, {}, Asking(keywords=("CANN",)), reuse.PROMPT),
        ({}, {}, Asking(prompt="what?"), reuse.PROMPT),
        ({}, {}, Asking(language="en"), None),  # the plain instruction does not tell it
        ({"prompt": None}, {}, Asking(), reuse.UNKNOWN),
        ({"audio_sha256": None}, {}, Asking(), reuse.UNKNOWN),
        ({"error": "no such file"}, {}, Asking(), reuse.FAILED),
    ],
)
def test_a_line_stands_for_what_it_was_made_of(
    line: dict[str, Any], utterance: dict[str, Any], asking: Asking, reason: str | None
) -> None:
    standing = reuse.judge([replace(UTTERANCE, **utterance)], {"a": replace(LINE, **line)}, asking.prompt_for, Known())
    assert standing.again == ({} if reason is None else {"a": str(reason)})


def test_a_digest_is_taken_again_where_the_file_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    digests = reuse.Digests()
    before = digests.of(path)
    assert digests.of(path) == before
    path.unlink()
    assert digests.of(path) is None
    path.write_text("two")
    assert digests.of(path) not in (before, None)


def test_times_of_other_transcripts_are_no_times(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    transcripts.write(path, HEADER, [replace(LINE, duration=1.0, seconds=0.5)])
    assert transcripts.read(path).lines[0].seconds == 0.5
    path.write_text(path.read_text(encoding="utf-8").replace('"text"', '"other"'), encoding="utf-8")
    assert transcripts.read(path).lines[0].seconds == 0.0


def test_each_target_has_the_signature_it_was_scored_with() -> None:
    def figures(bleu: str, n: int) -> dict[str, Any]:
        score = {"value": 50.0, "low": None, "high": None, "n": n}
        return {"bleu": {**score, "signature": bleu}, "chrf": {**score, "signature": f"chrF|n:{n}"}}

    made = {
        "transcription": {},
        "translation": {"en-de": figures("tok:13a|n:1", 1), "en-zh": figures("tok:zh|n:2", 2)},
        "signature": {"data_sha256": "0"},
        "rtfx": {"value": None},
        "notes": [],
        "failed": [],
    }
    shown = audio_evaluation.score_tables(made).splitlines()
    assert "bleu (en-de): tok:13a" in shown
    assert "bleu (en-zh): tok:zh" in shown
    assert "chrf: chrF|n:2" in shown
