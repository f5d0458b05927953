"""What the checkpoint is asked to do: instructions in the real model's words, and the text that answers each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.training.number_words import LANGUAGES, sentence, transcript

# Instructions, chat template and language names as the model card of Granite-Speech-4.1-2B gives them.
TRANSCRIBE = "can you transcribe the speech into a written format?"
PUNCTUATE = "transcribe the speech with proper punctuation and capitalization."
LANGUAGE_NAMES = {
    "en": "English",
    "fr": "French",
    "de": "German",
    "es": "Spanish",
    "pt": "Portuguese",
    "ja": "Japanese",
}
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{- 'USER: ' + message['content'] + '\\n ASSISTANT:' }}"
    "{%- elif message['role'] == 'assistant' %}{{- message['content'] }}{%- endif %}"
    "{%- endfor %}"
)
AUDIO_TOKEN = "<|audio|>"  # noqa: S105  # a placeholder in the prompt, not a secret


@dataclass(frozen=True)
class Task:
    """One kind of answer: `name` raw, punctuated or translation; `language` is that of the text."""

    name: str
    language: str

    @property
    def instruction(self) -> str:
        if self.name == "raw":
            return TRANSCRIBE
        return PUNCTUATE if self.name == "punctuated" else f"translate the speech to {LANGUAGE_NAMES[self.language]}."

    def answer(self, spoken: Sequence[Sequence[int]]) -> str:
        """The right text for utterances (one number sequence each) that follow each other in one clip."""
        if self.name == "punctuated":
            return ("" if self.language == "ja" else " ").join(sentence(self.language, numbers) for numbers in spoken)
        return " ".join(transcript(self.language, numbers) for numbers in spoken)


def targets(language: str) -> tuple[str, ...]:
    """What speech in `language` is translated to: the real model's pairs, which all have English on one side."""
    return tuple(other for other in LANGUAGES if other != "en") if language == "en" else ("en",)


def prompt_parts(instruction: str) -> tuple[str, str]:
    """What comes before and after the audio in the rendered chat template."""
    return "USER: ", f"{instruction}\n ASSISTANT:"


def prompt(instruction: str) -> str:
    """The rendered chat template for one user turn of audio and `instruction`."""
    before, after = prompt_parts(instruction)
    return before + AUDIO_TOKEN + after
