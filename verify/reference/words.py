"""What the reference says to one clip a language: its own greedy tokens, what each was chosen from, and the text.

A checkpoint whose scores are known is held to them (verify/checks/speech.py). One that brings none, as the published
weights do, has nothing that its texts could be compared with but the same weights' on a CPU: they are made here, once,
and kept beside the other reference values. Made without a cache and one clip at a time; the end of the text is a token
like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from env.language import Message, _
from model import clips, device
from model.checkpoint import Checkpoint
from model.clips import Clip
from model.components import DTYPES, Inputs
from model.decoding import PROCESSOR_FILES
from model.size import FULL_SIZE

if TYPE_CHECKING:
    import torch

SCHEMA = 1
KNOWN_SCORES = "scores.json"  # in a checkpoint's folder, written when it was trained
# New tokens of a clip at most. The texts of the bundled clips are 4 to 38 letters, 3 to 20 tokens of a tokenizer of
# their own; what has not ended by then is held as far as it goes.
TOKENS = 48
IDENTITY = {
    "schema": _("layout"),
    "weights_sha256": _("weights"),
    "config_sha256": "config.json",
    "inputs_sha256": _("clips, prompts or features"),
    "processor_sha256": _("processor or tokenizer"),
    "clips": _("clips"),
    "tokens": _("number of tokens"),
    "transformers": _("transformers version"),
    "gelu": _("form of GELU (--gelu)"),
}


@dataclass(frozen=True)
class WordsDescription:
    """What the texts are made of, and how."""

    schema: int
    weights_sha256: str
    config_sha256: str
    inputs_sha256: str  # of features and prompts, by which clips and instructions are in it
    processor_sha256: str
    clips: tuple[str, ...]
    tokens: int  # at most, a clip
    transformers: str
    dtype: str  # of the reference
    dtypes: tuple[str, ...]  # whose ideal devices' noise is measured
    versions: Mapping[str, str]
    gelu: str = "erf"


@dataclass(frozen=True)
class Spoken:
    """What the reference says to one clip."""

    clip: str
    language: str
    text: str
    tokens: torch.Tensor  # [n], int64; the end token is the last where `ended`
    scores: torch.Tensor  # [n, vocab], what each was chosen from
    ended: bool


@dataclass(frozen=True)
class Words:
    """The texts, and how far ideal devices of each dtype are from the scores of the step with the most."""

    description: WordsDescription
    spoken: tuple[Spoken, ...]
    noise: Mapping[str, tuple[float, float]]  # by dtype: relative_l2, worst_element
    sha256: str = ""  # of the file that they came from
    unkept: Message | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What a file says of them, beside their tensors."""
        rows = [
            {"clip": one.clip, "language": one.language, "text": one.text, "ended": one.ended} for one in self.spoken
        ]
        return {"about": asdict(self.description), "spoken": rows, "noise": dict(self.noise)}

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        parts = {}
        for number, one in enumerate(self.spoken):
            parts[f"words.{number}.tokens"], parts[f"words.{number}.scores"] = one.tokens, one.scores
        return parts


def from_file(content: Mapping[str, Any], stored: Mapping[str, torch.Tensor], sha256: str) -> Words:
    """What `metadata` and `tensors` were made of.

    Raises:
        KeyError, TypeError, ValueError: they are not from there.
    """
    about = content["about"]
    description = WordsDescription(**{**about, "clips": tuple(about["clips"]), "dtypes": tuple(about["dtypes"])})
    spoken = tuple(
        Spoken(**row, tokens=stored[f"words.{number}.tokens"], scores=stored[f"words.{number}.scores"])
        for number, row in enumerate(content["spoken"])
    )
    noise = {dtype: (float(rel), float(worst)) for dtype, (rel, worst) in content["noise"].items()}
    return Words(description, spoken, noise, sha256)


def needed(checkpoint: Checkpoint) -> bool:
    """Whether nothing else is known of what these weights say: they can hear, and bring no scores."""
    folder = checkpoint.folder
    return all((folder / name).exists() for name in PROCESSOR_FILES) and not (folder / KNOWN_SCORES).exists()


def describe(
    checkpoint: Checkpoint,
    weights_sha256: str,
    spoken: Sequence[Clip],
    inputs: Sequence[Inputs],
    dtype: str,
    *,
    gelu: str = "erf",
    any_dtype: bool = False,
) -> WordsDescription:
    """As `values.describe`, for the clips and what the checkpoint's processor made of them."""
    small = checkpoint.parameters < FULL_SIZE
    config = json.dumps(checkpoint.config, sort_keys=True).encode()
    versions = device.versions()
    return WordsDescription(
        schema=SCHEMA,
        weights_sha256=weights_sha256,
        config_sha256=hashlib.sha256(config).hexdigest(),
        inputs_sha256=clips.inputs_sha256(inputs),
        processor_sha256=clips.processor_sha256(checkpoint.folder),
        clips=tuple(clip.name for clip in spoken),
        tokens=TOKENS,
        transformers=versions["transformers"],
        dtype="float64" if small or dtype == "float32" else "float32",
        dtypes=tuple(DTYPES) if small and any_dtype else (dtype,),
        versions=versions,
        gelu=gelu,
    )


def unfit(words: Words, run: WordsDescription, processor: Any) -> list[Message]:
    """Everything in which kept words are not those that a run needs, or not what their own tokens and scores say."""
    there = words.description
    wrong = [
        _(
            "other {part}: {there} there, {here} here",
            part=IDENTITY[field],
            there=str(getattr(there, field))[:16],
            here=str(getattr(run, field))[:16],
        )
        for field in IDENTITY
        if getattr(there, field) != getattr(run, field)
    ]
    wrong += [_("nothing for {dtype}", dtype=dtype) for dtype in run.dtypes if dtype not in words.noise]
    if run.dtype == "float64" != there.dtype:
        wrong.append(_("values in {dtype}, float64 needed", dtype=there.dtype))
    if tuple(one.clip for one in words.spoken) != run.clips:
        wrong.append(_("the texts are not those of its clips"))
    return wrong + [
        _("the text of {clip} is not what its tokens and scores say", clip=one.clip)
        for one in words.spoken
        if not whole(one, processor)
    ]


def whole(spoken: Spoken, processor: Any) -> bool:
    """Whether text, tokens and scores belong together: each token the largest of its scores, the text theirs."""
    tokens, scores = spoken.tokens, spoken.scores
    if tokens.dim() != 1 or scores.dim() != 2 or not 0 < len(tokens) == len(scores):
        return False
    if not bool(scores.isfinite().all()) or not bool((scores.argmax(dim=-1) == tokens).all()):
        return False
    return spoken.text == text_of(processor, tokens.tolist(), ended=spoken.ended)


def text_of(processor: Any, tokens: Sequence[int], *, ended: bool) -> str:
    """The text of new tokens, without the one that ends it, as decoding makes it."""
    kept = list(tokens[:-1] if ended else tokens)
    return str(processor.tokenizer.decode(kept, skip_special_tokens=True)).strip()
