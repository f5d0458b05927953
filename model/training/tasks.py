"""What the checkpoint is to do: instructions in the real model's words, and the text that answers each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model import prompts
from model.prompts import AUDIO_TOKEN
from model.training.number_words import LANGUAGES, sentence, transcript

# As rendered by the tokenizer of Granite-Speech-4.1-2B: a system turn is dropped, a generation prompt adds nothing.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{- 'USER: ' + message['content'] + '\\n ASSISTANT:' }}"
    "{%- elif message['role'] == 'assistant' %}{{- message['content'] }}{%- endif %}"
    "{%- endfor %}"
)


@dataclass(frozen=True)
class Task:
    """One kind of answer: `name` raw, punctuated or translation; `language` is that of the text."""

    name: str
    language: str

    @property
    def instruction(self) -> str:
        if self.name == "translation":
            return prompts.build("translate", target=self.language).instruction
        return prompts.build("transcribe", punctuate=self.name == "punctuated").instruction

    def answer(self, spoken: Sequence[Sequence[int]]) -> str:
        """The right text for utterances (one number sequence each) that follow each other in one clip."""
        if self.name == "punctuated":
            return ("" if self.language == "ja" else " ").join(sentence(self.language, numbers) for numbers in spoken)
        return " ".join(transcript(self.language, numbers) for numbers in spoken)


def targets(language: str) -> tuple[str, ...]:
    """What speech in `language` is translated to: those of the real model's pairs that have number words here."""
    return tuple(other for other in LANGUAGES if language in prompts.languages()[other].translate_from)


def prompt_parts(instruction: str) -> tuple[str, str]:
    """What comes before and after the audio in the rendered chat template."""
    return "USER: ", f"{instruction}\n ASSISTANT:"


def prompt(instruction: str) -> str:
    """The rendered chat template for one user turn of audio and `instruction`."""
    before, after = prompt_parts(instruction)
    return before + AUDIO_TOKEN + after
