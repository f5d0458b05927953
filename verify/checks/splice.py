"""Level 2: audio embeddings lie where the audio token was."""

from __future__ import annotations

from typing import Any

from model.reference import stored_rows
from verify.reference import numerics
from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """Audio embeddings lie, in order and unchanged, where the audio token was; text embeddings are the stored ones."""
    loaded, inputs, parts = session.model, session.inputs, session.parts
    merged = parts["splice"].output.cpu()
    audio = parts["projector"].output.cpu()
    is_audio = inputs.input_ids == loaded.architecture.audio_token
    text = stored_rows(loaded.checkpoint, inputs.input_ids[~is_audio]).to(loaded.torch_dtype)
    data: dict[str, Any] = {
        "audio_tokens": int(is_audio.sum()),
        "projector_outputs": int(audio.shape[0] * audio.shape[1]),
        "positions_replaced": int((merged[is_audio] == audio.flatten(0, 1)).all(dim=-1).sum())
        if int(is_audio.sum()) == audio.shape[0] * audio.shape[1]
        else 0,
    }
    pairs = {"max_abs_text": (merged[~is_audio], text), "max_abs_audio": (merged[is_audio], audio.flatten(0, 1))}
    problems = []
    for name, (actual, wanted) in pairs.items():
        comparison = numerics.compare(numerics.as_array(actual), numerics.as_array(wanted))
        data[name] = comparison.as_json()["max_abs"]
        if not comparison.identical:
            problems.append(f"{name.removeprefix('max_abs_')} embeddings differ by {data[name]}")
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, session.signature())
    return Outcome(Status.PASS, f"{data['positions_replaced']} audio positions", data, session.signature())
