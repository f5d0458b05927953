from __future__ import annotations

import pytest

from model.training.card import BEGIN, END, score_table, with_scores

SCORES = {
    "tasks": {
        "raw": {
            "all": {"n": 2, "wer": 1.26, "wer_95": [0.0, 2.5]},
            "en": {"n": 1, "wer": 2.5, "wer_95": [0.0, 5.0]},
            "ja": {"n": 1, "wer": 0.0, "wer_95": [0.0, 0.0]},
        },
        "to-english": {"all": {"n": 1, "bleu": 97.04, "bleu_95_half_width": 1.23}},
        "from-english": {"all": {"n": 1, "exact": 88.0}},
    }
}
TABLE = """\
| task / 任务 | n | all / 全部 | en | fr | de | es | pt | ja |
|---|---|---|---|---|---|---|---|---|
| transcription, WER % / 转写，WER % | 2 | 1.3 [0.0, 2.5] | 2.5 [0.0, 5.0] | - | - | - | - | 0.0 [0.0, 0.0] |
| translation to English, BLEU / 译为英语，BLEU | 1 | 97.0 ± 1.2 | - | - | - | - | - | - |
| translation from English, exact % / 由英语译出，完全一致 % | 1 | 88.0 | 88.0 | - | - | - | - | - |"""


def test_table_is_written_whole() -> None:
    assert score_table(SCORES) == TABLE


def test_card_takes_the_table_in_every_marked_place_and_keeps_the_rest() -> None:
    card = f"# A\n{BEGIN}\nold\n{END}\n# B\n{BEGIN}{END}\nend\n"
    assert with_scores(card, SCORES) == f"# A\n{BEGIN}\n{TABLE}\n{END}\n# B\n{BEGIN}\n{TABLE}\n{END}\nend\n"


def test_card_without_a_marked_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no part between"):
        with_scores("# A card\n", SCORES)
