"""Weights of which no scores are known are held against what they say on a CPU, in words and token by token."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs

from env.errors import ReferenceFileError
from env.language import Message
from env.stack import ROOT, load_stack
from model import clips
from verify.checks import words as check
from verify.reference import file, words, words_file, words_make
from verify.reference.figures import Bound, ReferenceFigures
from verify.reference.progress import WordsProgress
from verify.reference.values import Expected
from verify.reference.words import Spoken, Words, WordsDescription
from verify.run import plan, spoken
from verify.run.context import Context
from verify.run.figures.tokens import ChoiceFigures, ForcedRunFigures
from verify.run.figures.words import WordsFigures, WordsRow
from verify.run.verification import Verification

CLIPS = ("en.flac", "ja.flac")
END = 7
PROCESSOR = SimpleNamespace(
    tokenizer=SimpleNamespace(decode=lambda tokens, skip_special_tokens: " ".join(f"w{token}" for token in tokens))
)
RUN = WordsDescription(
    schema=words.SCHEMA,
    weights_sha256="a" * 64,
    config_sha256="b" * 64,
    inputs_sha256="c" * 64,
    processor_sha256="d" * 64,
    clips=CLIPS,
    tokens=words.TOKENS,
    transformers="4.57.6",
    dtype="float32",
    dtypes=("bfloat16",),
    versions={"torch": "2.9.0"},
)


def said(clip: str, *tokens: int) -> Spoken:
    """A text whose scores prefer each of its tokens by 2."""
    scores = torch.zeros(len(tokens), END + 1)
    for step, token in enumerate(tokens):
        scores[step, token] = 2.0
    text = " ".join(f"w{token}" for token in tokens if token != END)
    return Spoken(clip, clip[:2], text, torch.tensor(tokens), scores, ended=tokens[-1] == END)


MADE = Words(RUN, (said("en.flac", 1, 2, END), said("ja.flac", 3, 3, 4, END)), {"bfloat16": (0.01, 0.02)})


def described(**change: Any) -> Words:
    return replace(MADE, description=replace(RUN, **change))


def first(**change: Any) -> Words:
    return replace(MADE, spoken=(replace(MADE.spoken[0], **change), *MADE.spoken[1:]))


FOREIGN: list[tuple[Words, str]] = [
    (described(weights_sha256="0" * 64), "other weights"),
    (described(config_sha256="0" * 64), "other config.json"),
    (described(inputs_sha256="0" * 64), "other clips, prompts or features"),
    (described(processor_sha256="0" * 64), "other processor or tokenizer"),
    (described(tokens=8), "other number of tokens: 8 there, 48 here"),
    (described(gelu="tanh"), "other form of GELU"),
    (described(transformers="5.0.0"), "other transformers version"),
    (replace(MADE, noise={}), "nothing for bfloat16"),
    (replace(MADE, spoken=MADE.spoken[:1]), "the texts are not those of its clips"),
    (replace(MADE, spoken=MADE.spoken[::-1]), "the texts are not those of its clips"),
    (first(text="w9 w9"), "the text of en.flac is not what its tokens and scores say"),
    (first(tokens=torch.tensor([1, 3, END])), "the text of en.flac"),
    (first(tokens=torch.tensor([1, 2])), "the text of en.flac"),
    (first(scores=torch.full((3, 8), float("nan"))), "the text of en.flac"),
    (first(tokens=torch.tensor([]), scores=torch.zeros(0, 8), text=""), "the text of en.flac"),
]


@pytest.mark.parametrize(
    ("brought", "message"), FOREIGN, ids=[f"{n} {text[:40]}" for n, (_, text) in enumerate(FOREIGN)]
)
def test_texts_of_something_else_or_that_deny_themselves_are_refused(brought: Words, message: str) -> None:
    with pytest.raises(ReferenceFileError, match="does not fit this run") as caught:
        words_file.require(brought, RUN, PROCESSOR, Path("brought.safetensors"))
    assert message in caught.value.what


def test_texts_are_made_once_and_a_damaged_or_foreign_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def make(*arguments: Any) -> Words:
        made.append(1)
        return MADE

    monkeypatch.setattr(words_make, "make", make)
    checkpoint: Any = SimpleNamespace(name="synthetic:wide")

    def kept() -> Words:
        return words_file.cached(checkpoint, [], [], PROCESSOR, RUN, tmp_path)

    once, again = kept(), kept()
    assert (len(made), once.sha256) == (1, again.sha256)
    assert [one.text for one in again.spoken] == ["w1 w2", "w3 w3 w4"]
    assert again.noise == MADE.noise
    (path,) = tmp_path.iterdir()
    for spoil in (lambda: path.write_bytes(path.read_bytes()[:-40]), lambda: words_file.save(first(text="w9"), path)):
        spoil()
        assert kept().sha256 == once.sha256
    assert len(made) == 3


NOISE = (0.01, 0.02)
BOUND = spoken.words_bound("cpu", "bfloat16", NOISE)


def row(**change: Any) -> WordsRow:
    good = WordsRow(
        clip="en.flac",
        language="en",
        text="one two",
        cpu="one two",
        tokens=3,
        ended=True,
        same=3,
        first_difference=None,
        forced=ForcedRunFigures(same=3, ties=0, wrong=[]),
        rel_l2=[0.001, 0.002, 0.001],
    )
    return structs.replace(good, **change)


def figures(*rows: WordsRow, **change: Any) -> WordsFigures:
    reference = ReferenceFigures(device="cpu", dtype="float32", sha256="0" * 64, depth="texts", versions={})
    good = WordsFigures(
        reference=reference, noise=Bound(*NOISE), expected=BOUND, rows=list(rows), distance=check.distance(rows)
    )
    return structs.replace(good, **change)


def other(margin: float) -> ChoiceFigures:
    return ChoiceFigures(step=1, taken=5, expected=2, margin=margin, tie_below=0.5)


@pytest.mark.parametrize(
    ("one", "problems"),
    [
        (row(), []),
        (row(text="one ten", same=1, first_difference=other(0.4)), []),
        (
            row(text="one ten", same=1, first_difference=other(0.6)),
            ["en.flac: token 1 is 5, the reference prefers 2 by 0.6 (a tie below 0.5): 'one ten' instead of 'one two'"],
        ),
        (row(same=2), ["en.flac: 2 tokens, the reference has 3"]),
        (row(same=9), ["en.flac: 9 tokens, the reference has 3"]),
        (row(forced=ForcedRunFigures(same=2, ties=1, wrong=[])), []),
        (
            row(forced=ForcedRunFigures(same=2, ties=0, wrong=[other(0.6)])),
            ["en.flac: forced to the reference's tokens it takes 5 for 2 at 1, against a margin of 0.6"],
        ),
        (row(rel_l2=[0.001, None, 0.001]), ["en.flac: the scores of token 1 hold NaN or infinity"]),
        (
            row(rel_l2=[0.001, 0.5, 0.9]),
            [f"en.flac: the scores of token 1 are off by 5.0e-01, expected below {BOUND.rel_l2:.1e}"],
        ),
    ],
)
def test_a_text_may_differ_after_a_tie_and_for_no_other_reason(one: WordsRow, problems: list[str]) -> None:
    assert spoken.of_words(figures(row(clip="ja.flac"), one)) == problems


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"expected": Bound(10 * BOUND.rel_l2, 1.0)}, "scores may be off by"),
        ({"rows": [row(text="one ten")]}, "whether its text is the CPU's is not so"),
        ({"rows": [row(forced=ForcedRunFigures(same=1, ties=0, wrong=[]))]}, "choices are missing"),
        ({"rows": [row(rel_l2=[0.001])]}, "choices are missing"),
        ({"distance": structs.replace(figures(row()).distance, words=50.0)}, "the distance to the CPU's texts"),
        ({"distance": check.distance([row(text="one ten")])}, "the distance to the CPU's texts"),
    ],
)
def test_figures_of_texts_that_deny_a_pass_are_seen(change: dict[str, Any], problem: str) -> None:
    problems = list(spoken._contradicted(figures(row(), **change), "bfloat16", "cpu"))
    assert problem in " ".join(problems) if problem else problems == []


def test_the_distance_is_counted_in_words_of_the_cpu_s_text() -> None:
    distance = check.distance([row(), row(text="one", same=1, first_difference=other(0.1))])
    assert (distance.words, distance.word_counts["deletions"]) == (25.0, 1)
    assert distance.characters == pytest.approx(400 / 14)
    assert distance.character_counts["deletions"] == 4


@pytest.mark.parametrize(
    ("taken", "same", "step"),
    [((1, 2, END), 3, None), ((1, 3, END), 1, 1), ((1, 2), 2, None), ((1, 2, END, 4), 4, None), ((), 0, None)],
)
def test_a_text_is_followed_up_to_the_first_token_that_differs(taken: tuple[int, ...], same: int, step: int) -> None:
    best, scores = MADE.spoken[0].tokens.numpy(), np.asarray(MADE.spoken[0].scores, dtype=np.float64)
    length, difference = check.free(taken, best, scores, BOUND)
    assert (length, difference and difference.step) == (same, step)


def test_who_waits_is_told_which_text_is_made() -> None:
    lines: list[Message] = []
    moments = iter([0.0, 4.0, 12.0, 13.0, 31.0])
    progress = WordsProgress(6, clock=lambda: next(moments), show=lines.append)
    progress.at(0)
    progress()
    progress()
    progress.at(2, "bfloat16")
    progress()
    progress()
    assert lines == ["reference text 1 of 6: 2 tokens, 12 s", "noise of bfloat16: clip 3 of 6, 31 s"]


@pytest.mark.parametrize(
    ("name", "full", "parameters", "positions", "limit"),
    [
        ("speech", False, 4_000_000, 32, 180),
        ("speech", True, 70_000_000, 32, 3600 + 70e6 * 0.35 / 2.3e9 * plan.CLIP_POSITIONS),
        ("speech", True, 2_300_000_000, 32, 3600 + 0.35 * plan.CLIP_POSITIONS),
        ("parity", True, 2_300_000_000, 1500, 3600 + 0.35 * plan.PASSES * 1500),
        ("tokens", True, 2_300_000_000, 32, 900 + 0.35 * plan.PASSES * 32),
        ("generate", True, 2_300_000_000, 1500, 900),
    ],
)
def test_a_check_that_may_make_the_reference_has_the_time_that_it_takes(
    name: str, full: bool, parameters: int, positions: int, limit: float
) -> None:
    (one,) = (each for each in plan.CHECKS if each.name == name)
    assert one.limit_for(full=full, parameters=parameters, positions=positions) == pytest.approx(limit)


def test_parameters_are_told_by_the_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 100)
    assert plan.parameters(str(tmp_path)) == 50
    assert plan.parameters("synthetic:full") == plan.PUBLISHED
    assert plan.parameters("synthetic:tiny") == 0


def test_the_file_that_reference_brings_holds_the_texts_too(tmp_path: Path, tiny_expected: Expected) -> None:
    path = tmp_path / "brought.safetensors"
    file.save(replace(tiny_expected, words=MADE), path)
    back = file.read(path)
    assert back.words is not None
    assert back.words.sha256 == back.sha256
    words_file.require(back.words, RUN, PROCESSOR, path)
    file.save(tiny_expected, path)  # as files were before there were texts in them
    assert file.read(path).words is None


@pytest.mark.slow
def test_the_trained_stand_in_without_its_scores_is_held_to_its_own_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(ROOT / load_stack().stand_in, tmp_path / "checkpoint"))
    (folder / words.KNOWN_SCORES).unlink()
    monkeypatch.setattr(file, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(clips, "one_a_language", lambda all_of_them=clips.one_a_language: all_of_them()[:2])
    monkeypatch.setattr(words_make, "DEVICES", 1)
    session = Verification(Context("cpu", str(folder), "bfloat16", 42, 2, tmp_path))
    assert words.needed(session.checkpoint)
    healthy = check.measure(session)
    assert spoken.of_words(healthy) == []
    assert [one.language for one in healthy.rows] == ["en", "fr"]
    assert all(one.cpu and one.ended for one in healthy.rows)
    assert not list(spoken._contradicted(healthy, "bfloat16", "cpu"))
    session.model.model.projector.linear.weight.data.zero_()  # deaf
    wrong = spoken.of_words(check.measure(session))
    assert len(wrong) >= 2
    assert "(a tie below" in wrong[0]
    assert "instead of" in wrong[0]
    assert len(list((tmp_path / "kept").glob("*-words-*"))) == 1
