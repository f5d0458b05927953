"""Windows of speech to text: each encoded alone, the language model run over a batch of them.

Clips of unequal length must not share an encoder batch: they are padded as waveforms, the encoder has no mask, and
the last four seconds of the shorter ones change. So every window goes through the encoder by itself, and only the
language model's inputs are padded, on the left, where its attention mask hides the padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from env.errors import CheckpointError, OutOfMemoryError, UsageError
from env.language import _
from model import alignment, components, gate, library, tags
from model.alignment import Word
from model.audio import SAMPLE_RATE
from model.checkpoint import Checkpoint
from model.components import Loaded
from model.device import runtime_errors
from model.generation import end_tokens
from model.prompts import Prompt
from model.repetition import CYCLES, LEAST_REPEATED, TAIL, find_loop
from model.signature import DecodingSignature
from model.tags import Turn
from model.windows import LIMIT_SECONDS, NEW_TOKENS

if TYPE_CHECKING:
    import torch

    from model.audio import Samples

PROMPT_FILES = "chat_template.jinja, tokenizer.json, preprocessor_config.json"
PROCESSOR_FILES = ("preprocessor_config.json", "tokenizer_config.json")
# Of a processor, told by its own.
LOADING = (OSError, ValueError, KeyError, AttributeError, TypeError, ImportError, RuntimeError)
LONGEST_PROMPT = 1 << 23  # characters; the longest list of keywords has half as many
AUTO_BATCH = 16  # where `auto` starts: eight rows cost a decoding step hardly more than one
Ended = Literal["eos", "loop", "limit"]  # by the model itself, in a repetition loop, or at the limit of new tokens
LOOP_CHECK_STEPS = 8  # tokens come to the host this often: on a device each look waits for it


@dataclass(frozen=True)
class Decoding:
    """How text is decoded. `batch_size` None is `auto`: halved whenever memory runs out.

    `max_new_tokens` None follows the length of each window, as the model's authors have it.
    """

    max_new_tokens: int | None = None
    num_beams: int = 1
    batch_size: int | None = 1

    def __post_init__(self) -> None:
        for option in ("max_new_tokens", "num_beams", "batch_size"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise UsageError(
                    _("{option} {value}: must be at least 1", option=f"--{option.replace('_', '-')}", value=value)
                )

    def budget(self, samples: int, times: int = 1) -> int:
        """New tokens for a window of `samples` at 16 kHz: 200 up to 30 s, and in proportion above it; of an answer
        that takes more than a text does, so many times as many.
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return math.ceil(times * NEW_TOKENS * max(1.0, samples / SAMPLE_RATE / LIMIT_SECONDS))

    @property
    def signature(self) -> DecodingSignature:
        """What of it may change a text; the batch size changes nothing but rounding, and has a field of its own."""
        return DecodingSignature(
            method="greedy" if self.num_beams == 1 else f"beam-{self.num_beams}",
            max_new_tokens=self.max_new_tokens or NEW_TOKENS,
            max_new_tokens_per_s=None if self.max_new_tokens else LIMIT_SECONDS,
            loop_stop=f"{CYCLES} cycles, {LEAST_REPEATED} tokens",
        )


@dataclass(frozen=True)
class Decoded:
    """The text of one window, the number of tokens it took, what ended it, and what to know of it.

    `words` have their times, in seconds from the window's beginning, where they were asked for and could be aligned,
    or where the model wrote them; `turns` are the speakers' that it wrote. `text` has none of its tags.
    `ids` are the tokens, the one that ended the text among them; none of the encoder alone.
    """

    text: str
    tokens: int
    notes: tuple[str, ...] = ()
    ended: Ended = "eos"
    words: tuple[Word, ...] = ()
    turns: tuple[Turn, ...] = ()
    ids: tuple[int, ...] = ()


class Reader(Protocol):
    """What turns windows into text: the whole model, or its encoder alone."""

    batch_size: int

    def decode(self, windows: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Decoded]: ...

    @property
    def signature(self) -> DecodingSignature: ...


def load_processor(checkpoint: Checkpoint) -> Any:
    """The checkpoint's GraniteSpeechProcessor: mel front end, tokenizer and chat template. It needs no CUDA.

    Raises:
        CheckpointError: the folder lacks a processor or tokenizer file, or has no chat template.
    """
    missing = [name for name in PROCESSOR_FILES if not (checkpoint.folder / name).exists()]
    if missing:
        raise CheckpointError(
            _("{folder}: lacks {names}", folder=checkpoint.folder, names=", ".join(missing)),
            why=_("speech needs the processor and the tokenizer beside the weights"),
            next=f"ls {checkpoint.folder}",
        )
    components.quiet()
    try:
        with library.own_errors(checkpoint.folder, _("loading the processor"), PROMPT_FILES, but=LOADING):
            processor = gate.load_processor(checkpoint.folder)
        template = processor.tokenizer.chat_template or processor.chat_template
    except LOADING as error:
        detail = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(
            _("{folder}: its processor cannot be loaded: {detail}", folder=checkpoint.folder, detail=detail),
            next=f"ls -l {checkpoint.folder}",
        ) from error
    if not template:
        raise CheckpointError(
            _("{folder}: has no chat template", folder=checkpoint.folder),
            next=f"ls {checkpoint.folder}/chat_template*",
        )
    return processor


def prompt_text(processor: Any, prompt: Prompt) -> str:
    """The text that the model completes, by the checkpoint's own chat template."""
    template = processor.tokenizer.chat_template or processor.chat_template
    for each in template.values() if isinstance(template, dict) else (template,):
        library.require_bounded(each)
    turns = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    turns += [{"role": "user", "content": prompt.content}]
    text = processor.tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    if len(text) > LONGEST_PROMPT:
        raise ValueError(f"the template makes {len(text)} characters of a prompt of {len(prompt.content)}")
    return str(text)


@dataclass(frozen=True)
class _Embedded:
    """A window of `seconds` and its prompt, of a task, as embeddings [1, positions, hidden], with its new tokens and
    what the CTC head says.
    """

    embeddings: torch.Tensor
    budget: int
    log_probabilities: alignment.LogProbabilities | None
    task: str
    seconds: float


class Transcriber:
    """The whole model as a reader of speech."""

    def __init__(self, loaded: Loaded, processor: Any, decoding: Decoding, *, align: bool = False) -> None:
        self.loaded = loaded
        self.processor = processor
        self.decoding = decoding
        self.align = align
        self.batch_size = decoding.batch_size or AUTO_BATCH

    @property
    def signature(self) -> DecodingSignature:
        return self.decoding.signature

    def decode(self, windows: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Decoded]:
        """The text of each window, float32 [n] at 16 kHz, by the prompt at the same place.

        Raises:
            OutOfMemoryError: a batch of one, or of a fixed size, does not fit, or the runtime is not to be used again.
            UsageError: window, prompt and new tokens together exceed the positions of the language model.
            DeviceError: the device failed.
        """
        results: list[Decoded] = []
        while len(results) < len(windows):
            chosen = slice(len(results), len(results) + self.batch_size)
            size = len(windows[chosen])
            try:
                results += self._decode_batch(windows[chosen], prompts[chosen])
                continue
            except OutOfMemoryError as error:
                if self.decoding.batch_size is not None or size == 1 or not error.again:
                    raise
            # Outside the handler: until it is left, the error keeps the tensors of its frames alive.
            self.batch_size = size // 2
            self.loaded.device.empty_cache()
        return results

    def _decode_batch(self, windows: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Decoded]:
        import torch

        device = self.loaded.device
        with runtime_errors(device, _("transcribing {count} windows", count=len(windows))), torch.inference_mode():
            embedded = [self._embed(window, prompt) for window, prompt in zip(windows, prompts, strict=True)]
            budgets = [row.budget for row in embedded]
            tokens = self._generate([row.embeddings for row in embedded], budgets).tolist()
            device.synchronize()
        return [self._decoded(new, row) for new, row in zip(tokens, embedded, strict=True)]

    def _embed(self, window: Samples, prompt: Prompt) -> _Embedded:
        """One window and its prompt as the language model's input."""
        import torch

        loaded = self.loaded
        about = (loaded.checkpoint.folder, _("preparing the prompt"), PROMPT_FILES)
        with library.patience(*about), library.own_errors(*about):
            inputs = self.processor(
                prompt_text(self.processor, prompt), torch.from_numpy(window), device="cpu", return_tensors="pt"
            )
        self._require_known(inputs["input_ids"])
        ids, features = loaded.on_device(inputs["input_ids"]), loaded.on_device(inputs["input_features"])
        encoded = components.encode(loaded.model, features)
        audio = components.project(loaded.model, encoded)
        places = int((inputs["input_ids"] == loaded.model.config.audio_token_id).sum())
        if places != audio.shape[1]:
            raise CheckpointError(
                _(
                    "{folder}: its processor makes {places} audio tokens, its model {tokens}",
                    folder=loaded.checkpoint.folder,
                    places=places,
                    tokens=audio.shape[1],
                ),
                why=_("preprocessor_config.json and config.json are of different models"),
            )
        limit = loaded.architecture.text.max_position_embeddings
        budget = self.decoding.budget(len(window), prompt.tokens)
        if self.decoding.max_new_tokens is None:  # as much of it as there is room for, but what a short window has
            budget = max(min(budget, limit - ids.shape[1]), NEW_TOKENS)
        if ids.shape[1] + budget > limit:
            raise UsageError(
                _(
                    "{positions} positions of audio and prompt, with {new} new tokens, exceed the {limit} of the "
                    "language model",
                    positions=ids.shape[1],
                    new=budget,
                    limit=limit,
                ),
                next=_("shorter windows, or a smaller --max-new-tokens"),
            )
        spelled = None
        if self.align and prompt.target is None:  # the head spells what is spoken, not its translation
            spelled = _log_probabilities(loaded, encoded)
        merged = components.splice(loaded.model, ids, audio)
        return _Embedded(merged, budget, spelled, prompt.task, len(window) / SAMPLE_RATE)

    def _require_known(self, ids: torch.Tensor) -> None:
        """Hold token ids [1, positions] to the language model's table: beyond it a CPU fails, and a card need not.

        Raises:
            CheckpointError: the tokenizer is not this model's.
        """
        checkpoint, audio = self.loaded.checkpoint, self.loaded.model.config.audio_token_id
        known = self.loaded.architecture.text.vocab_size
        largest = max(ids[ids != audio].tolist(), default=0)
        if largest >= known:
            raise CheckpointError(
                _(
                    "{folder}: its tokenizer makes token {token}, its model knows {count}",
                    folder=checkpoint.folder,
                    token=largest,
                    count=known,
                ),
                why=_("tokenizer.json and config.json are of different models"),
                next=_("hold them against the publisher's: {files}", files=PROMPT_FILES),
            )

    def _generate(self, rows: Sequence[torch.Tensor], budgets: Sequence[int]) -> torch.Tensor:
        """New token ids [batch, new] for rows [1, positions, hidden] of unequal length, padded on the left.

        Each row ends at its own budget, whatever its neighbours have.
        """
        import torch

        longest = max(row.shape[1] for row in rows)
        embeddings = rows[0].new_zeros(len(rows), longest, rows[0].shape[2])
        mask = torch.zeros(len(rows), longest, dtype=torch.long, device=rows[0].device)
        for index, row in enumerate(rows):
            embeddings[index, longest - row.shape[1] :] = row[0]
            mask[index, longest - row.shape[1] :] = 1
        with library.own_errors(self.loaded.checkpoint.folder, _("decoding"), gate.GENERATION_FILE):
            output: torch.Tensor = self.loaded.model.generate(
                inputs_embeds=embeddings,
                attention_mask=mask,
                max_new_tokens=max(budgets),
                do_sample=False,
                num_beams=self.decoding.num_beams,
                stopping_criteria=_stops(budgets),
            )
        return output

    def _decoded(self, row: Sequence[int], embedded: _Embedded) -> Decoded:
        """The text of one row of new tokens, what its tags say, and the times of its words where they are asked for."""
        decoded = self._text(row)
        found = tags.read(decoded.text, embedded.task, embedded.seconds)
        notes = (*decoded.notes, *found.notes)
        decoded = replace(decoded, text=found.text, turns=found.turns, words=found.words, notes=notes)
        if embedded.log_probabilities is None or decoded.words:
            return decoded
        return replace(decoded, words=alignment.align(decoded.text, embedded.log_probabilities))

    def _text(self, row: Sequence[int]) -> Decoded:
        """The text of one row of new tokens: up to the model's end token or, where it was stopped, up to padding."""
        ends, padding = end_tokens(self.loaded.model), self.loaded.model.generation_config.pad_token_id
        length = next((at for at, token in enumerate(row) if token in (*ends, padding)), len(row))
        tokens = list(row[:length])
        text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        if length < len(row) and row[length] in ends:
            return Decoded(text, length, ids=(*tokens, row[length]))
        loop = find_loop(tokens)
        if loop is None:
            note = _("stopped at {tokens} new tokens, before the model's end of text", tokens=length)
            return Decoded(text, length, (note,), "limit", ids=tuple(tokens))
        phrase = self.processor.tokenizer.decode(tokens[-loop.motif :], skip_special_tokens=True).strip()
        note = _("repetition loop: {phrase} {cycles} times, stopped", phrase=repr(phrase), cycles=loop.cycles)
        return Decoded(text, length, (note,), "loop", ids=tuple(tokens))


def _log_probabilities(loaded: Loaded, encoded: torch.Tensor) -> alignment.LogProbabilities:
    """What the CTC head makes of one encoded window: [frames, labels], on the host."""
    spelled: alignment.LogProbabilities = (
        components.ctc_head(loaded.model, encoded)[0].float().log_softmax(dim=-1).cpu().numpy()
    )
    return spelled


def _stops(budgets: Sequence[int]) -> Any:
    """A stopping criterion for `generate`, which ends each row on its own: in a loop, or at its own budget."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Stops(StoppingCriteria):  # type: ignore[misc]
        """The ids are the new tokens only: the prompt enters as embeddings."""

        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            length, beams = input_ids.shape[1], input_ids.shape[0] // len(budgets)
            stop = [length >= budget for budget in budgets for _beam in range(beams)]
            if length % LOOP_CHECK_STEPS == 0:
                looped = [find_loop(row) is not None for row in input_ids[:, -TAIL:].tolist()]
                stop = [ended or loop for ended, loop in zip(stop, looped, strict=True)]
            return torch.tensor(stop, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Stops()])


class CtcReader:
    """The encoder alone as a reader of speech: its CTC head's labels are code points, 0 is the blank.

    It shows whether front end and encoder are right without the language model. It cannot translate.
    """

    def __init__(self, loaded: Loaded, processor: Any, *, align: bool = False) -> None:
        self.loaded = loaded
        self.processor = processor
        self.align = align
        self.batch_size = 1

    @property
    def signature(self) -> DecodingSignature:
        return DecodingSignature(method="ctc-greedy")

    def decode(self, windows: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Decoded]:
        """As `Transcriber.decode`; the prompts are not used."""
        return [self._decode(window) for window in windows]

    def _decode(self, window: Samples) -> Decoded:
        import torch

        loaded = self.loaded
        with runtime_errors(loaded.device, _("reading the CTC head")), torch.inference_mode():
            inputs = self.processor.audio_processor(torch.from_numpy(window), device="cpu")
            encoded = components.encode(loaded.model, loaded.on_device(inputs["input_features"]))
            spelled = _log_probabilities(loaded, encoded)
        merged = torch.unique_consecutive(torch.from_numpy(spelled).argmax(dim=-1))
        kept = merged[merged != alignment.BLANK].tolist()
        text = "".join(map(chr, kept)).strip()
        return Decoded(text, len(kept), words=alignment.align(text, spelled) if self.align else ())
