"""Greedy decoding by the library's own `generate`, and the uncached pass that it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from env.language import _
from model import library
from model.components import Inputs, Loaded
from model.device import runtime_errors

if TYPE_CHECKING:
    import torch
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Generated:
    """What was decoded, on the CPU."""

    tokens: torch.Tensor  # [B, new], int64
    logits: torch.Tensor | None  # [B, new, vocab_size], nothing masked; None where they were not kept


def generate(
    loaded: Loaded,
    inputs: Inputs,
    new_tokens: int,
    *,
    keep_logits: bool = False,
    on_token: Callable[[], None] | None = None,
    **options: Any,
) -> Generated:
    """Decode exactly `new_tokens` tokens a row, greedily, with the library's key-value cache.

    The end token is kept from being chosen, so that a time per token is over a known number of them. So is the audio
    token: random weights may prefer it, and it stands for audio that is not there.
    `on_token` is called after each token; `options` are the library's own, such as `cache_implementation`.

    Raises:
        OutOfMemoryError, DeviceError: as `device.runtime_errors`.
    """
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class AfterToken(StoppingCriteria):  # type: ignore[misc]
        """The hook that `generate` offers after each token; it never stops the decoding."""

        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            if on_token is not None:
                on_token()
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    device = loaded.device
    ids = loaded.on_device(inputs.input_ids)
    with runtime_errors(device, _("generating")), torch.inference_mode():
        with library.own_errors(loaded.checkpoint.folder, _("decoding"), library.GENERATION_FILE):
            output = loaded.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                input_features=loaded.on_device(inputs.features),
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                suppress_tokens=[loaded.architecture.audio_token],
                do_sample=False,
                num_beams=1,
                stopping_criteria=StoppingCriteriaList([AfterToken()]),
                return_dict_in_generate=True,
                output_logits=keep_logits,
                **options,
            )
        device.synchronize()
        logits = torch.stack(output.logits, dim=1).cpu() if keep_logits else None
    return Generated(output.sequences[:, ids.shape[1] :].cpu(), logits)


def uncached_logits(loaded: Loaded, inputs: Inputs, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, new, vocab_size] where `tokens` [B, new] were taken, from one pass over prompt and tokens, on the CPU.

    Raises:
        OutOfMemoryError, DeviceError: as `device.runtime_errors`.
    """
    import torch

    forced = replace(inputs, input_ids=torch.cat([inputs.input_ids, tokens[:, :-1]], dim=1))
    with runtime_errors(loaded.device, _("running the generated tokens uncached")), torch.inference_mode():
        return loaded.forward(forced)[:, inputs.positions - 1 :].cpu()


def end_tokens(model: Any) -> list[int]:
    """The tokens that end a text."""
    end = model.generation_config.eos_token_id
    return [end] if isinstance(end, int) else list(end or [])


def never_chosen(model: Any) -> list[int]:
    """The tokens that `generate` here never takes: what ends a decoding, and the audio token."""
    return [*end_tokens(model), model.config.audio_token_id]


def choosable(model: Any, logits: torch.Tensor) -> torch.Tensor:
    """Logits [..., vocab_size] with those that `generate` never takes as low as any other, so that all stay finite."""
    masked = logits.clone()
    masked[..., never_chosen(model)] = masked.min(dim=-1, keepdim=True).values
    return masked


def is_greedy(loaded: Loaded, logits: torch.Tensor, tokens: torch.Tensor) -> bool:
    """Whether each of `tokens` [B, new] has the largest of its `logits` [B, new, vocab_size] that may be taken.

    Of equal ones any will do: torch promises none of them, and CANN's argmax is not the CPU's (ops-math, aclnnArgMax).
    """
    scores = choosable(loaded.model, logits)
    taken = scores.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return bool((taken == scores.amax(dim=-1)).all())


def decode(loaded: Loaded, inputs: Inputs, new_tokens: int, **options: Any) -> tuple[torch.Tensor, NDArray[float64]]:
    """As `generate`: the tokens [B, new], and the scores [B, new, vocab_size] that each was chosen from.

    Raises:
        OutOfMemoryError, DeviceError: as `device.runtime_errors`.
    """
    generated = generate(loaded, inputs, new_tokens, keep_logits=True, **options)
    assert generated.logits is not None
    return generated.tokens, choosable(loaded.model, generated.logits).double().numpy()


def score(loaded: Loaded, inputs: Inputs, tokens: torch.Tensor) -> NDArray[float64]:
    """Scores [B, new, vocab_size] of one uncached pass for the positions where `tokens` [B, new] were taken.

    Raises:
        OutOfMemoryError, DeviceError: as `device.runtime_errors`.
    """
    return choosable(loaded.model, uncached_logits(loaded, inputs, tokens)).double().numpy()
