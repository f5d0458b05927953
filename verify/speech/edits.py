"""Edits between reference and hypothesis of each utterance, by jiwer's alignment: over words, and over characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from verify.speech.normalisers import Normaliser
from verify.speech.transcripts import Line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]  # [utterances, 4]: hits, substitutions, deletions, insertions

NAMES = ("hits", "substitutions", "deletions", "insertions")
TOGETHER = 2000  # utterances normalised and aligned in one go: jiwer keeps the alignment of each


@dataclass(frozen=True)
class Edits:
    """Edits of each of `keys`, an utterance a row: [utterances, 4] each, hits, substitutions, deletions, insertions."""

    keys: tuple[str, ...]
    words: Counts
    characters: Counts

    def rows(self, chosen: Sequence[int]) -> Edits:
        """Those of some utterances."""
        index = list(chosen)
        return Edits(tuple(self.keys[each] for each in index), self.words[index], self.characters[index])

    def by_key(self) -> dict[str, dict[str, Any]]:
        """WER and edits over words of each utterance; the rate is None where its reference has no word."""
        found: dict[str, dict[str, Any]] = {}
        for key, row in zip(self.keys, self.words.tolist(), strict=True):
            units, errors = sum(row[:3]), sum(row[1:])
            found[key] = {"wer": 100 * errors / units if units else None, "edits": dict(zip(NAMES, row, strict=True))}
        return found


def word_counts(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Edits of each utterance over whitespace-separated words, by jiwer's alignment."""
    import jiwer

    return _counts(jiwer.process_words, lambda text: text.count(" ") + 1, references, hypotheses)


def character_counts(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Edits of each utterance over characters, spaces among them, by jiwer's alignment."""
    import jiwer

    return _counts(jiwer.process_characters, len, references, hypotheses)


def _counts(
    process: Callable[..., Any], units: Callable[[str], int], references: Sequence[str], hypotheses: Sequence[str]
) -> Counts:
    """Rows by `process`, jiwer's; equal texts, single spaces between their words, are all hits and are not aligned."""
    import numpy as np

    counts = np.zeros((len(references), 4), dtype=np.int64)
    differing = []
    for index, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        if reference == hypothesis and reference == " ".join(reference.split()):
            counts[index, 0] = units(reference) if reference else 0
        else:
            differing.append(index)
    if not differing:
        return counts
    column = {"equal": 0, "substitute": 1, "delete": 2, "insert": 3}
    aligned = process([references[index] for index in differing], [hypotheses[index] for index in differing])
    for index, chunks in zip(differing, aligned.alignments, strict=True):
        for chunk in chunks:
            in_reference = chunk.ref_end_idx - chunk.ref_start_idx
            counts[index, column[chunk.type]] += in_reference or chunk.hyp_end_idx - chunk.hyp_start_idx
    return counts


def _normalised(lines: Sequence[Line], normaliser: Normaliser) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Reference and hypothesis of each line, as words and as characters each; equal texts are normalised once."""
    for line in lines:
        reference = normaliser.both(line.reference or "", line.language)
        same = line.hypothesis == line.reference
        yield reference, reference if same else normaliser.both(line.hypothesis or "", line.language)


def count(
    lines: Sequence[Line], normaliser: Normaliser, advance: Callable[[int], None] = lambda utterances: None
) -> Edits:
    """The edits of transcribed utterances. `advance` is told how many more are counted."""
    import numpy as np

    words, characters = [np.zeros((0, 4), dtype=np.int64)], [np.zeros((0, 4), dtype=np.int64)]
    for start in range(0, len(lines), TOGETHER):
        part = lines[start : start + TOGETHER]
        texts = list(_normalised(part, normaliser))
        words.append(word_counts(*([pair[side][0] for pair in texts] for side in (0, 1))))
        characters.append(character_counts(*([pair[side][1] for pair in texts] for side in (0, 1))))
        advance(len(part))
    return Edits(tuple(line.key for line in lines), np.concatenate(words), np.concatenate(characters))


def totals(counts: Counts) -> Mapping[str, int]:
    """The sums of the columns, by name."""
    return {name: int(total) for name, total in zip(NAMES, counts.sum(axis=0), strict=True)}
