"""What a figure was taken with: no number is shown without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class DecodingSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a text was decoded: "greedy", "beam-N" or "ctc-greedy", and what ends it."""

    method: str
    max_new_tokens: int | None = None
    max_new_tokens_per_s: float | None = None  # in longer windows there are more, in proportion
    loop_stop: str | None = None


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a figure was taken with. Two figures compare where their signatures differ in nothing but the question.

    Fields are in the order in which they are written everywhere; what does not apply to a figure is left out.
    """

    device: str | None = None  # "npu:0"; "npu" where a figure is the same for every card of a machine
    device_name: str | None = None
    device_map: Mapping[str, str] | None = None  # where each part is, of a model that lies over several cards
    dtype: str | None = None
    attention: str | None = None
    batch: int | None = None  # rows
    batch_size: int | str | None = None  # windows decoded together, or "auto"
    seq_len: int | None = None
    positions: int | None = None  # of the language model, prompt and audio
    seed: int | None = None
    decoding: DecodingSignature | None = None
    prompt: str | None = None
    punctuate: bool | None = None
    window_seconds: float | None = None
    normaliser: str | None = None
    spelling: str | None = None
    data_sha256: str | None = None
    weights_sha256: str | None = None
    weights_kind: str | None = None  # "checkpoint", "stand-in"
    weights_name: str | None = None
    versions: Mapping[str, str | None] | None = None
    threads: int | None = None
    deterministic: bool | None = None
    emulated: bool | None = None
    n: int | None = None
    warmup: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that apply, in order."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Signature:
        """Raises: msgspec.ValidationError, naming the field that is not as it is written."""
        return msgspec.convert(fields, cls)
