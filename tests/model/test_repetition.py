from __future__ import annotations

import random

import pytest

from model.repetition import CYCLES, LEAST_REPEATED, LONGEST_MOTIF, Loop, find_loop

START = [100, 101, 102, 103]


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ([], None),
        (START, None),
        (START + [7] * 18, Loop(1, 18)),
        (START + [7] * 17, None),  # one digit said seventeen times
        (START + [7, 8] * 9, Loop(2, 9)),
        (START + [7, 8] * 8, None),
        (START + [1, 2, 3] * 6, Loop(3, 6)),
        (START + [1, 2, 3] * 5, None),
        (START + [1, 2, 3] * 6 + [1], Loop(3, 6)),  # cut in the middle of a cycle
        (START + [1, 2, 3] * 6 + [9], None),  # it got out
        (list(range(LONGEST_MOTIF)) * CYCLES, Loop(LONGEST_MOTIF, CYCLES)),
        (list(range(LONGEST_MOTIF + 1)) * CYCLES, None),
    ],
)
def test_a_loop_is_what_the_end_repeats_often_enough(tokens: list[int], loop: Loop | None) -> None:
    assert find_loop(tokens) == loop


def test_spoken_digits_with_repeats_are_not_a_loop() -> None:
    rng = random.Random(1)
    for _ in range(500):
        assert find_loop([rng.randrange(10) for _ in range(60)]) is None


def test_any_loop_is_found_wherever_decoding_stops_inside_it() -> None:
    for motif in range(1, LONGEST_MOTIF + 1):
        needed = max(CYCLES * motif, LEAST_REPEATED + motif)
        for extra in range(motif):
            tokens = START + [200 + i % motif for i in range(needed + extra)]
            assert find_loop(tokens) is not None, (motif, extra)
