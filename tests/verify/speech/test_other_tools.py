"""Texts of other tools are scored and compared as our own are; the layouts are those that the tools write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jiwer
import pytest

import eval as eval_program
from env.errors import InputError, UsageError
from verify.speech import other_tools, transcripts
from verify.speech.transcripts import Line

PAIRS = [("one two three", "one too three"), ("", "noise"), ("four", "four")]
NONE = ["--normaliser", "none"]


def rows(folder: Path, name: str, values: list[dict[str, Any]]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def nemo(folder: Path) -> Path:
    """transcribe_speech.py: the manifest's row with pred_text added."""
    return rows(
        folder,
        "nemo.jsonl",
        [
            {"audio_filepath": f"/gpu/{index}.wav", "duration": 2.0, "text": text, "lang": "en", "pred_text": predicted}
            for index, (text, predicted) in enumerate(PAIRS)
        ],
    )


def pairs(folder: Path) -> Path:
    return rows(folder, "pairs.jsonl", [{"text": text, "prediction": predicted} for text, predicted in PAIRS])


def array(folder: Path) -> Path:
    path = folder / "pairs.json"
    path.write_text(json.dumps([{"reference": text, "hypothesis": predicted} for text, predicted in PAIRS]))
    return path


def table(folder: Path) -> Path:
    path = folder / "pairs.csv"
    path.write_text(
        "path,sentence,prediction\n" + "".join(f"{i}.mp3,{one},{two}\n" for i, (one, two) in enumerate(PAIRS))
    )
    return path


def whisper(folder: Path) -> Path:
    """openai/whisper --output_format json: a file a recording, without its name in it."""
    place = folder / "whisper"
    place.mkdir()
    for index, (_text, predicted) in enumerate(PAIRS):
        value = {"text": f" {predicted}", "segments": [{"id": 0, "start": 0.0, "text": predicted}], "language": "en"}
        (place / f"{index}.json").write_text(json.dumps(value, indent=2))
    return place


def lines(folder: Path) -> Path:
    path = folder / "hypotheses.txt"
    path.write_text("".join(f"{predicted}\n" for _text, predicted in PAIRS))
    return path


def references(folder: Path) -> Path:
    path = folder / "references.txt"
    path.write_text("".join(f"{text}\n" for text, _predicted in PAIRS))
    return path


def manifest(folder: Path) -> Path:
    return rows(
        folder, "set.jsonl", [{"audio_filepath": f"x/{i}.wav", "text": text} for i, (text, _) in enumerate(PAIRS)]
    )


@pytest.mark.parametrize(
    ("make", "right"),
    [(nemo, None), (pairs, None), (array, None), (table, None), (whisper, manifest), (lines, references)],
)
def test_what_another_tool_wrote_is_scored_as_jiwer_scores_it(
    make: Any, right: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rescore", str(make(tmp_path)), *NONE, "--language", "en", "--json", str(tmp_path / "scores.json")]
    if right is not None:
        options += ["--references", str(right(tmp_path))]
    assert eval_program.main(options) == 0
    made = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    wer = made["scores"]["transcription"]["en"]["wer"]
    texts = [text for text, _ in PAIRS], [predicted for _, predicted in PAIRS]
    assert wer["value"] == pytest.approx(100 * jiwer.process_words(*texts).wer)
    assert [line["wer"] for line in made["transcripts"]] == [pytest.approx(100 / 3), None, 0.0]
    assert "50.00" in capsys.readouterr().out


def test_a_run_of_another_tool_is_compared_with_ours_by_the_names_of_the_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [
        Line(f"clips/{index}.flac", f"clips/{index}.flac", "en", "transcribe", None, text, text)
        for index, (text, _) in enumerate(PAIRS)
    ]
    transcripts.write(tmp_path / "ours.jsonl", {"device": "npu"}, own)
    assert eval_program.main(["--compare", str(tmp_path / "ours.jsonl"), str(whisper(tmp_path)), *NONE]) == 0
    out = capsys.readouterr().out
    assert "ours and whisper transcripts agree on" in out
    assert "WER difference +50.00" in out


def test_two_text_files_are_compared_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = [str(lines(tmp_path)), str(references(tmp_path))]
    options = ["--compare", *sides, "--references", str(references(tmp_path)), "--language", "en", *NONE]
    assert eval_program.main(options) == 0
    assert "agree on 1 of 3" in capsys.readouterr().out


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="have different numbers of lines"):
        other_tools.read(lines(tmp_path), tmp_path / "two.txt", "en")
    with pytest.raises(UsageError, match="does not say its language"):
        other_tools.read(pairs(tmp_path))
    with pytest.raises(InputError, match="holds no texts"):
        other_tools.read(rows(tmp_path, "no.jsonl", [{"audio_filepath": "a.wav", "duration": 1}]), None, "en")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.json or \.txt files"):
        other_tools.read(tmp_path / "empty", None, "en")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        other_tools.read(tmp_path / "absent.txt", None, "en")


def test_without_references_texts_are_read_and_in_no_score(tmp_path: Path) -> None:
    read = other_tools.read(lines(tmp_path), None, "en")
    assert len(read.done) == 3
    assert read.scored == ()


def test_translations_are_known_by_their_target(tmp_path: Path) -> None:
    row = {
        "audio_filepath": "a.wav",
        "text": "guten tag",
        "source_lang": "en-US",
        "target_lang": "de",
        "pred_text": "gut",
    }
    (line,) = other_tools.read(rows(tmp_path, "canary.jsonl", [row])).lines
    assert (line.language, line.target, line.task, line.reference) == ("en", "de", "translate", "guten tag")
