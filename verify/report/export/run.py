"""What every format is made of, and which runs may claim what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from env.digest import file_sha256
from env.language import Message, _
from verify.report.facts import Facts
from verify.run.records import RECORDS, RUN_FILE, Evidence, read_evidence
from verify.run.verdict import Caveat, Verdict, Word, judge

UNFIT = (Caveat.EMULATED, Caveat.STAND_IN, Caveat.OTHER_DEVICE, Caveat.WEIGHTS_UNKNOWN, Caveat.DEVICE_UNKNOWN)


class RefusedError(Exception):
    """A run must not be published in this format; `why` says so to a user."""

    def __init__(self, why: Message) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Exported:
    """A run that is to be exported, and the folder that it was read from."""

    folder: Path
    evidence: Evidence

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Raises: RecordError, as read_evidence."""
        return cls(folder, read_evidence(folder))

    @cached_property
    def verdict(self) -> Verdict:
        return judge(self.evidence)

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.evidence, self.verdict)

    @property
    def name(self) -> str:
        return self.evidence.run.run_id if self.evidence.run else self.folder.name

    @property
    def started(self) -> str | None:
        return self.evidence.run.started if self.evidence.run else None

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of every file of the run's records, by its name in the folder."""
        names = [RUN_FILE, "setup.json", *(f"{RECORDS}/{check}.json" for check in sorted(self.evidence.records))]
        return {name: file_sha256(self.folder / name) for name in names if (self.folder / name).is_file()}

    def require_real(self) -> None:
        """Refuse a run that says nothing of the published model on the device.

        Raises:
            RefusedError: it was emulated, on other weights, elsewhere, or on what nobody identified.
        """
        notes = {note.caveat for note in self.verdict.notes}
        for caveat in UNFIT:
            if caveat in notes:
                raise RefusedError(_("the run's verdict is qualified: {caveat}", caveat=Message(caveat.value)))

    def require_verified(self) -> None:
        """Refuse a run whose figures nothing vouches for.

        Raises:
            RefusedError: as `require_real`, or it is not verified.
        """
        self.require_real()
        if self.verdict.word is not Word.VERIFIED:
            raise RefusedError(_("the run's verdict is: {word}", word=Message(self.verdict.word.value)))
