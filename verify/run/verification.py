"""What a check takes: the session under verification, the run's options, and the reference values."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from env.stack import load_stack
from model import clips, gelu
from model.clips import Clip
from model.components import Inputs, Loaded
from model.session import Session
from model.size import FULL_SIZE
from verify.reference import file, values, words, words_file
from verify.reference.figures import OperatorFigures
from verify.reference.values import Expected
from verify.reference.words import Words
from verify.run.context import Context


class Verification(Session):
    """A session with the options of its run, its reference values, and the bundled checkpoint on the same device."""

    def __init__(self, context: Context, loaded: Loaded | None = None) -> None:
        super().__init__(
            context.device,
            context.model_dir,
            dtype=context.dtype,
            seed=context.seed,
            batch_size=context.batch_size,
            seq_len=context.seq_len,
            device_map=context.device_map,
            loaded=loaded,
        )
        self.context = context

    @cached_property
    def reference(self) -> Expected:
        """What the reference says of the inputs: from the file that --reference names, else made once and kept.

        Raises:
            ReferenceFileError: that file is damaged or does not fit.
            StorageError: none can be kept.
        """
        form = gelu.of(self.device).form
        description = values.describe(self.checkpoint, self.digest, self.inputs, self.dtype, gelu=form)
        if self.context.reference is None:
            return file.cached(self.checkpoint, self.inputs, description)
        path = Path(self.context.reference)
        expected = file.read(path)
        file.require(expected, description, path)
        return expected

    @cached_property
    def clips(self) -> list[Clip]:
        """One bundled recording of each language."""
        return clips.one_a_language()

    @cached_property
    def clip_inputs(self) -> list[Inputs]:
        """What the checkpoint's processor makes of each of `clips`.

        Raises: CheckpointError.
        """
        return [clip.inputs(self.processor) for clip in self.clips]

    @cached_property
    def words(self) -> Words:
        """What the reference says to `clips`: of the file that --reference names where that has it, else made once.

        Raises:
            ReferenceFileError: that file's words are of other weights, clips or settings, or damaged.
        """
        form = gelu.of(self.device).form
        run = words.describe(self.checkpoint, self.digest, self.clips, self.clip_inputs, self.dtype, gelu=form)
        brought = self.reference.words if self.context.reference is not None else None
        if brought is None:
            return words_file.cached(self.checkpoint, self.clips, self.clip_inputs, self.processor, run)
        assert self.context.reference is not None
        words_file.require(brought, run, self.processor, Path(self.context.reference))
        return brought

    @cached_property
    def bundled(self) -> Verification:
        """The same device with the bundled checkpoint in float32, where no rounding hides a fault of one layer.

        In float16 on a chip that multiplies float32 matrices so: what it can do is what it is held to.
        """
        dtype = "float16" if self.device.refusal("float32") else "float32"
        bundled = Verification(self.context.of_bundled(load_stack().stand_in, dtype))
        bundled.device = self.device
        bundled.must_split = False
        return bundled

    @cached_property
    def operators(self) -> list[OperatorFigures]:
        """The model's operators on the device one by one, in float32 and in the 16-bit dtype that was asked for.

        Raises: OutOfMemoryError, DeviceError.
        """
        from verify.reference import operators  # it imports torch, which a worker that hangs or dies need not wait for

        half = self.asked_dtype if self.asked_dtype in ("float16", "bfloat16") else operators.half(self.device)
        return operators.measure(self.device, ("float32", half), self.seed)

    @property
    def layer_by_layer(self) -> bool:
        """Whether every layer can be watched, and passes are cheap."""
        return self.checkpoint.parameters < FULL_SIZE
