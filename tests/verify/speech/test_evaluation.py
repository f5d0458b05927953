"""Evaluations that are resumed, shared among processes, and killed: the transcripts are the same."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from env.errors import RecordError, UsageError
from env.stack import ROOT
from tests.verify.speech.evaluation_worker import HEADER, HashReader
from verify.speech import evaluation, manifest, shards, transcripts
from verify.speech.shards import Group, Place

ALONE = Group(Place())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of twenty short clips and a long one, two of them twice asked, one absent, one no audio."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for index in range(21):
        seconds = 31.0 if index == 20 else float(rng.uniform(0.1, 6.0))
        name = f"{index:02d}.flac"
        soundfile.write(folder / name, 0.1 * rng.standard_normal(int(seconds * 16_000)), 16_000)
        row = {"audio_filepath": name, "text": f"text {index}", "lang": "fr", "duration": seconds}
        rows += [row] if index > 1 else [row, {**row, "taskname": "ast", "target_lang": "en"}]
    (folder / "text.wav").write_text("no audio")
    rows += [{"audio_filepath": name, "text": "x", "lang": "de"} for name in ("absent.wav", "text.wav")]
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(reader: HashReader, clips: Path, output: Path, header: Mapping[str, Any] = HEADER) -> transcripts.Transcripts:
    found = evaluation.evaluate(reader, manifest.read(clips).utterances, output, header, ALONE)
    assert found is not None
    return found


def test_every_utterance_gets_a_line_and_unreadable_ones_their_reason(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    found = run(HashReader(), clips, output)
    assert len(found.done) == 23
    assert {line.key: (line.error or "").partition(": ")[2].splitlines()[0] for line in found.failed} == {
        "absent.wav": "no such file",
        "text.wav": "cannot be read as audio",
    }
    assert [line.key for line in transcripts.read(output).lines] == sorted(line.key for line in found.lines)
    assert all(line.audio_sha256 and line.duration > 0 and line.seconds > 0 for line in found.done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.times.json"]


def test_a_long_recording_is_cut_into_windows_and_joined(clips: Path, tmp_path: Path) -> None:
    found = {line.key: line for line in run(HashReader(), clips, tmp_path / "out.jsonl").lines}
    assert found["20.flac"].duration == 31.0
    assert len((found["20.flac"].hypothesis or "").split()) == 4


def test_a_wrong_duration_in_the_manifest_is_noted(clips: Path, tmp_path: Path) -> None:
    utterance = replace(manifest.read(clips).utterances[4], duration=99.0)
    line = evaluation.transcribe_batch(HashReader(), [utterance], limit_seconds=30)[0]
    assert line.notes[0].startswith("the manifest says 99.00 s, the file holds ")


class StoppedError(Exception):
    pass


class StoppingReader(HashReader):
    def decode(self, windows: Sequence[Any], prompts: Sequence[Any]) -> list[Any]:
        if self.calls == self.die_after:
            raise StoppedError
        return super().decode(windows, prompts)


def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes_and_does_nothing_twice(clips: Path, tmp_path: Path) -> None:
    whole = HashReader()
    run(whole, clips, tmp_path / "whole.jsonl")
    for stop in range(whole.calls):
        output = tmp_path / f"stopped-{stop}.jsonl"
        first, second = StoppingReader(die_after=stop), HashReader()
        with pytest.raises(StoppedError):
            run(first, clips, output)
        assert not output.exists()
        run(second, clips, output)
        assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
        # A batch that was stopped is decoded again, and the long clip is two windows of one batch.
        assert whole.calls <= first.calls + second.calls <= whole.calls + 1


def test_a_finished_run_is_not_decoded_again_but_its_failures_are_tried(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    run(HashReader(), clips, output)
    again = HashReader()
    assert run(again, clips, output) == transcripts.read(output)
    assert again.calls == 1  # the batch that holds the two failures, decoded for its readable neighbour


def test_corrected_references_reach_texts_of_an_earlier_run(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    run(HashReader(), clips, output)
    corrected = [replace(utterance, text="corrected") for utterance in manifest.read(clips).utterances]
    found = evaluation.evaluate(HashReader(), corrected, output, HEADER, ALONE)
    assert found is not None
    assert {line.reference for line in found.lines} == {"corrected"}


def test_other_settings_do_not_mix_with_earlier_transcripts(clips: Path, tmp_path: Path) -> None:
    run(HashReader(), clips, tmp_path / "out.jsonl")
    with pytest.raises(RecordError, match="model was 'hash', is 'other'"):
        run(HashReader(), clips, tmp_path / "out.jsonl", {"model": "other"})


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    worker = [str(Path(__file__).with_name("evaluation_worker.py")), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    return subprocess.run([*command, *worker], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_two_processes_write_the_bytes_that_one_writes(clips: Path, tmp_path: Path) -> None:
    run(HashReader(), clips, tmp_path / "one.jsonl")
    done = torchrun(str(clips), str(tmp_path / "two.jsonl"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert not transcripts.parts(tmp_path / "two.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_killed_process_is_named_its_lines_are_kept_and_a_rerun_finishes(
    victim: str, clips: Path, tmp_path: Path
) -> None:
    run(HashReader(), clips, tmp_path / "one.jsonl")
    output = tmp_path / "two.jsonl"
    done = torchrun(str(clips), str(output), victim, "1")
    assert done.returncode != 0
    assert f"error: rank {victim} (process " in done.stderr
    assert "every transcript that was finished is kept" in done.stderr
    kept, counts = transcripts.earlier(output, HEADER)
    assert counts[f"two.jsonl.part-{victim}"] > 0
    again = HashReader()
    run(again, clips, output)
    assert output.read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert 0 < again.calls < 10
    assert len(kept) > 0


def longest_share(loads: Sequence[float], size: int) -> float:
    return max(sum(loads[index] for index in share) for share in shards.assign(loads, size))


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 9))
def test_every_load_goes_to_one_process_and_none_waits_long(loads: list[float], size: int) -> None:
    """Graham 1966: whoever takes the next load when free is done within the mean and the longest load of the rest."""
    assert sorted(index for share in shards.assign(loads, size) for index in share) == list(range(len(loads)))
    assert longest_share(loads, size) <= sum(loads) / size + (1 - 1 / size) * max(loads, default=0) + 1e-6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=7), st.integers(1, 3))
def test_longest_first_is_within_a_third_of_the_best_division(loads: list[int], size: int) -> None:
    """Graham 1969: at most 4/3 - 1/(3 size) of the best, here found by trying every division."""
    best = min(
        max(sum(load for load, owner in zip(loads, owners, strict=True) if owner == rank) for rank in range(size))
        for owners in itertools.product(range(size), repeat=len(loads))
    )
    assert longest_share(loads, size) <= (4 / 3 - 1 / (3 * size)) * best + 1e-9


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 9))
def test_every_recording_is_in_one_batch_and_long_ones_are_alone(seconds: list[float], size: int) -> None:
    found = shards.batches(seconds, size, alone_above=30)
    assert sorted(index for batch in found for index in batch) == list(range(len(seconds)))
    assert all(0 < len(batch) <= size for batch in found)
    assert all(len(batch) == 1 for batch in found if seconds[batch[0]] > 30)
    lengths = [seconds[batch[0]] for batch in found]
    assert lengths == sorted(lengths, reverse=True)


def test_torchruns_place_is_read_and_a_broken_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert shards.place() == Place(0, 1, 0)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(UsageError, match="are not three numbers"):
        shards.place()
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert shards.place() == Place(3, 8, 1)


@pytest.mark.parametrize(
    ("asked", "size", "device"),
    [("npu", 2, "npu:1"), ("cuda", 4, "cuda:1"), ("cpu", 2, "cpu"), ("auto", 2, "auto"), ("npu:0", 1, "npu:0")],
)
def test_each_process_takes_a_card_of_its_own(asked: str, size: int, device: str) -> None:
    assert shards.device_for(asked, Place(size - 1, size, 1)) == device


def test_one_card_for_several_processes_is_refused() -> None:
    with pytest.raises(UsageError, match="--device npu:0 is one device, torchrun started 2 processes"):
        shards.device_for("npu:0", Place(0, 2, 0))
