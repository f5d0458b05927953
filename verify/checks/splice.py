"""Level 2: audio embeddings lie where the audio token was."""

from __future__ import annotations

from env.language import _
from model.reference import stored_rows
from verify.reference.numerics import as_array, compare
from verify.run.figures.components import SpliceFigures
from verify.run.judgement import of_splice
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """Audio embeddings lie, in order and unchanged, where the audio token was; text embeddings are the stored ones.

    Raises:
        ValueError: there are not as many audio tokens as the projector has outputs.
        OutOfMemoryError, DeviceError: the device failed.
    """
    loaded, inputs, parts = session.model, session.inputs, session.parts
    merged = parts["splice"].output.cpu()  # [batch, positions, width]
    audio = parts["projector"].output.cpu().flatten(0, 1)  # [outputs, width]
    is_audio = inputs.input_ids == loaded.architecture.audio_token  # [batch, positions]
    stored = stored_rows(loaded.checkpoint, inputs.input_ids[~is_audio]).to(loaded.torch_dtype)
    of_audio, of_text = merged[is_audio], merged[~is_audio]
    replaced = int((of_audio == audio).all(dim=-1).sum()) if len(of_audio) == len(audio) else 0
    text = compare(as_array(of_text), as_array(stored))
    spliced = compare(as_array(of_audio), as_array(audio))
    figures = SpliceFigures(
        audio_tokens=int(is_audio.sum()),
        projector_outputs=len(audio),
        positions_replaced=replaced,
        max_abs_text=text.figures.max_abs,
        max_abs_audio=spliced.figures.max_abs,
    )
    if problems := of_splice(figures):
        return failed(problems, figures, session.signature())
    return passed(_("{count} audio positions", count=replaced), figures, session.signature())
