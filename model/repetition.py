"""Repetition loops: greedy decoding that says the same few words again and again until its token limit.

They were seen with the model's reference code too (LibriSpeech 1995-1836-0004: "and missus vanderpool", over and over).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_MOTIF = 16  # tokens; a looping phrase of more is rare and ends at the token limit, which is noted too
CYCLES = 6  # people say a word six times; spoken digits repeat: so both conditions must hold
LEAST_REPEATED = 18  # tokens
TAIL = LONGEST_MOTIF * CYCLES  # tokens at the end that decide


@dataclass(frozen=True)
class Loop:
    """The end of a token sequence repeats: `motif` tokens, `cycles` times."""

    motif: int
    cycles: int


def find_loop(tokens: Sequence[int]) -> Loop | None:
    """The loop in which `tokens` end, that of the shortest motif; None where they do not end in one."""
    for motif in range(1, LONGEST_MOTIF + 1):
        repeated = 0
        while repeated + motif < len(tokens) and tokens[-1 - repeated] == tokens[-1 - repeated - motif]:
            repeated += 1
        cycles = repeated // motif + 1
        if cycles >= CYCLES and cycles * motif >= LEAST_REPEATED:
            return Loop(motif, cycles)
    return None
