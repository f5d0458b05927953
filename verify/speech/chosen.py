"""What of a manifest is transcribed, what is asked of the model, and what is said of it before anything is loaded."""

from __future__ import annotations

import argparse
from dataclasses import replace

from env.errors import InputError, UsageError
from env.language import Message, _
from model import prompts, sources
from model.files import STDIN
from model.options import keywords
from verify.speech import manifest
from verify.speech.evaluation import Asking
from verify.speech.manifest import SHOWN, Manifest, Reading, Utterance


def read(options: argparse.Namespace, *, alone: bool) -> Manifest:
    """The manifest of --manifest. `alone`: there is one process, which standard input is for.

    Raises:
        InputError: it cannot be read, or has no usable line.
        UsageError: several processes cannot share standard input.
    """
    if str(options.manifest) in STDIN and not alone:
        raise UsageError(
            _("several processes cannot read one standard input"), next=_("write it to a file: --manifest FILE")
        )
    how = Reading(
        language=options.language,
        task=None if options.task in prompts.TAGGED else options.task,
        target=options.target,
        channels=sources.chosen(options.channels),
        columns=options.columns,
        limit=options.limit,
    )
    return manifest.read(options.manifest, how)


def asking(options: argparse.Namespace) -> Asking:
    """What the options ask of the model.

    Raises:
        InputError: the file of keywords cannot be read.
        UsageError: --ctc reads the encoder, which can be asked nothing.
    """
    names = tuple(keywords(options))
    if options.ctc and (options.punctuate or names or options.prompt or options.task not in (None, "transcribe")):
        raise UsageError(
            _("--ctc reads the encoder alone: it cannot be asked to translate, punctuate or follow a prompt")
        )
    tagged = options.task if options.task in prompts.TAGGED else None
    if tagged and options.prompt:
        prompts.build(tagged, prompt=options.prompt)  # which says why not
    # Of what checkpoint is not known yet: what no checkpoint can be asked is told before it is looked at.
    return Asking(options.punctuate, names, options.prompt, options.language, tagged, plus=tagged is not None)


def suited(asked: Asking, kept: list[Utterance], plus: bool) -> Asking:
    """The same for the checkpoint that is there, a granite_speech_plus or not.

    Raises:
        UsageError: it was not trained for what an utterance asks.
    """
    asked = replace(asked, plus=plus)
    for utterance in kept:
        asked.prompt_for(utterance)
    return asked


def utterances(read: Manifest, options: argparse.Namespace, asked: Asking) -> list[Utterance]:
    """The utterances to transcribe: the encoder alone cannot translate; of --channels split one for each channel.

    Raises:
        UsageError: none is left, or the options contradict what a line asks for.
        InputError: no file of them is there.
    """
    kept = [utterance for utterance in read.utterances if not options.ctc or utterance.target is None]
    if not kept:
        raise UsageError(_("{path} holds translations only, which --ctc cannot make", path=read.path))
    missing = [utterance for utterance in kept if not utterance.path.exists()]
    if len(missing) == len(kept):
        raise InputError(
            _("{path}: not one of its {count} recordings is there", path=read.path, count=len(kept)),
            why=_("the first would be {place}", place=missing[0].path),
            next=_("ls {folder}; paths are looked up from the manifest's folder", folder=missing[0].path.parent),
        )
    if options.channels == sources.SPLIT:
        kept = _split(kept)
    for utterance in kept:
        asked.prompt_for(utterance)
    return kept


def _split(kept: list[Utterance]) -> list[Utterance]:
    if any(utterance.text is not None for utterance in kept):
        raise UsageError(
            _("--channels split makes several texts of a recording, and the manifest has one for each"),
            next=_("--channels N, or channel_selector in each line; without texts each channel is transcribed"),
        )
    split = []
    for utterance in kept:
        for each in sources.each_channel(utterance.path):
            key = utterance.key if each is None else f"{utterance.key} # {each[0]}"
            split.append(replace(utterance, key=key, piece=replace(utterance.piece, channels=each)))
    return split


def notes(read: Manifest, kept: list[Utterance]) -> list[Message]:
    """What is to be known before the model is loaded: what is left out, what is not there, what is in no score."""
    told = [_("{path}: {text}", path=read.path, text=text) for text in manifest.left_out(read.problems)]
    translations = {utterance.key for utterance in read.utterances if utterance.target is not None}
    if translations and not any(utterance.target for utterance in kept):
        told.append(_("{count} translations are left out: --ctc reads the encoder alone", count=len(translations)))
    missing = [utterance.audio for utterance in kept if not utterance.path.exists()]
    if missing:
        shown = ", ".join(missing[:SHOWN])
        told.append(
            _(
                "{missing} of {count} recordings are not there: {shown}",
                missing=len(missing),
                count=len(kept),
                shown=shown,
            )
        )
    without = sum(utterance.text is None for utterance in kept)
    if without:
        told.append(_("{count} recordings have no text: they are transcribed, and in no score", count=without))
    return told
