"""inference.py and eval.py on recordings: what they print, write and exit with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import eval as eval_program
import inference
from env.errors import InputError, RecordError, UsageError
from env.stack import ROOT
from model import captions
from verify.speech import transcripts
from verify.speech.transcripts import Line

SLOW = pytest.mark.slow  # importing the model class takes ten seconds


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five short clips and one of 9 s in a folder, with a manifest of them, one absent clip and one broken line."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(8)
    rows: list[dict[str, Any]] = []
    for index, seconds in enumerate((0.4, 1.1, 2.0, 0.7, 1.6, 9.0)):
        soundfile.write(folder / f"{index}.flac", 0.1 * rng.standard_normal(int(seconds * 16_000)), 16_000)
        language = ("en", "ja", "fr")[index % 3]
        rows.append({"audio_filepath": f"{index}.flac", "text": "one two", "lang": language, "duration": seconds})
    rows.append({**rows[2], "taskname": "ast", "target_lang": "en"})
    rows.append({"audio_filepath": "absent.flac", "text": "x", "lang": "en"})
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    return folder


@pytest.fixture
def common(speech_folder: Path) -> list[str]:
    return ["--device", "cpu", "--dtype", "float32", "--model-dir", str(speech_folder), "--max-new-tokens", "6"]


@SLOW
def test_inference_prints_each_text_and_goes_on_after_a_bad_file(
    clips: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    files = [str(clips / name) for name in ("0.flac", "absent.flac", "5.flac")]
    with pytest.raises(InputError, match="1 of 3 recordings could not be transcribed"):
        inference.main([*common, "--audio", *files, "--window", "3", "--json", str(record)])
    out, err = capsys.readouterr()
    written = json.loads(record.read_text(encoding="utf-8"))
    first, absent, last = written["transcripts"]
    assert out == f"==> {files[0]} <==\n{first['text']}\n==> {files[2]} <==\n{last['text']}\n"
    assert "error: " in err
    assert "absent.flac: no such file" in err
    assert absent["error"] is not None
    assert len(last["segments"]) >= 3
    assert last["provenance"]["rate"] == 16_000
    assert written["signature"]["decoding"]["max_new_tokens"] == 6
    assert written["rtfx"] == pytest.approx(written["audio_seconds"] / written["processing_seconds"])


@SLOW
def test_inference_writes_documents_of_every_format_for_each_recording(
    clips: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(clips / "0.flac"), str(clips / "5.flac")]
    options = ["--window", "3", "--batch-size", "auto", "--output-format", "all", "--output", str(tmp_path / "out")]
    assert inference.main([*common, "--audio", *files, *options]) == 0
    assert capsys.readouterr().out == ""
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    assert sorted(written) == sorted(f"{clip}.{name}" for clip in (0, 5) for name in captions.FORMATS)
    begins = {
        "txt": "w",
        "json": '{"text": ',
        "srt": "1\n00:00:0",
        "vtt": "WEBVTT\n\n00:00:0",
        "tsv": "start\tend\ttext\n0\t",
    }
    assert all(written[f"5.{name}"].startswith(begin) for name, begin in begins.items())


@SLOW
def test_one_document_streams_to_stdout_as_the_writer_would_write_it(
    clips: Path, common: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*common, "--audio", str(clips / "5.flac"), "--window", "3", "--language", "en"]
    assert inference.main([*words, "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    assert inference.main(words) == 0
    assert capsys.readouterr().out == (tmp_path / "5.txt").read_text(encoding="utf-8")


@SLOW
def test_ctc_and_translation_and_an_own_prompt_give_other_texts(
    clips: Path, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = set()
    for options in ([], ["--ctc"], ["--task", "translate", "--target", "de"], ["--prompt", "What is said?"]):
        assert inference.main([*common, "--audio", str(clips / "2.flac"), *options, "--max-new-tokens", "24"]) == 0
        out, err = capsys.readouterr()
        found.add(out)
        assert ("not worded as the model was trained" in err) == ("--prompt" in options)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "translate"], "--task needs --audio"),
        (["--ctc"], "--ctc needs --audio"),
        (["--audio", "a.wav", "--benchmark", "3"], "--benchmark is of the raw-tensor path"),
        (["--audio", "a.wav", "--ctc", "--punctuate"], "--ctc reads the encoder alone"),
        (["--audio", "a.wav", "--target", "de"], "--target is for translation only"),
        (["--audio", "a.wav", "b.wav", "--output-format", "srt"], "several srt documents cannot share stdout"),
        (["--audio", "a.wav", "--output-format", "srt", "json"], "several formats cannot share stdout"),
        (["--audio", "https://example.org/a.wav"], "is an address: nothing is downloaded here"),
        (["--audio", "a.wav", "--channels", "left"], "--channels left: neither mix nor split nor a channel's number"),
        (["--audio", "a.wav", "--language", "tlh-Latn"], "--language tlh-latn: not a language of this model"),
        (["--audio", "a.wav", "--target", "ru"], "--target ru: not a language of this model"),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_anything_loads(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        inference.main(words)
    assert message in str(caught.value)


def test_no_model_is_loaded_for_files_of_which_none_is_audio(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one\.wav: no such file\n.*\n.*two\.wav: no such file"):
        inference.main(["--audio", str(tmp_path / "one.wav"), str(tmp_path / "two.wav")])


@SLOW
def test_evaluation_scores_lists_what_it_could_not_use_and_goes_on(
    clips: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, scores = tmp_path / "out.jsonl", tmp_path / "scores.json"
    words = ["--manifest", str(clips / "set.jsonl"), "--output", str(output), "--batch-size", "2", "--window", "3"]
    with pytest.raises(InputError, match="1 lines of the manifest and 1 of 8 recordings could not be used"):
        eval_program.main([*common, *words, "--json", str(scores)])
    out, err = capsys.readouterr()
    made = json.loads(scores.read_text(encoding="utf-8"))["scores"]
    assert sorted(made["transcription"]) == ["all", "en", "fr", "ja"]
    assert sorted(made["translation"]) == ["all-en", "fr-en"]
    assert made["signature"]["decoding"]["max_new_tokens"] == 6
    assert made["rtfx"]["value"] > 0
    assert "WER %" in out
    assert "failed, and in no score: 1 of 8\n  absent.flac: " in out
    assert "line 9 is left out: is not JSON" in err

    with pytest.raises(InputError):
        eval_program.main([*common, *words])
    err = capsys.readouterr().err
    assert "going on: 7 texts of earlier runs stand (7 in out.jsonl): same audio" in err
    assert "settings; 1 are left" in err

    assert eval_program.main(["--rescore", str(output), "--json", str(tmp_path / "again.json")]) == 0
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))["scores"]
    assert again == made

    with pytest.raises(RecordError, match="dtype was 'float32', is 'bfloat16'"):
        eval_program.main([*common, "--dtype", "bfloat16", *words])


@SLOW
def test_evaluating_the_encoder_alone_leaves_translations_out(
    clips: Path, common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ctc.jsonl"
    with pytest.raises(InputError, match="1 of 7 recordings"):
        eval_program.main([*common, "--manifest", str(clips / "set.jsonl"), "--output", str(output), "--ctc"])
    assert "1 translations are left out: --ctc" in capsys.readouterr().err
    assert transcripts.read(output).header["decoding"] == {"method": "ctc-greedy"}


LINES = [Line(f"{i}", f"{i}", "en", "transcribe", None, "well said", "well said", duration=1.0) for i in range(30)]


def test_comparison_names_the_devices_and_says_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npu, cpu = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    transcripts.write(npu, {"device": "npu"}, LINES)
    transcripts.write(cpu, {"device": "cpu"}, [replace(LINES[0], hypothesis="well sad"), *LINES[1:]])
    assert eval_program.main(["--compare", str(npu), str(cpu), "--json", str(tmp_path / "c.json")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("NPU and CPU transcripts agree on 29 of 30; WER difference +1.67 [+0.00, +")
    assert out.splitlines()[0].endswith("]; not significant.")
    written = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert written["comparison"]["agreed"] == 29
    assert written["signatures"] == [{"device": "npu"}, {"device": "cpu"}]


def test_rescoring_needs_no_model_and_tells_of_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    transcripts.write(path, {"device": "cpu"}, LINES)
    path.write_bytes(path.read_bytes()[:-20])
    command = [sys.executable, "-X", "importtime", "eval.py", "--rescore", str(path), "--normaliser", "basic"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "librosa"}
    assert "all" in done.stdout
    assert "its last line is half written and left out" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "x"], "--output needs --manifest or --rescore or --compare"),
        (["--rescore", "x", "--runs", "5"], "--runs is of the raw-tensor path"),
    ],
)
def test_evaluation_options_that_would_be_ignored_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        eval_program.main(words)


@SLOW
def test_torchrun_of_the_program_writes_the_bytes_of_one_process(
    clips: Path, common: list[str], tmp_path: Path
) -> None:
    rows = (clips / "set.jsonl").read_text(encoding="utf-8").splitlines()[:7]  # without what cannot be used
    manifest = clips / "good.jsonl"
    manifest.write_text("\n".join(rows), encoding="utf-8")
    words = [*common, "--manifest", str(manifest), "--batch-size", "2"]
    assert eval_program.main([*words, "--output", str(tmp_path / "one.jsonl")]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "eval.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run(
        [*command, *words, "--output", str(tmp_path / "two.jsonl")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert done.stdout.count("data sha256") == 1
