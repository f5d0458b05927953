"""The front end is held against librosa's and scipy's, and whatever is wrong with it fails by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from torchaudio.transforms import MelSpectrogram

from env.errors import InputError, InstallError
from env.stack import ROOT, load_stack
from env.toml import load_toml
from model import audio
from verify.checks import frontend
from verify.checks.frontend import Reading, ask_oracle, choose, compare, figures, problems_of
from verify.checks.speech import CLIPS, MANIFEST
from verify.reference import mel
from verify.run.context import Context
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

MEL = {"sample_rate": 16_000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}
LIMITS: dict[str, Any] = {"rel_l2": 1e-3, "max_abs": 1e-2, "source": "a test"}


def session(model_dir: str, folder: Path) -> Verification:
    return Verification(Context("cpu", model_dir, "auto", 42, 2, folder))


def reading(name: str, off: float = 0.0, *, shape: tuple[int, ...] = (2, 3)) -> Reading:
    return compare(name, np.full(shape, 1.0 + off), np.ones((2, 3)))


# What is compared, and what is said of it


def test_every_language_is_heard_at_its_longest_and_its_shortest() -> None:
    clips = choose(CLIPS / MANIFEST)
    assert len(clips) == 12
    assert [clip.name[:2] for clip in clips] == ["en", "fr", "de", "es", "pt", "ja"] * 2
    lengths = [audio.seconds(clip) for clip in clips]
    assert all(longest > shortest for longest, shortest in zip(lengths[:6], lengths[6:], strict=True))


def test_a_manifest_that_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        choose(tmp_path / MANIFEST)


@pytest.mark.parametrize(
    ("readings", "problems"),
    [
        ([reading("a"), reading("b", 1e-3)], []),
        (
            [reading("a"), reading("b", 2e-3), reading("c", 5e-3)],
            ["features: 2 of 3 differ from librosa's, c the most: rel_l2 5.0e-03 > 0.001"],
        ),
        (
            [reading("a", 0.5)],
            [
                "features: 1 of 1 differ from librosa's, a the most: rel_l2 5.0e-01 > 0.001",
                "features: 1 of 1 differ from librosa's, a the most: max_abs 5.0e-01 > 0.01",
            ],
        ),
        ([reading("a", shape=(2, 4))], ["features: a has shape 2×4, librosa's 2×3"]),
    ],
)
def test_what_is_beyond_a_limit_is_named(readings: list[Reading], problems: list[str]) -> None:
    assert problems_of(readings, LIMITS, frontend.FEATURES, "librosa") == problems


@pytest.mark.parametrize(
    "bad", [reading("bad", float("nan")), reading("bad", float("inf")), reading("bad", shape=(1,))]
)
def test_what_cannot_be_compared_is_the_worst_and_has_no_number(bad: Reading) -> None:
    limits = {"features": LIMITS, "resampled": {"rel_l2": 1.0, "source": "a test"}}
    data = figures([reading("a", 9.0), bad], [reading("8000 Hz")], limits)
    assert (data.features_rel_l2, data.features_rel_l2_worst) == (None, "bad")
    assert data.resampled_rel_l2 == 0.0
    assert problems_of([bad], LIMITS, frontend.FEATURES, "librosa")


def test_limits_have_sources_and_could_be_failed() -> None:
    for row in load_toml(frontend.LIMITS).values():
        limits = {name: value for name, value in row.items() if name != "source"}
        assert row["source"]
        assert limits
        assert all(0 < limit < 0.01 for limit in limits.values())


def test_a_checkpoint_without_a_processor_is_skipped_with_the_reason(synthetic_tiny: Path, tmp_path: Path) -> None:
    outcome = frontend.check(session(str(synthetic_tiny), tmp_path))
    assert outcome.status is Status.SKIP
    assert "lacks preprocessor_config.json" in outcome.reason
    assert outcome.reason.endswith("it cannot hear")


def test_an_oracle_that_fails_is_told_with_its_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], 1, "", "ModuleNotFoundError: No module named 'librosa'\n")

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(InstallError, match="exit code 1: ModuleNotFoundError: No module named 'librosa'") as caught:
        ask_oracle([], tmp_path)
    assert caught.value.next == "nox -s setup"


def test_an_oracle_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"no answer in 0\.05 s"):
        ask_oracle([CLIPS / "en-000.flac"], tmp_path, limit=0.05)


@pytest.mark.slow
def test_the_check_brings_no_librosa_into_the_process_it_runs_in() -> None:
    program = "import sys, verify.checks.frontend, verify.reference.mel\n"
    program += "print([name for name in ('librosa', 'sklearn', 'numba', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Against the oracle itself


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """What librosa and scipy make of the chosen clips, once, and their versions."""
    folder = tmp_path_factory.mktemp("truths")
    return folder, ask_oracle(choose(CLIPS / MANIFEST), folder)


@pytest.fixture
def verification(truths: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Verification:
    """The bundled checkpoint with its own processor; the oracle's answer is the one of `truths`."""

    def answer(clips: Any, folder: Path) -> dict[str, str]:
        shutil.copytree(truths[0], folder, dirs_exist_ok=True)
        return truths[1]

    monkeypatch.setattr(frontend, "ask_oracle", answer)
    return session(str(ROOT / load_stack().stand_in), tmp_path)


@pytest.mark.slow
def test_the_front_end_is_librosas_by_a_wide_margin(verification: Verification) -> None:
    outcome = frontend.check(verification)
    assert outcome.status is Status.PASS, outcome.reason
    for name in ("features_max_abs", "features_rel_l2", "resampled_rel_l2"):
        assert 0 < outcome.data[name] * 4 < outcome.data[f"{name}_limit"]
    assert outcome.data["rates"] == list(mel.RATES)
    assert outcome.signature is not None
    assert outcome.signature.versions is not None
    assert set(outcome.signature.versions) == {"transformers", "torchaudio", "soxr", "librosa", "scipy"}
    assert outcome.signature.n == len(outcome.data["clips"]) == 12
    # transformers looks into librosa and scikit-learn by itself; what computes with them is the other process
    assert not {"numba", "librosa.core.spectrum", "scipy.signal"} & set(sys.modules)


def with_mel(**changes: Any) -> Callable[[Any], None]:
    def change(extract: Any) -> None:
        extract.mel_filters = MelSpectrogram(**{**MEL, **changes})

    return change


def with_formula(formula: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], None]:
    """The arithmetic after the mel power [B, 80, frames] is another one."""

    def change(extract: Any) -> None:
        def compute(samples: torch.Tensor, device: str = "cpu") -> torch.Tensor:
            features = formula(extract.mel_filters(samples.float()).transpose(-1, -2))
            return features[:, : features.shape[1] // 2 * 2].reshape(len(features), -1, 160)

        extract._extract_mel_spectrograms = compute

    return change


def right(power: torch.Tensor, floor: float = 1e-10, decades: float = 8.0, divisor: float = 4.0) -> torch.Tensor:
    log = power.clip(min=floor).log10()
    return torch.maximum(log, log.amax(dim=(-2, -1), keepdim=True) - decades) / divisor + 1


@pytest.mark.slow
def test_the_tests_formula_is_the_extractors(verification: Verification) -> None:
    with_formula(right)(verification.processor.audio_processor)
    assert frontend.check(verification).status is Status.PASS


WRONG_FEATURES: dict[str, tuple[Callable[[Any], None], str]] = {
    "n_fft": (with_mel(n_fft=400), "differ"),
    "a shorter window": (with_mel(win_length=320), "differ"),
    "a window that is no Hann": (with_mel(window_fn=torch.hamming_window), "differ"),
    "a window that is not periodic": (with_mel(wkwargs={"periodic": False}), "differ"),
    "hop": (with_mel(hop_length=200), "has shape"),
    "hop by one sample": (with_mel(hop_length=161), "has shape"),
    "Slaney's mel scale": (with_mel(mel_scale="slaney"), "differ"),
    "triangles of equal area": (with_mel(norm="slaney"), "differ"),
    "magnitude for power": (with_mel(power=1.0), "differ"),
    "the top of the band": (with_mel(f_max=7600.0), "differ"),
    "padding by zeros": (with_mel(pad_mode="constant"), "differ"),
    "frames that are not centred": (with_mel(center=False), "has shape"),
    "no floor under the maximum": (with_formula(lambda power: right(power, decades=99.0)), "differ"),
    "a floor of 7 decades": (with_formula(lambda power: right(power, decades=7.0)), "differ"),
    "a higher floor of power": (with_formula(lambda power: right(power, floor=1e-4)), "differ"),
    "the natural logarithm": (with_formula(lambda power: right(power) * 2.302585), "differ"),
    "another divisor": (with_formula(lambda power: right(power, divisor=4.01)), "differ"),
    "a frame later": (with_formula(lambda power: right(power).roll(1, 1)), "differ"),
    "frames stacked the other way": (with_formula(lambda power: right(power).flip(1)), "differ"),
    "half of its digits": (with_formula(lambda power: right(power).bfloat16().float()), "differ"),
    "a NaN": (with_formula(lambda power: right(power).index_fill(1, torch.tensor([5]), torch.nan)), "differ"),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG_FEATURES)
def test_features_that_are_wrong_fail_by_name(wrong: str, verification: Verification) -> None:
    change, how = WRONG_FEATURES[wrong]
    change(verification.processor.audio_processor)
    outcome = frontend.check(verification)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith("features: ")
    assert how in outcome.reason
    assert "resampled" not in outcome.reason


class Skewed:
    """soxr's stream, told of another rate than the recording's."""

    skew = 1.001
    stream = soxr.ResampleStream

    def __new__(cls, rate: float, target: float, *arguments: Any, **options: Any) -> Any:
        return cls.stream(rate * cls.skew, target, *arguments, **options)


class Late:
    """soxr's stream with its output a sample late."""

    stream = soxr.ResampleStream

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._stream, self._first = self.stream(*arguments, **options), True

    def resample_chunk(self, block: Any, last: bool = False) -> Any:
        output = self._stream.resample_chunk(block, last=last)
        if self._first and len(output):
            output, self._first = np.concatenate([np.zeros(1, np.float32), output]), False
        return output


def wrong_rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(soxr, "ResampleStream", Skewed)


def late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(soxr, "ResampleStream", Late)


def coarse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(audio, "RESAMPLER_QUALITY", "QQ")


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [wrong_rate, late, coarse])
def test_a_resampler_that_is_wrong_fails_by_name(
    wrong: Callable[[pytest.MonkeyPatch], None], verification: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    outcome: Outcome = frontend.check(verification)
    assert outcome.status is Status.FAIL
    assert outcome.reason.startswith("resampled recordings: ")
    assert " Hz" in outcome.reason
