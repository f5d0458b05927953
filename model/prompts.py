"""The instructions that the model was trained to follow, and the combinations of options that have one.

An instruction of another wording makes the model guess: it was trained on these exact forms (prompts.toml).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from env.errors import UsageError
from env.language import Message, _
from env.toml import load_toml
from model.variants import PLUS

AUDIO_TOKEN = "<|audio|>"  # noqa: S105 (a placeholder, not a password)
SPEAKERS, TIMESTAMPS = "speaker_attributed", "word_timestamps"
TAGGED = (SPEAKERS, TIMESTAMPS)  # whose texts hold tags (model/tags.py); granite_speech_plus alone was trained for them
TASKS = ("transcribe", "translate", *TAGGED)


@dataclass(frozen=True)
class Language:
    """`translate_from`: codes of the languages that the model was trained to translate into this one. `names` are other
    ways to write its name.
    """

    code: str
    name: str
    names: tuple[str, ...]
    transcribe: bool
    translate_from: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """What the model is to do with a recording. `trained` is false for wording of the user's own.

    `language` is the speech's, where it is known: scores and joining of windows need it, and one instruction tells it
    to the model. `system` is the turn before it, which -plus was trained with; `tokens`: how many times as many new
    tokens as a plain text its answer takes; `longest`: seconds of speech that it was trained for, where that is known.
    """

    instruction: str
    task: str
    language: str | None
    target: str | None
    trained: bool = True
    system: str | None = None
    tokens: int = 1
    longest: float | None = None

    @property
    def content(self) -> str:
        """The user turn for the chat template: a string, since the template prints list content as it is."""
        between = " " if self.system is not None else ""  # as -plus was trained
        return self.instruction if AUDIO_TOKEN in self.instruction else AUDIO_TOKEN + between + self.instruction

    @property
    def output_language(self) -> str | None:
        return self.target if self.task == "translate" else self.language


@cache
def _tables() -> dict[str, Any]:
    return load_toml(Path(__file__).parent / "prompts.toml")


@cache
def languages() -> dict[str, Language]:
    """Every language of the model, by its ISO 639-1 code."""
    rows = (
        Language(row["code"], row["name"], tuple(row["names"]), row["transcribe"], tuple(row["translate_from"]))
        for row in _tables()["language"]
    )
    return {language.code: language for language in rows}


def spoken(plus: bool = False) -> tuple[str, ...]:
    """Codes of the languages that the model transcribes."""
    if plus:
        return tuple(_tables()["plus"]["transcribe"])
    return tuple(code for code, language in languages().items() if language.transcribe)


@cache
def _codes() -> dict[str, str]:
    """A language's code by everything that it may be called, in small letters."""
    return {
        name.casefold(): code
        for code, language in languages().items()
        for name in (code, language.name, *language.names)
    }


@lru_cache(maxsize=4096)
def language_code(text: str) -> str:
    """The ISO 639-1 code of a language as people write it: "en-US", "English", "ja_JP", "deu".

    One that is unknown is given back in small letters, to be refused by name.
    """
    name = unicodedata.normalize("NFC", text).strip().casefold()
    primary = re.split(r"[-_]", name, maxsplit=1)[0]
    return _codes().get(name) or _codes().get(primary) or name


def _instructions(plus: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (_tables()["plus"] if plus else _tables())["instruction"]
    return rows


def _instruction(plus: bool, task: str, form: str) -> dict[str, Any]:
    """The row of an instruction."""
    for row in _instructions(plus):
        if (row["task"], row["form"]) == (task, form):
            return row
    raise LookupError(f"no instruction for {task}, {form}")


def clean_keywords(keywords: Sequence[str]) -> list[str]:
    """The keywords without blanks and repeats, in their order.

    Raises:
        UsageError: a keyword holds a special token, which would end the instruction.
    """
    kept = dict.fromkeys(" ".join(keyword.split()) for keyword in keywords)
    for keyword in kept:
        if "<|" in keyword:
            raise UsageError(
                _("keyword {keyword} cannot be part of an instruction", keyword=repr(keyword)),
                next="--keywords Ascend,CANN",
            )
    return [keyword for keyword in kept if keyword]


def _own_prompt(text: str, language: str | None, plus: bool) -> Prompt:
    if not text.strip():
        raise UsageError(_("--prompt is empty"), next=_("leave it out for the trained instruction"))
    if text.count(AUDIO_TOKEN) > 1:
        raise UsageError(
            _("--prompt holds {token} {count} times", token=AUDIO_TOKEN, count=text.count(AUDIO_TOKEN)),
            why=_("a prompt has one recording"),
        )
    wording = text.removeprefix(AUDIO_TOKEN)
    wording = wording.removeprefix(" ") if plus else wording
    trained = any(form.fullmatch(wording) for form in _trained_forms(plus))
    return Prompt(text, "prompt", language, None, trained=trained, system=_system(plus))


def _system(plus: bool) -> str | None:
    return str(_tables()["plus"]["system"]).lstrip("\n") if plus else None


@cache
def _trained_forms(plus: bool) -> tuple[re.Pattern[str], ...]:
    """Every trained instruction, with any of its languages and any keywords."""
    names = "|".join(language.name for language in languages().values())
    fields = {"language": f"(?:{names})", "target": f"(?:{names})", "keywords": r"\S.*"}
    forms = []
    for row in _instructions(plus):
        parts = re.split(r"\{(\w+)\}", row["text"])
        forms.append(re.compile("".join(fields[part] if at % 2 else re.escape(part) for at, part in enumerate(parts))))
    return tuple(forms)


def _check_language(code: str | None, known: Sequence[str], option: str) -> None:
    if code is not None and code not in known:
        raise UsageError(
            _("{option} {code}: not a language of this model", option=option, code=code),
            why=_("it knows {languages}", languages=", ".join(known)),
        )


def _check_target(language: str | None, target: str | None) -> str:
    """The code of the language to translate into; English by default."""
    targets = languages()
    _check_language(target, tuple(targets), "--target")
    if target is None:
        if language == "en":
            names = ", ".join(code for code, row in targets.items() if "en" in row.translate_from)
            raise UsageError(
                _("English speech can be translated into several languages"),
                next=_("--target one of {names}", names=names),
            )
        return "en"
    if target == language:
        raise UsageError(_("--language and --target are both {target}", target=target), next="--task transcribe")
    if language is not None and language not in targets[target].translate_from:
        pairs = ", ".join(code for code, row in targets.items() if language in row.translate_from)
        raise UsageError(
            _(
                "the model was not trained to translate {speech} into {text}",
                speech=Message(targets[language].name),
                text=Message(targets[target].name),
            ),
            why=_("from {speech} it translates into {targets}", speech=Message(targets[language].name), targets=pairs),
            next=f"--target {pairs.split(', ')[0]}",
        )
    return target


def _check_combination(task: str, target: str | None, punctuate: bool, names: Sequence[str], plus: bool) -> None:
    """Refuse what the model has no instruction for, -plus or not."""
    if task not in TASKS:
        raise UsageError(
            _("--task {task}: no such task", task=task),
            next=_("--task {first} or --task {second}", first=TASKS[0], second=TASKS[1]),
        )
    if task in TAGGED and not plus:
        raise UsageError(
            _("--task {task}: {model} alone was trained for it, and this checkpoint is none", task=task, model=PLUS),
            next=_("--task transcribe; inference.py's srt and vtt have times of words of any checkpoint"),
        )
    if plus and (task == "translate" or punctuate):
        raise UsageError(
            _(
                "{option}: {model} was not trained for it",
                option="--task translate" if task == "translate" else "--punctuate",
                model=PLUS,
            ),
            why=_("it transcribes, without punctuation and capital letters, and tells speakers or times apart"),
        )
    if task in TAGGED and names:
        raise UsageError(_("--task {task} and --keywords have no trained instruction together", task=task))
    if punctuate and names:
        raise UsageError(
            _("--punctuate and --keywords cannot go together"),
            why=_("the model was trained with either, never with both in one instruction"),
        )
    if task != "translate" and target is not None:
        raise UsageError(_("--target is for translation only"), next=f"--task translate --target {target}")


def build(
    task: str = "transcribe",
    *,
    language: str | None = None,
    target: str | None = None,
    punctuate: bool = False,
    keywords: Sequence[str] = (),
    prompt: str | None = None,
    tell_language: bool = False,
    plus: bool = False,
) -> Prompt:
    """The prompt for a set of options. `tell_language`: the model is told the speech's, where an instruction has it.
    `plus`: the checkpoint is a granite_speech_plus.

    Raises:
        UsageError: the model has no trained instruction for this combination, or two options contradict each other.
    """
    language = None if language is None else language_code(language)
    target = None if target is None else language_code(target)
    _check_language(language, spoken(plus), "--language")
    names = clean_keywords(keywords)
    if prompt is not None:
        if task != "transcribe" or target or punctuate or names:
            raise UsageError(
                _("--prompt says the whole instruction: it cannot go with --task, --target, --punctuate or --keywords")
            )
        return _own_prompt(prompt, language, plus)
    _check_combination(task, target, punctuate, names, plus)
    into = _check_target(language, target) if task == "translate" else None
    form = "keywords" if names else "punctuated" if punctuate else "plain"
    if form == ("plain" if plus else "punctuated") and task == "transcribe" and language and tell_language:
        form += " in a language"
    spoken_name, target_name = (languages()[code].name if code else "" for code in (language, into))
    row = _instruction(plus, task, form)
    text = str(row["text"]).format(language=spoken_name, target=target_name, keywords=", ".join(names))
    more = {name: row[name] for name in ("tokens", "longest") if name in row}
    return Prompt(text, task, language, into, system=_system(plus), **more)
