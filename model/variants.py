"""The checkpoints of the family by model_type: which the installed library runs, which cannot be run here, and why.

Read in transformers 4.57.6, 5.8.0, 5.9.0, 5.10.1, 5.16.1 and 5.24.0 (models/granite_speech*, conversion_mapping.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from env.language import Message, _

PLUS = "granite_speech_plus"
PLUS_SINCE, PLUS_STACK = "5.8.0", "t5"  # transformers' pull request 45695; requirements/stack.toml
# Recognised, and refused: why, and what it would take.
REFUSED: Mapping[object, Message] = {
    "granite_speech_nar": _(
        "config.json: model_type granite_speech_nar (editing in one pass, no decoding) is in no release of "
        "transformers: it needs code from a hub, which is never run here, and no stack could verify it"
    ),
    "granite_speech5": _(
        "config.json: model_type granite_speech5 (a CTC encoder without a language model) needs transformers 5.16.1 or "
        "later, of which no stack is declared here: releases from 5.10.1 on do not compute granite_speech rightly"
    ),
}


@cache
def library_version() -> str:
    """The installed transformers, "" where there is none."""
    try:
        return version("transformers")
    except PackageNotFoundError:
        return ""


def refused(model_type: object) -> Message | None:
    """Why a checkpoint of that type is not run on the installed library; None of one that is, and of an unknown one."""
    if model_type == PLUS and not _at_least(library_version(), PLUS_SINCE):
        return _(
            "config.json: model_type {model_type} needs transformers {since} or later, {installed} is installed: "
            "nox -s setup verify report -- --stack {stack}",
            model_type=PLUS,
            since=PLUS_SINCE,
            installed=library_version() or _("none"),
            stack=PLUS_STACK,
        )
    return REFUSED.get(model_type) if isinstance(model_type, str) else None


def _at_least(installed: str, since: str) -> bool:
    """By major and minor number."""
    there, needed = ([int(part) for part in text.split(".")[:2] if part.isdigit()] for text in (installed, since))
    return there >= needed
