"""A session: one device, one checkpoint, the loaded model and its inputs, each made when it is first needed and once.

Everything that runs the model hangs on one: the programs, every check, the tests. What a figure of a session was taken
with is its `Signature`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from env.language import translate
from env.stack import ROOT
from model import cards, checkpoint, checksums, components, decoding, device, device_map, memory, stand_in
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, Step
from model.decoding import CtcReader, Decoding, Reader, Transcriber
from model.device import Device
from model.signature import Signature
from model.variants import PLUS

DIGESTS = ROOT / ".cache" / "weights-sha256.json"


def _print_line(line: str) -> None:
    print(translate(line), flush=True)


class Session:
    """One device and one checkpoint, and what is made of them.

    `device_map` "auto" splits the model over several cards.
    `model_dir` is a checkpoint folder or a stand-in's name, `dtype` a name of components.DTYPES or "auto" (the
    checkpoint's own). A model that is loaded already brings its device and its checkpoint.
    """

    def __init__(
        self,
        device: str,
        model_dir: str,
        *,
        dtype: str = "auto",
        seed: int,
        batch_size: int = 1,
        seq_len: int = 32,
        device_map: str | None = None,
        loaded: Loaded | None = None,
    ) -> None:
        self.asked_device = device
        self.model_dir = model_dir
        self.asked_dtype = dtype
        self.seed = seed
        self.batch_size = batch_size
        self.seq_len = seq_len
        self.device_map = device_map
        self.attention: str | None = None  # the library's own
        self.must_split = True  # where one card alone could hold the model, to split it is a user's mistake
        if loaded is not None:
            self.loaded = loaded
            self.device = loaded.device
            self.checkpoint = loaded.checkpoint

    @cached_property
    def device(self) -> Device:
        """Raises: UsageError, DeviceError."""
        return device.resolve(self.asked_device) if self.device_map is None else cards.resolve(self.asked_device)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Raises: CheckpointError; UsageError for an unknown stand-in; StorageError where one cannot be written."""
        return checkpoint.inspect(stand_in.folder_of(self.model_dir, self.seed, progress=_print_line))

    @property
    def plus(self) -> bool:
        """Whether the checkpoint is a granite_speech_plus, which is asked in other words.

        Raises: as `checkpoint`.
        """
        return self.checkpoint.config.get("model_type") == PLUS

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights, kept between processes by size and time of change."""
        return checkpoint.weights_sha256(self.checkpoint, DIGESTS)

    @cached_property
    def checksums(self) -> tuple[str, ...] | None:
        """The files that SHA256SUMS lists, all as listed; None where there is no such list.

        Raises: CheckpointError, where they are not.
        """
        return checksums.compare(self.checkpoint, DIGESTS)

    @property
    def dtype(self) -> str:
        """The dtype that is computed in: the one that was named, or the checkpoint's own where the device has it.

        Raises:
            DeviceError, UsageError.
        """
        return components.choose_dtype(self.asked_dtype, self.checkpoint, self.device)

    @cached_property
    def loaded(self) -> Loaded:
        """The checkpoint on the device; `model` is what to use.

        Raises:
            CheckpointError, DeviceError, OutOfMemoryError, UsageError.
        """
        self.device  # noqa: B018 (a device that is absent is told before a folder that is)
        needs = (self.checkpoint.architecture, self.dtype, self.batch_size, self.seq_len)
        if not self.device.split:
            memory.require(self.device, *needs)
            return components.load(self.checkpoint, self.device, self.dtype, self.attention)
        rooms = memory.require_together(self.device, *needs, must_split=self.must_split)
        loaded = components.load(self.checkpoint, self.device, self.dtype, self.attention, rooms=rooms)
        self.device = loaded.device  # the cards that the model is on
        return loaded

    @property
    def model(self) -> Loaded:
        """The loaded model, with as many CPU threads as its size asks for: another session may have run since.

        Raises:
            CheckpointError, DeviceError, OutOfMemoryError, UsageError.
        """
        device.set_threads(self.loaded.checkpoint.parameters)
        return self.loaded

    @cached_property
    def inputs(self) -> Inputs:
        """Seeded features and prompt.

        Raises:
            UsageError: the sequence does not fit.
        """
        return components.make_inputs(self.checkpoint.architecture, self.batch_size, self.seq_len, self.seed)

    @cached_property
    def parts(self) -> dict[str, Step]:
        """Every component with its output on the inputs."""
        return components.run_parts(self.model, self.inputs)

    @cached_property
    def processor(self) -> Any:
        """The checkpoint's processor, as transformers loads it.

        Raises:
            CheckpointError: the checkpoint lacks a processor file, or is damaged.
        """
        return decoding.load_processor(self.checkpoint)

    def reader(self, how: Decoding, *, ctc: bool = False, align: bool = False) -> Reader:
        """What turns speech into text: the whole model, or with `ctc` its encoder alone; `align` gives words times.

        The processor is looked at before the weights are loaded.

        Raises:
            CheckpointError, DeviceError, OutOfMemoryError, UsageError.
        """
        processor = self.processor
        if ctc:
            return CtcReader(self.model, processor, align=align)
        return Transcriber(self.model, processor, how, align=align)

    def signature(self, *, n: int | None = None, warmup: int | None = None) -> Signature:
        """What a figure on the seeded inputs was taken with; `n` and `warmup` where there were repeats."""
        return self._identity(
            device=self.model.place,
            batch=self.batch_size,
            seq_len=self.seq_len,
            positions=self.inputs.positions,
            seed=self.seed,
            threads=self.model.threads,
            deterministic=device.deterministic(),
            n=n,
            warmup=warmup,
        )

    def speech_signature(self, reader: Reader, *, card: bool = False, **more: Any) -> Signature:
        """What transcripts were made with. It is the same in every process of a run: the card's number is in it only
        where `card` asks for it.
        """
        here = self.model.device
        named = card or self.model.device_map is not None  # which is split, and so is of one process
        return self._identity(device=self.model.place if named else here.kind, decoding=reader.signature, **more)

    def _identity(self, **more: Any) -> Signature:
        loaded = self.model
        return Signature(
            device_name=loaded.device.name,
            device_map=None if loaded.device_map is None else device_map.short(loaded.device_map),
            dtype=loaded.dtype,
            attention=loaded.attention,
            weights_sha256=self.digest,
            weights_kind=loaded.checkpoint.kind,
            weights_name=loaded.checkpoint.name,
            versions=device.versions(),
            emulated=device.emulated(),
            **more,
        )
