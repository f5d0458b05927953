"""Puts a checkpoint's scores into its model card, so that the card never says another number than scores.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model.training.number_words import LANGUAGES

BEGIN, END = "<!-- scores: written by model/training/card.py -->", "<!-- end of scores -->"

_ROWS = {  # task -> (English, Chinese)
    "raw": ("transcription, WER %", "转写，WER %"),
    "punctuated": ("punctuated transcription, WER %", "带标点转写，WER %"),
    "ctc": ("CTC head alone, WER %", "仅 CTC 头，WER %"),
    "to-english": ("translation to English, BLEU", "译为英语，BLEU"),
    "from-english": ("translation from English, exact %", "由英语译出，完全一致 %"),
    "ctc-long": ("CTC head alone on clips joined to 5-20 s, WER %", "5-20 秒拼接音频，仅 CTC 头，WER %"),
    "raw-long": ("transcription of clips joined to 5-20 s, WER %", "5-20 秒拼接音频转写，WER %"),
}


def _cell(task: str, scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "-"
    if task == "to-english":
        return f"{scores['bleu']:.1f} ± {scores['bleu_95_half_width']:.1f}"
    if task == "from-english":
        return f"{scores['exact']:.1f}"
    low, high = scores["wer_95"]
    return f"{scores['wer']:.1f} [{low:.1f}, {high:.1f}]"


def score_table(scores: Mapping[str, Any]) -> str:
    """The Markdown table of `scores` (scores.json), its row names in both languages."""
    lines = [
        f"| task / 任务 | n | all / 全部 | {' | '.join(LANGUAGES)} |",
        f"|---|---|---|{'---|' * len(LANGUAGES)}",
    ]
    for task, names in _ROWS.items():
        if task not in scores["tasks"]:
            continue
        rows = scores["tasks"][task]
        # A row over one language only holds its score as "all".
        only = "en" if task == "from-english" else None
        cells = [_cell(task, rows["all"] if language == only else rows.get(language)) for language in LANGUAGES]
        lines.append(
            f"| {names[0]} / {names[1]} | {rows['all']['n']} | {_cell(task, rows['all'])} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def with_scores(card: str, scores: Mapping[str, Any]) -> str:
    """`card` with every marked part replaced by the table of `scores`. Raises ValueError where it has no mark."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(card):
        raise ValueError(f"the model card has no part between {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{score_table(scores)}\n{END}", card)
