from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from env.errors import RecordError
from model import checkpoint as checkpoints
from verify.checks import speech
from verify.reference import words
from verify.run import spoken
from verify.run.context import Context
from verify.run.records import Status
from verify.run.verification import Verification
from verify.speech import transcripts

pytestmark = pytest.mark.slow  # importing the model class takes ten seconds


def session_of(model: Path | str, folder: Path) -> Verification:
    return Verification(
        Context(device="cpu", model_dir=str(model), dtype="float32", seed=42, level=2, run_folder=folder)
    )


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    rng = np.random.default_rng(8)
    rows: list[dict[str, Any]] = []
    for index, language in enumerate(("en", "de", "ja", "fr")):
        soundfile.write(folder / f"{index}.flac", 0.1 * rng.standard_normal(8_000 + 4_000 * index), 16_000)
        rows.append({"audio_filepath": f"{index}.flac", "text": "one two", "lang": language})
    rows.append({**rows[1], "taskname": "ast", "target_lang": "en"})
    (folder / speech.MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def scored(speech_folder: Path, tmp_path: Path) -> Path:
    """The checkpoint with random weights, and scores that say that random is what it is."""
    folder = shutil.copytree(speech_folder, tmp_path / "checkpoint")
    tasks = {"raw": {"all": {"wer": 3000.0}}, "to-english": {"all": {"bleu": 0.0}}}
    (folder / speech.HELD_OUT_SCORES).write_text(json.dumps({"tasks": tasks}))
    return folder


def bundle_reference(clips: Path, model: Path, data: dict[str, Any], change: int = 0) -> None:
    """Write the texts of an outcome as the bundled reference, the first `change` of them altered."""
    lines = [
        transcripts.Line(
            row["clip"] if row["target"] is None else f"{row['clip']} > {row['target']}",
            row["clip"],
            row["language"],
            "translate" if row["target"] else "transcribe",
            row["target"],
            row["reference"],
            row["hypothesis"] + (" altered" if index < change else ""),
            audio_sha256=row["audio_sha256"],
        )
        for index, row in enumerate(data["transcripts"])
    ]
    header = {"weights_sha256": checkpoints.weights_sha256(checkpoints.inspect(model))}
    transcripts.write(clips / speech.REFERENCE, header, lines)


def test_clips_become_texts_with_scores_per_language(scored: Path, clips: Path, tmp_path: Path) -> None:
    outcome = speech.check(session_of(scored, tmp_path), clips)
    assert outcome.status is Status.PASS, outcome.reason
    data = outcome.data
    assert len(data["transcripts"]) == 5
    assert all(row["hypothesis"] for row in data["transcripts"])
    assert all(row["ctc"] for row in data["transcripts"])
    assert data["transcripts"][1]["ctc"] == data["transcripts"][4]["ctc"]  # one recording, two tasks
    assert sorted(data["transcription"]) == ["all", "de", "en", "fr", "ja"]
    assert sorted(data["translation"]) == ["all-en", "de-en"]
    assert data["limits"]["wer_at_most"] == 3002.0
    assert str(outcome.signature and outcome.signature.normaliser) == "none"
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_a_checkpoint_that_is_worse_than_its_own_scores_fails(scored: Path, clips: Path, tmp_path: Path) -> None:
    tasks = {"raw": {"all": {"wer": 4.0}}, "to-english": {"all": {"bleu": 90.0}}}
    (scored / speech.HELD_OUT_SCORES).write_text(json.dumps({"tasks": tasks}))
    outcome = speech.check(session_of(scored, tmp_path), clips)
    assert outcome.status is Status.FAIL
    assert "% is above 6.0 %" in outcome.reason
    assert "is below 85.0" in outcome.reason


def test_texts_are_held_to_those_of_a_cpu(scored: Path, clips: Path, tmp_path: Path) -> None:
    shared = session_of(scored, tmp_path)
    data = dict(speech.check(shared, clips).data)
    bundle_reference(clips, scored, data)
    same = speech.check(shared, clips)
    assert same.status is Status.PASS
    assert same.data["agreement"] == {"same": 5, "of": 5, "differ": []}
    bundle_reference(clips, scored, data, change=1)
    other = speech.check(shared, clips)
    assert other.status is Status.FAIL
    assert "4 of 5 texts are the CPU's, 98% needed" in other.reason


def test_reference_texts_of_other_weights_are_not_used_and_of_other_clips_are_refused(
    scored: Path, clips: Path, tmp_path: Path
) -> None:
    shared = session_of(scored, tmp_path)
    data = dict(speech.check(shared, clips).data)
    bundle_reference(clips, scored, data)
    found = transcripts.read(clips / speech.REFERENCE)
    transcripts.write(clips / speech.REFERENCE, {"weights_sha256": "other"}, found.lines)
    assert speech.check(shared, clips).data["agreement"] is None
    transcripts.write(clips / speech.REFERENCE, found.header, found.lines[1:])
    with pytest.raises(RecordError, match="was made from other clips or texts"):
        speech.check(shared, clips)


def test_weights_without_known_scores_must_at_least_come_to_an_end(
    speech_folder: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "needed", lambda checkpoint: False)  # test_words.py has what they are held against
    outcome = speech.check(session_of(speech_folder, tmp_path), clips)  # random weights: hardly any does
    assert outcome.status is Status.FAIL
    assert outcome.reason == "4 of 5 recordings give a text that does not end"
    assert str(outcome.signature and outcome.signature.normaliser).startswith("whisper")


@pytest.mark.parametrize(
    ("hypotheses", "notes", "problems"),
    [
        (("one", "", ""), ((), (), ()), ["2 of 3 recordings give no text"]),
        (("one", "two", ""), ((), (), ()), []),
        (("one", "two", "three"), (("repetition loop: 'a' 9 times, stopped",),) * 2 + ((),), ["2 of 3 recordings"]),
        (("one", "two", "three"), (("resampled from 8000 Hz",),) * 3, []),
    ],
)
def test_most_recordings_give_a_text_that_ends(
    hypotheses: tuple[str, ...], notes: tuple[tuple[str, ...], ...], problems: list[str]
) -> None:
    lines = [
        transcripts.Line(str(place), f"{place}.flac", "en", "transcribe", None, "one", text, notes=said)
        for place, (text, said) in enumerate(zip(hypotheses, notes, strict=True))
    ]
    texts = [speech.row(line, {}, {line.audio: None}) for line in lines]
    found = spoken.implausible(texts)
    assert len(found) == len(problems)
    assert all(text.startswith(problem) for text, problem in zip(found, problems, strict=True))


def test_a_clip_that_cannot_be_read_fails_the_check(scored: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "2.flac").write_bytes(b"")
    outcome = speech.check(session_of(scored, tmp_path), clips)
    assert outcome.status is Status.FAIL
    assert "2.flac: is empty (0 bytes)" in outcome.reason


def test_random_weights_without_a_processor_are_skipped_with_the_reason(clips: Path, tmp_path: Path) -> None:
    outcome = speech.check(session_of("synthetic:tiny", tmp_path), clips)
    assert outcome.status is Status.SKIP
    assert (
        outcome.reason == "synthetic:tiny has no preprocessor_config.json and no tokenizer_config.json: it cannot hear"
    )
