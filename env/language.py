"""What users read, in two languages: the English is the message, the Chinese stands in a catalogue under locale/.

`_("{n} devices", n=2)` is a message: a string that reads "2 devices" wherever English is wanted (JSON, records, logs,
comparisons) and that `translate` renders in the user's language. The catalogue is compiled from locale/zh/*.po by
`nox -s messages`; the language is what `--lang` says, else LANGUAGE, LC_ALL, LC_MESSAGES or LANG, as gettext has it.
"""

from __future__ import annotations

import gettext
import math
import os
import re
import string
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal

LOCALE = Path(__file__).resolve().parents[1] / "locale"
DOMAIN = "messages"  # gettext's default one, so that argparse's own sentences are found in the same catalogue
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set decides
SEPARATORS = {"en": "; ", "zh": "；"}  # between the items of a list among a message's fields

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")

_SPEC = re.compile(r"[+,]?\d{0,2}(\.\d{1,2})?[a-zA-Z%]?")  # what messages use; a width from elsewhere may be any number

_BREAK = re.compile(r"[\n\r\v\f\x85\u2028\u2029]")

gettext.bindtextdomain(DOMAIN, str(LOCALE))


class Message(str):
    """A sentence with its fields: as a string the English one, and what `translate` needs for any other.

    Fields are JSON values, messages, or lists of them; a list is joined by semicolons.
    """

    template: str
    fields: Mapping[str, Any]

    def __new__(cls, template: str, /, **fields: Any) -> Message:
        self = super().__new__(cls, _filled(template, fields, "en"))
        self.template = template
        self.fields = fields
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.template,), dict(self.fields)

    def as_json(self) -> Any:
        """The message as a record keeps it: its text where it has no fields, else {"message", "fields"}."""
        return _plain(self) if self.fields else str(self)

    @classmethod
    def from_json(cls, value: Any) -> Message:
        """The inverse of `as_json`. Any string is a message without fields.

        Raises:
            ValueError: it is neither, or its fields do not fit.
        """
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping) or set(value) != {"message", "fields"}:
            raise ValueError("a message is a string or has `message` and `fields`")
        template, fields = value["message"], value["fields"]
        if not isinstance(template, str) or not isinstance(fields, Mapping):
            raise ValueError("`message` is a string, `fields` an object")
        try:
            return cls(template, **{str(name): _message(field) for name, field in fields.items()})
        except (KeyError, IndexError, AttributeError, TypeError) as error:
            raise ValueError(f"{template!r} does not fit its fields: {error}") from error


_ = Message


def translate(text: str, language: Language | None = None) -> str:
    """`text` in a language, the user's where none is named. A string that is no message is one without fields."""
    chosen = language or user_language()
    if isinstance(text, Message):
        return _filled(_translated(text.template, chosen), text.fields, chosen, shown=True)
    return _translated(text, chosen)


def folded(template: str) -> str:
    """A message that its source breaks over several lines, on one: a break and its indentation are a space."""
    return re.sub(r"\s*\n\s*", " ", template)


def as_message(text: str) -> Message:
    """A string as the message that it is, or as one without fields."""
    return text if isinstance(text, Message) else Message(text)


def altered(text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` made to it; of a message to its fields, whatever their depth, so that it stays one."""
    if not isinstance(text, Message) or not text.fields:
        return change(text)

    def inside(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [inside(item) for item in value]
        return altered(value, change) if isinstance(value, str) else value

    return Message(text.template, **{name: inside(value) for name, value in text.fields.items()})


def joined(*messages: str) -> Message:
    """Several messages as one, semicolons between them."""
    return Message("{parts}", parts=list(messages))


def concatenated(*parts: str) -> Message:
    """Several messages, and what stands between them, as one."""
    fields = {f"part{number}": as_message(part) for number, part in enumerate(parts)}
    return Message("".join(f"{{{name}}}" for name in fields), **fields)


def user_language() -> Language:
    """The language of whoever reads the terminal: zh or en."""
    setting = next((value for name in VARIABLES if (value := os.environ.get(name))), "")
    return "zh" if setting.split(":")[0].lower().startswith("zh") else "en"


def set_language(language: Language) -> None:
    """Speak `language` from here on, in this process and those that it starts, whatever the environment says."""
    os.environ["LANGUAGE"] = language


@cache
def _catalogue(language: Language) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, [language], fallback=True)


def _translated(template: str, language: Language) -> str:
    # gettext keeps the catalogue's own header under the empty string
    return _catalogue(language).gettext(template) if template and language != "en" else template


class _Formatter(string.Formatter):
    """Values as they can be shown: lists joined, messages in the language, text where a number's format meets it."""

    def __init__(self, language: Language, *, shown: bool) -> None:
        self.language = language
        self.shown = shown

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        # The name alone: a template that a record brings must not reach into attributes or items.
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, (list, tuple)):
            return SEPARATORS[self.language].join(self.format_field(item, format_spec) for item in value)
        if isinstance(value, Message):
            return translate(value, self.language) if self.shown else str(value)
        if self.shown and isinstance(value, (str, PurePath)):  # a name from elsewhere must not make a line of its own
            value = _BREAK.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))
        if not _SPEC.fullmatch(format_spec):
            return str(value)
        try:
            return format(value, format_spec)
        except (ValueError, TypeError):
            return str(value)


def _filled(template: str, fields: Mapping[str, Any], language: Language, *, shown: bool = False) -> str:
    return _Formatter(language, shown=shown).vformat(template, (), fields) if fields else template


def _plain(value: Any) -> Any:
    if isinstance(value, Message):  # among fields without fields of its own too: a string there is no message
        return {"message": value.template, "fields": {name: _plain(field) for name, field in value.fields.items()}}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _message(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Message.from_json(value)
    return [_message(item) for item in value] if isinstance(value, list) else value
