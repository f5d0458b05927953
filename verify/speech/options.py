"""The options of inference.py and eval.py that are about speech: recordings in, text and scores out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from env.arguments import at_least
from env.errors import UsageError
from model import captions, prompts, windows
from verify.speech.normalisers import NAMES

GROUP = "speech"


def seconds(smallest: float) -> Callable[[str], float]:
    """An argparse type: a number of seconds of at least `smallest`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = smallest - 1
        if not smallest <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of at least {smallest:g}")
        return value

    return number


def comma_separated(text: str) -> list[str]:
    return text.split(",")


def _add_decoding(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--punctuate", action="store_true", help="ask for punctuation and capital letters")
    group.add_argument(
        "--max-new-tokens", type=at_least(1), default=windows.NEW_TOKENS, metavar="N", help="of each window"
    )
    group.add_argument("--num-beams", type=at_least(1), default=1, metavar="N", help="1 is greedy decoding")
    group.add_argument(
        "--window",
        type=seconds(windows.shortest_limit()),
        default=windows.LIMIT_SECONDS,
        metavar="SECONDS",
        help="longer recordings are cut where they are quiet",
    )
    group.add_argument("--ctc", action="store_true", help="read the encoder's CTC head, without the language model")


def add_audio_options(parser: argparse.ArgumentParser) -> None:
    """What inference.py does with recordings."""
    group = parser.add_argument_group(GROUP, "recordings to text; without --audio the raw-tensor path runs")
    group.add_argument(
        "--audio",
        nargs="+",
        metavar="FILE",
        help="recordings: WAV, FLAC, MP3, Ogg and what else libsndfile reads, of any length",
    )
    group.add_argument("--task", choices=prompts.TASKS, default="transcribe", help="what is asked")
    group.add_argument("--language", choices=prompts.spoken(), help="of the speech, where it is known")
    group.add_argument("--target", choices=tuple(prompts.languages()), help="language to translate into")
    group.add_argument("--keywords", type=comma_separated, default=[], metavar="A,B", help="names to listen for")
    group.add_argument("--prompt", metavar="TEXT", help="an instruction of your own")
    group.add_argument("--output-format", choices=captions.FORMATS, default="txt", help="of the transcripts")
    group.add_argument("--output", type=Path, metavar="DIR", help="write a file for each recording, not to stdout")
    _add_decoding(group)


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    """What eval.py does with manifests and transcripts."""
    group = parser.add_argument_group(GROUP, "a manifest to scores; without one the raw-tensor path runs")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--manifest", type=Path, metavar="FILE", help="JSONL: audio_filepath, text, lang, ...")
    source.add_argument("--rescore", type=Path, metavar="FILE", help="score transcripts again, without the model")
    source.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two files of transcripts, paired")
    group.add_argument("--output", type=Path, metavar="FILE", help="transcripts; by default under results/transcripts")
    group.add_argument("--normaliser", choices=NAMES, default="whisper", help="of texts before words are compared")
    group.add_argument("--spelling", type=Path, metavar="FILE", help="British to American: Whisper's normalizer.json")
    _add_decoding(group)


def refuse_stray(
    parser: argparse.ArgumentParser, asked: argparse.Namespace, leaders: Sequence[str], raw: Sequence[str]
) -> None:
    """Refuse options that would be ignored: those of speech without one of `leaders`, those of the raw-tensor path
    (`raw`) with one.

    Raises:
        UsageError: naming the option.
    """
    used = any(getattr(asked, leader) is not None for leader in leaders)
    group = next(group for group in parser._action_groups if group.title == GROUP)
    speech = {action.dest for action in group._group_actions} - set(leaders)
    options = " or ".join(f"--{leader}" for leader in leaders)
    for action in parser._actions:
        if action.dest in (raw if used else speech) and getattr(asked, action.dest) != action.default:
            need = f"is of the raw-tensor path, which {options} leaves" if used else f"needs {options}"
            raise UsageError(f"{action.option_strings[0]} {need}", next="--help says which options go together")
