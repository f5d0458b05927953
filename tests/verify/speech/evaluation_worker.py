"""One process of an evaluation with a reader that is quick, deterministic and tells its neighbours apart.

evaluation_worker.py MANIFEST OUTPUT [RANK AFTER]: process RANK kills itself when it has done AFTER batches
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from env.errors import run_main
from model.decoding import Decoded
from verify.speech import evaluation, manifest, shards

if TYPE_CHECKING:
    from model.audio import Samples
    from model.prompts import Prompt
from model.signature import DecodingSignature


class HashReader:
    """A window's text is a hash of its samples, its prompt and the windows decoded with it."""

    def __init__(self, batch_size: int = 3, die_after: int | None = None) -> None:
        self.batch_size = batch_size
        self.die_after = die_after
        self.calls = 0

    @property
    def signature(self) -> DecodingSignature:
        return DecodingSignature(method="hash")

    def decode(self, windows: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Decoded]:
        if self.calls == self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls += 1
        neighbours = sha256(b"".join(window.tobytes() for window in windows)).hexdigest()[:8]
        own = [
            sha256(window.tobytes() + prompt.content.encode()) for window, prompt in zip(windows, prompts, strict=True)
        ]
        return [Decoded(f"{digest.hexdigest()[:8]} {neighbours}", 2) for digest in own]


HEADER = {"model": "hash"}


def main() -> int:
    source, output, *death = sys.argv[1:]
    where = shards.place()
    dies = bool(death) and where.rank == int(death[0])
    with shards.joined(where, "npu") as group:
        evaluation.evaluate(
            HashReader(die_after=int(death[1]) if dies else None),
            manifest.read(Path(source)).utterances,
            Path(output),
            HEADER,
            group,
        )
    return 0


if __name__ == "__main__":
    run_main(main)
