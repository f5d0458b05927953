"""Every option that more than one program takes, declared once: what it is called, what it may hold, what it is for.

`nox -s setup verify report -- OPTIONS` hands the same ones to three programs, so each of them takes those of all three
and leaves alone what is not its own.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from env.arguments import DefaultsFormatter, Parser, at_least
from env.device_name import DeviceName
from env.language import _, translate
from env.redaction import without_places
from env.stack import DECLARED, ROOT, load_stack

PROFILES = ("auto", "host", "npu")
SERVICE = ("tools", "dev")  # environments of the bundle itself: what renders, and what tests
SETUP_FILE = "setup.json"  # setup's record in a run's folder: status, reason, profile, lock, unlocked pins
NEAREST = "nearest"  # --allow-substitute without a version
AUTO = "auto"
DTYPES = ("float32", "bfloat16", "float16")
LEVELS = (1, 2, 3, 4)
NAME_MAX = 255  # bytes of one name of a path (limits.h)
INVOKED_FROM = "BUNDLE_INVOKED_FROM"  # the folder that nox was called from; programs run in the project's own
STACK = load_stack()


def device(text: str) -> str:
    """An argparse type: the name of a device, so that a slip of the pen builds no environment."""
    try:
        return str(DeviceName.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(translate(error.args[0])) from error


def stack(text: str) -> str:
    """An argparse type: the name of another stack, or a version in place of the declared one."""
    try:
        return text if text == DECLARED else load_stack().other(text).name
    except KeyError:
        known = ", ".join(load_stack().others)
        raise argparse.ArgumentTypeError(
            translate(_("no stack {name}: {known}, or PACKAGE=VERSION", name=repr(text), known=known))
        ) from None


def size_or_auto(text: str) -> int | str:
    """An argparse type: a whole number of at least 1, or `auto`."""
    return AUTO if text == AUTO else at_least(1)(text)


def place(text: str) -> str:
    """An argparse type: a path that exists where nox was called from is that one; any other stays as it is typed."""
    try:
        longest = max((len(part.encode()) for part in Path(text).parts), default=0)
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(translate(_("{name} is no UTF-8", name=ascii(text)))) from None
    if longest > NAME_MAX or "\0" in text:
        shown = repr(text[:40])
        raise argparse.ArgumentTypeError(translate(_("{name}... is no name that a file may have", name=shown)))
    base = os.environ.get(INVOKED_FROM)
    if base and Path(base) != Path.cwd() and Path(base, text).exists():
        return str(Path(base, text))
    return text


@dataclass(frozen=True)
class Option:
    """One option; `settings` are add_argument's."""

    flag: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its attribute of the parsed options."""
        return str(self.settings.get("dest", self.flag.removeprefix("--").replace("-", "_")))

    def add(self, parser: argparse._ActionsContainer, **changes: Any) -> None:
        """Declare it to a parser, for which `changes` hold instead."""
        parser.add_argument(self.flag, **{"help": self.help, **self.settings, **changes})

    def to_argv(self, value: object) -> list[str]:
        """What to type for a value; nothing for the default."""
        if value == self.settings.get("default"):
            return []
        return [self.flag] if self.settings.get("action") == "store_true" else [self.flag, str(value)]


DEVICE = Option(
    "--device", _("npu:N, cuda:N, cpu or auto (npu, then cuda, then cpu)"), {"type": device, "default": AUTO}
)
PROFILE = Option(
    "--profile", _("the environment; auto: by device"), {"choices": (*PROFILES, *SERVICE), "default": AUTO}
)
STACK_OPTION = Option(
    "--stack",
    _(
        "{names}, or a version in place of the declared one: {example} (default: the declared stack)",
        names=", ".join(STACK.others),
        example="transformers=5.24.0",
    ),
    {"metavar": "STACK", "type": stack, "default": DECLARED},
)
RUN = Option(
    "--run",
    _("a run's id or folder (default: a new one under --results; of a report alone, the newest there)"),
    {"metavar": "RUN", "type": place},
)
RESULTS = Option("--results", _("where runs are kept"), {"metavar": "DIR", "type": place, "default": "results"})
TARGET = (DEVICE, PROFILE, STACK_OPTION, RUN, RESULTS)  # what is set up and verified

SOURCES = (
    Option("--index-url", _("the package index (default: what pip is configured with)"), {"metavar": "URL"}),
    Option("--extra-index-url", _("one more index"), {"metavar": "URL", "action": "append", "default": []}),
    Option(
        "--find-links",
        _("a folder of wheels"),
        {"metavar": "PLACE", "type": place, "action": "append", "default": []},
    ),
)
SETUP = (
    *SOURCES,
    Option("--offline", _("use no index: everything comes from --wheelhouse"), {"action": "store_true"}),
    Option("--wheelhouse", _("a folder made by `nox -s wheelhouse`"), {"metavar": "DIR", "type": place}),
    Option(
        "--allow-substitute",
        _(
            "where the pinned torch-npu is not to be had, take this version (without one: the nearest published one "
            "that is not newer); the record and both documents then say so"
        ),
        {"metavar": "VERSION", "nargs": "?", "const": NEAREST},
    ),
    Option("--fresh", _("build anew even where the environment is current"), {"action": "store_true"}),
    Option("--installer", _("auto: uv where present"), {"choices": (AUTO, "uv", "pip"), "default": AUTO}),
)

MODEL_DIR = Option(
    "--model-dir",
    _(
        "the checkpoint folder, or synthetic:tiny or synthetic:full for a seeded stand-in (default: {checkpoint} here "
        "or beside this folder, else {stand_in})",
        checkpoint=STACK.checkpoint,
        stand_in=STACK.stand_in,
    ),
    {"metavar": "DIR", "type": place},
)
DTYPE = Option("--dtype", _("auto is the checkpoint's own"), {"choices": (AUTO, *DTYPES), "default": AUTO})
DEVICE_MAP = Option(
    "--device-map",
    _(
        "auto: one model split over the visible cards, or those that --device names; what they cannot hold stays in "
        "the host's memory (default: one card holds it)"
    ),
    {"choices": (AUTO,)},
)
SEED = Option(
    "--seed",
    _("of the inputs, and of synthetic:tiny"),
    {"metavar": "N", "type": at_least(0), "default": STACK.seed},
)
SEQ_LEN = Option(
    "--seq-len", _("encoder frames and prompt positions"), {"metavar": "N", "type": at_least(1), "default": 32}
)
BATCH_SIZE = Option(
    "--batch-size",
    _("rows of equal length; of speech: windows decoded together, or auto, halved where memory runs out"),
    {"metavar": "N", "type": size_or_auto, "default": 1},
)
ATTENTION = Option(
    "--attention",
    _("of the language model; auto is the library's own choice"),
    {"choices": (AUTO, "sdpa", "eager"), "default": AUTO},
)
JSON = Option("--json", _("write every figure here too"), {"metavar": "FILE", "type": Path})

CHECK = Option("--check", _("run only this check (repeatable)"), {"metavar": "NAME", "action": "append", "default": []})
LEVEL = Option("--level", _("1 readiness, 2 function, 3 full, 4 soak"), {"type": int, "choices": LEVELS, "default": 2})
ROUNDS = Option(
    "--rounds",
    _("timed calls of each component (a median needs 11, p90 64, p99 662)"),
    {"metavar": "N", "type": at_least(1), "default": 11},
)
MINUTES = Option("--minutes", _("how long level 4 repeats itself"), {"type": float, "default": 10.0})
GATE = Option(
    "--gate",
    _("fail where a time is beyond the reference of its chip (default: a caveat of the verdict)"),
    {"action": "store_true", "default": False},
)
STRESS_DETECT = Option(
    "--stress-detect",
    _(
        "at level 4 run the vendor's own test for silent errors too (torch_npu.npu.stress_detect): it changes the "
        "card's voltage meanwhile, wants 10 GiB of its memory, and no other job on the machine"
    ),
    {"action": "store_true", "default": False},
)
VENDOR_DIAGNOSIS = Option(
    "--vendor-diagnosis",
    _(
        "from level 3 on run the vendor's own tools too, where they are installed (ascend-dmi of one card, hccl_test "
        "of several): they disturb every other job on the cards"
    ),
    {"action": "store_true", "default": False},
)
REFERENCE = Option(
    "--reference",
    _("reference values made elsewhere (default: made here once and kept)"),
    {"metavar": "FILE", "type": place},
)
OPT_IN = (STRESS_DETECT, VENDOR_DIAGNOSIS)  # each asks for a check that no level runs by itself
VERIFY = (
    LEVEL,
    MODEL_DIR,
    DTYPE,
    DEVICE_MAP,
    SEED,
    SEQ_LEN,
    BATCH_SIZE,
    ROUNDS,
    MINUTES,
    REFERENCE,
    GATE,
    *OPT_IN,
    CHECK,
)

OUTPUT = Option("--output", _("where the documents go (default: the run's folder)"), {"metavar": "DIR", "type": place})
STRICT = Option("--strict", _("exit with the verdict's code"), {"action": "store_true"})
APPENDIX = Option(
    "--faults",
    _("a fault campaign (faults.json) that becomes the documents' appendix; kept in the run's folder"),
    {"dest": "campaign", "metavar": "FILE", "type": place},
)
REPORT = (OUTPUT, STRICT, APPENDIX)

MAIN_JOB: Mapping[str, Sequence[Option]] = {
    _("target"): (DEVICE, PROFILE, STACK_OPTION),
    _("run"): (RUN, RESULTS),
    "setup": SETUP,
    "verify": VERIFY,
    "report": REPORT,
}


def main_job_parser(
    program: str,
    description: str | None = None,
    *,
    groups: Mapping[str, Sequence[Option]] = MAIN_JOB,
    own: Collection[str] | None = None,
    kind: type[Parser] = Parser,
    epilog: str | None = None,
) -> Parser:
    """A parser of all the main job's options, of which the help shows the groups that are the program's own."""
    parser = kind(prog=program, description=description, epilog=epilog, formatter_class=DefaultsFormatter)
    for title, options in groups.items():
        group = parser.add_argument_group(title)
        for option in options:
            option.add(group, **({} if own is None or title in own else {"help": argparse.SUPPRESS}))
    return parser


def _settings(argv: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """A command line by option: its flag, and all that was typed for it."""
    setting: list[str] = []
    for argument in argv:
        if argument.startswith("--") and setting:
            yield setting[0].partition("=")[0], setting
            setting = []
        setting.append(argument)
    if setting:
        yield setting[0].partition("=")[0], setting


def only(argv: Iterable[str], options: Iterable[Option]) -> list[str]:
    """What of a command line sets one of `options`, as it was typed."""
    flags = {option.flag for option in options}
    return [argument for flag, setting in _settings(argv) if flag in flags for argument in setting]


def without(argv: Iterable[str], options: Iterable[Option]) -> list[str]:
    """What of a command line sets none of `options`, as it was typed."""
    flags = {option.flag for option in options}
    return [argument for flag, setting in _settings(argv) if flag not in flags for argument in setting]


def nox_command(session: str, argv: Sequence[str]) -> str:
    """The command that a record names: a session with these options."""
    return shlex.join(["nox", "-s", session, *(["--", *argv] if argv else [])])


def repeating(session: str, argv: Iterable[str]) -> str:
    """The command that does the same again: what was typed for the session, without the name of this run.

    It is published with the run's documents, and names no folder of this machine.
    """
    own = [option for option in (*TARGET, *MAIN_JOB[session]) if option is not RUN]
    return nox_command(session, [without_places(word, ROOT) for word in only(argv, own)])


def run_folder(results: str, run: str) -> Path:
    """The folder of a run that is named by its id under `results`, or by its path."""
    return Path(run) if Path(run).name != run or Path(run).is_dir() else Path(results) / run
