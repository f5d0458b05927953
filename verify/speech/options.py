"""The options of eval.py that are about speech: manifests and transcripts in, scores out."""

from __future__ import annotations

import argparse
from pathlib import Path

from env.arguments import at_least
from env.errors import UsageError
from env.language import _
from model.files import refuse_address
from model.options import GROUP, add_asking_options, add_decoding_options
from verify.speech import manifest
from verify.speech.normalisers import NAMES


def manifest_path(text: str) -> Path:
    """An argparse type: a file or a folder; an address is refused.

    Raises:
        UsageError: it is one.
    """
    refuse_address(text)
    return Path(text)


def columns(text: str) -> dict[str, str]:
    """An argparse type: FIELD=NAME,FIELD=NAME.

    Raises:
        UsageError: a field is unknown, or there is no name.
    """
    pairs = dict(pair.partition("=")[::2] for pair in text.split(","))
    known = manifest.fields()
    for field, name in pairs.items():
        if field not in known or not name:
            raise UsageError(
                _("--columns {text}: {field} is no field of a manifest", text=text, field=repr(field)),
                why=_("the fields are {names}", names=", ".join(known)),
                next="--columns audio=path,text=sentence",
            )
    return pairs


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    """What eval.py does with manifests and transcripts."""
    group = parser.add_argument_group(GROUP, _("a manifest to scores; without one the raw-tensor path runs"))
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--manifest",
        type=manifest_path,
        metavar="FILE",
        help=_(
            "recordings and texts: JSON lines of NeMo, Hugging Face or lhotse, CSV, TSV, a folder, a Kaldi folder; "
            "- for standard input"
        ),
    )
    source.add_argument(
        "--rescore",
        type=Path,
        metavar="FILE",
        help=_(
            "score transcripts again, without the model; ours, or NeMo's, Whisper's, or a text file of another tool"
        ),
    )
    source.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help=_("two files of transcripts, paired"))
    group.add_argument(
        "--columns",
        type=columns,
        default={},
        metavar="FIELD=NAME,...",
        help=_("what the manifest calls them: audio=path,text=sentence"),
    )
    group.add_argument(
        "--references",
        type=Path,
        metavar="FILE",
        help=_("the right texts of another tool's: a text file of as many lines, or a manifest"),
    )
    group.add_argument("--limit", type=at_least(1), metavar="N", help=_("only the first N that can be used"))
    group.add_argument("--warmup", type=at_least(0), metavar="N", help=_("untimed rounds first (default: 0)"))
    add_asking_options(group)
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
