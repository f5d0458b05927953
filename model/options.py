"""The options of inference.py that are about recordings, and those of decoding, which eval.py takes too."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path

from env import elsewhere
from env.arguments import at_least
from env.errors import InputError, UsageError
from env.language import _, translate
from env.options import AUTO
from model import captions, prompts, windows
from model.sources import MIX, channel_choice

GROUP = _("speech")


def batch_size(options: argparse.Namespace) -> int | None:
    """The value of --batch-size; None for `auto`."""
    return None if options.batch_size == AUTO else int(options.batch_size)


def seconds(smallest: float) -> Callable[[str], float]:
    """An argparse type: a number of seconds of at least `smallest`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = smallest - 1
        if not smallest <= value < float("inf"):
            raise argparse.ArgumentTypeError(
                translate(
                    _(
                        "{text} is not a number of seconds of at least {smallest:g}",
                        text=repr(text),
                        smallest=smallest,
                    )
                )
            )
        return value

    return number


def comma_separated(text: str) -> list[str]:
    return text.split(",")


def spoken_language(text: str) -> str:
    """An argparse type: a language of the speech, however it is written.

    Raises:
        UsageError: the model does not know it.
    """
    code = prompts.language_code(text)
    prompts.build(language=code)
    return code


def target_language(text: str) -> str:
    """An argparse type: a language to translate into, however it is written.

    Raises:
        UsageError: the model does not know it.
    """
    code = prompts.language_code(text)
    prompts.build("translate", target=code)
    return code


def keywords(options: argparse.Namespace) -> list[str]:
    """The names of every --keywords and of --keywords-file, in their order.

    Raises:
        InputError: the file cannot be read.
    """
    listed = [word for words in options.keywords for word in words]
    if options.keywords_file is None:
        return listed
    try:
        lines = elsewhere.read_text(options.keywords_file, "settings").removeprefix("\ufeff").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            _("{path}: cannot be read as a list of names: {error}", path=options.keywords_file, error=str(error)),
            next=_("one name a line, in UTF-8"),
        ) from error
    return [*listed, *lines]


def add_asking_options(group: argparse._ArgumentGroup) -> None:
    """What the model is asked to do with the speech."""
    group.add_argument("--task", choices=prompts.TASKS, default=None, help=_("what is asked (default: transcribe)"))
    group.add_argument(
        "--language",
        type=spoken_language,
        metavar="LANG",
        help=_(
            "of the speech: de, de-DE, German; with --punctuate the model is told it, in the words it was trained on"
        ),
    )
    group.add_argument("--target", type=target_language, metavar="LANG", help=_("language to translate into"))
    group.add_argument(
        "--keywords",
        type=comma_separated,
        nargs="+",
        action="extend",
        default=[],
        metavar="A,B",
        help=_("names to listen for, divided by commas or spaces (repeatable)"),
    )
    group.add_argument("--keywords-file", type=Path, metavar="FILE", help=_("names to listen for, one a line"))
    group.add_argument("--prompt", metavar="TEXT", help=_("an instruction of your own"))
    group.add_argument(
        "--channels",
        type=channel_choice,
        default=MIX,
        metavar="mix|split|N",
        help=_("of a recording with several: their mean, a transcript of each, or channel N, counted from 0"),
    )


def add_decoding_options(group: argparse._ArgumentGroup) -> None:
    """How text is decoded, whatever becomes of it."""
    group.add_argument("--punctuate", action="store_true", help=_("ask for punctuation and capital letters"))
    group.add_argument(
        "--max-new-tokens", type=at_least(1), metavar="N", help=_("of each window; by default 200, of longer ones more")
    )
    group.add_argument("--num-beams", type=at_least(1), default=1, metavar="N", help=_("1 is greedy decoding"))
    group.add_argument(
        "--window",
        type=seconds(windows.shortest_limit()),
        default=windows.LIMIT_SECONDS,
        metavar="SECONDS",
        help=_("longer recordings are cut where they are quiet"),
    )
    group.add_argument("--ctc", action="store_true", help=_("read the encoder's CTC head, without the language model"))


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """What inference.py does with recordings."""
    group = parser.add_argument_group(GROUP, _("recordings to text; without --audio the raw-tensor path runs"))
    group.add_argument(
        "--audio",
        nargs="+",
        metavar="FILE",
        help=_(
            "recordings of any length, in any format that libsndfile reads; folders and patterns of them; - for "
            "standard input"
        ),
    )
    add_asking_options(group)
    group.add_argument(
        "--output-format",
        nargs="+",
        choices=(*captions.FORMATS, captions.ALL),
        default=["txt"],
        help=_("of the transcripts; several need --output"),
    )
    group.add_argument(
        "--max-line-width",
        type=at_least(1),
        default=captions.LINE_WIDTH,
        metavar="N",
        help=_("columns of a line of srt and vtt, of which a caption has two"),
    )
    group.add_argument("--output", type=Path, metavar="DIR", help=_("write a file for each recording, not to stdout"))
    add_decoding_options(group)


def refuse_stray(
    parser: argparse.ArgumentParser, options: argparse.Namespace, leaders: Sequence[str], raw: Sequence[str]
) -> None:
    """Refuse options that would be ignored: those of speech without one of `leaders`, those of the raw-tensor path
    (`raw`) with one.

    Raises:
        UsageError: naming the option.
    """
    used = any(getattr(options, leader) is not None for leader in leaders)
    group = next(group for group in parser._action_groups if group.title == GROUP)
    speech = {action.dest for action in group._group_actions} - set(leaders)
    names = reduce(
        lambda first, second: _("{first} or {second}", first=first, second=second),
        [f"--{leader}" for leader in leaders],
    )
    for action in parser._actions:
        if action.dest in (raw if used else speech) and getattr(options, action.dest) != action.default:
            option = action.option_strings[0]
            raise UsageError(
                _("{option} is of the raw-tensor path, which {leaders} leaves", option=option, leaders=names)
                if used
                else _("{option} needs {leaders}", option=option, leaders=names),
                next=_("--help says which options go together"),
            )
