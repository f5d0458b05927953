"""The parser of every program: it speaks the user's language, takes `--lang`, and abbreviates no option."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from env.language import LANGUAGES, _, set_language, translate
from env.redaction import restored

LANG = "--lang"
# argparse's own sentences, which it looks up in the same catalogue; listed here so that they are translated.
ARGPARSE = (
    _("usage: "),
    _("options"),
    _("positional arguments"),
    _("show this help message and exit"),
    _("%(prog)s: error: %(message)s\n"),
    _("argument %(argument_name)s: %(message)s"),
    _("the following arguments are required: %s"),
    _("one of the arguments %s is required"),
    _("unrecognized arguments: %s"),
    _("invalid choice: %(value)r (choose from %(choices)s)"),
    _("invalid %(type)s value: %(value)r"),
    _("not allowed with argument %s"),
    _("ignored explicit argument %r"),
    _("expected one argument"),
    _("expected at most one argument"),
    _("expected at least one argument"),
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Headings, descriptions and helps in the user's language."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return None if action.help is None else translate(action.help)

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading if heading is None else translate(heading))

    def add_text(self, text: str | None) -> None:
        super().add_text(text if text is None else translate(text))


class DefaultsFormatter(HelpFormatter):
    """Shows each default, where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        if text is None or action.default in (None, False, [], argparse.SUPPRESS):
            return text
        return text + translate(_(" (default: %(default)s)"))


def at_least(smallest: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `smallest`."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            refusal = _("{text} is not a whole number of at least {smallest}", text=repr(text), smallest=smallest)
            raise argparse.ArgumentTypeError(translate(refusal))
        return value

    return whole_number


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose texts are messages. `--lang` holds from the first word that it prints."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", HelpFormatter)
        super().__init__(*arguments, **options)
        if options.get("add_help", True):
            self.add_argument(
                LANG, choices=LANGUAGES, help=_("the language of what is printed (default: the locale's)")
            )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = restored(list(sys.argv[1:] if args is None else args))
        speak(words)
        return super().parse_known_args(words, namespace)


def speak(words: Iterable[str]) -> None:
    """Take up the language that `--lang` names among `words`; one that there is not is left to the parser to refuse."""
    previous = ""
    for word in words:
        value = word.partition("=")[2] if word.startswith(f"{LANG}=") else word if previous == LANG else ""
        for language in LANGUAGES:
            if value == language:
                set_language(language)
        previous = word
