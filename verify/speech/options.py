"""The options of eval.py that are about speech: manifests and transcripts in, scores out."""

from __future__ import annotations

import argparse
from pathlib import Path

from env.language import _
from model.options import GROUP, add_decoding_options
from verify.speech.normalisers import NAMES


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    """What eval.py does with manifests and transcripts."""
    group = parser.add_argument_group(GROUP, _("a manifest to scores; without one the raw-tensor path runs"))
    source = group.add_mutually_exclusive_group()
    source.add_argument("--manifest", type=Path, metavar="FILE", help=_("JSONL: audio_filepath, text, lang, ..."))
    source.add_argument("--rescore", type=Path, metavar="FILE", help=_("score transcripts again, without the model"))
    source.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help=_("two files of transcripts, paired"))
    group.add_argument(
        "--output", type=Path, metavar="FILE", help=_("transcripts; by default under results/transcripts")
    )
    group.add_argument("--normaliser", choices=NAMES, default="whisper", help=_("of texts before words are compared"))
    group.add_argument(
        "--spelling",
        type=Path,
        metavar="FILE",
        help=_("British to American: Whisper's normalizer.json, in place of the one that is installed"),
    )
    group.add_argument(
        "--leaderboard",
        type=Path,
        metavar="DIR",
        help=_("a checkout of the Open ASR Leaderboard, for --normaliser leaderboard"),
    )
    group.add_argument(
        "--ja-mecab", action="store_true", help=_("BLEU of Japanese by MeCab's words, as sacrebleu has it")
    )
    add_decoding_options(group)
