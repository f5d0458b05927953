"""A fault campaign as it is kept: what verify made of planted faults, and of runs without one.

These types are faults.json: verify/faults writes them, the report reads them, and faults.schema.json is made of them.
The file is made elsewhere and copied into a run's folder; what stands there is part of that run's documents. Its
summary is counted again as it is read: a document must not show totals that its own rows contradict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from env import elsewhere
from env.atomic import write_text
from env.errors import RecordError
from env.language import Message, _
from env.toml import load_toml
from verify.run.verdict import Word

SCHEMA: Final = 1
SCHEMA_FILE = Path(__file__).with_name("faults.schema.json")
MEASURED = Path(__file__).with_name("measured.toml")
FAULTS_FILE = "faults.json"  # in the folder of a run
MADE_BY = "nox -s faults"
LONGEST = 160  # characters of what is wrong with a file: it may quote a value of any length

Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]  # finite: JSON has no other
Share = Annotated[float, Meta(ge=0, le=1)]
Time = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|\+00:00)$")]
On = Literal["npu", "cpu"]
Sort = Literal["number", "event", "checkpoint"]


def described(text: str) -> Any:
    """A field's description in the schema."""
    return Meta(description=text)


class FaultOutcome(Struct, frozen=True, forbid_unknown_fields=True):
    """One planted fault, and what verify made of it."""

    id: str
    family: str
    what: str
    on: On
    emulated: bool
    layer: Annotated[str | None, described("the one faulty layer; null where it is in no layer, or in several")]
    sort: Sort
    effect: Annotated[
        Amount | None,
        described("how far outputs moved, in units of the dtype's own noise; null where it cannot be measured"),
    ]
    beyond_noise: bool | None
    caught: bool
    check: Annotated[str | None, described("the first check that did not pass")]
    level: Count | None
    reason: str
    named: Annotated[bool | None, described("whether the layer that was named is the faulty one")]
    named_layer: str | None
    seconds: Annotated[
        Amount | None, described("from the start of verify to the first record that did not pass, imports left out")
    ]
    records: Count
    documents: bool
    verdict: str
    missed_because: str | None

    @property
    def counts(self) -> bool:
        """Whether it has to be caught: all but numbers that drown in the dtype's rounding. An event is no number."""
        return self.beyond_noise is not False or self.sort == "event"

    @property
    def ended(self) -> bool:
        """Whether the run came to an end that a reader can trust: records, documents, and no pass."""
        passed = self.verdict.removeprefix("verdict: ").startswith(Word.VERIFIED.value)
        return self.records > 0 and self.documents and not passed


class CleanOutcome(Struct, frozen=True, forbid_unknown_fields=True):
    """One run without a fault."""

    model: str
    seed: int
    dtype: str
    on: On
    alarms: Annotated[tuple[str, ...], described("the checks that did not pass")]
    reason: str
    checks: Count
    seconds: Amount


class MeasuredClass(Struct, frozen=True, forbid_unknown_fields=True):
    """A class of silent corruption, with how often it is measured and what of it was planted and caught."""

    name: str
    share: Annotated[Share, described("of all silent corruption (verify/report/measured.toml)")]
    cases: Count
    beyond_noise: Count
    caught: Annotated[Count, described("of those beyond the noise")]


class Summary(Struct, frozen=True, forbid_unknown_fields=True):
    """What the rows of a campaign count up to."""

    cases: Count
    beyond_noise: Count
    caught: Annotated[Count, described("of those beyond the noise")]
    events: Count
    events_ended: Annotated[Count, described("with records, a verdict that is not a pass, and both documents")]
    single_layer: Annotated[Count, described("faults caught that have a layer")]
    named: Annotated[Count, described("of these, with the layer named right")]
    clean_runs: Count
    false_alarms: Annotated[Count, described("runs without a fault that raised an alarm, however many checks did")]
    measured: Annotated[
        tuple[MeasuredClass, ...],
        described("the classes of silent corruption of which any was planted, with their measured shares"),
    ] = ()
    weighted: Annotated[
        Share | None,
        described("of the corruption beyond the noise caught, each class weighted by its share; null without any"),
    ] = None


class Project(Struct, frozen=True):
    """The code whose checks were tried; `commit` is null where it was no checkout."""

    version: str
    commit: str | None


class Campaign(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Faults planted one at a time with what verify made of each, and runs without a fault; `summary` counts both."""

    schema: Literal[1]
    project: Project
    started: Time
    seconds: Amount
    jobs: Count
    versions: dict[str, str | None]
    sources_sha256: str
    faults: tuple[FaultOutcome, ...]
    clean: tuple[CleanOutcome, ...]
    summary: Summary
    chip: Annotated[str | None, described("the chip that was emulated; absent in files of earlier versions")] = None


class _Head(Struct):
    """The one field that a file of any version has."""

    schema: int


@dataclass(frozen=True)
class Damaged:
    """A run's faults.json that cannot be used, and why: without its path, which a document must not hold."""

    why: Message


class BadCampaignError(ValueError):
    """A text that is no campaign of this version; `why` names the field and what is wrong with it."""

    def __init__(self, why: Message) -> None:
        super().__init__(why)
        self.why = why


def schema() -> str:
    """The text of faults.schema.json, made of the types. After a change of them:

    python -c 'from verify.report import campaign; campaign.SCHEMA_FILE.write_text(campaign.schema())'
    """
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Campaign)}
    return json.dumps(whole, indent=2) + "\n"


def count(faults: Sequence[FaultOutcome], clean: Sequence[CleanOutcome]) -> Summary:
    """The summary of these rows."""
    beyond = [fault for fault in faults if fault.beyond_noise]
    events = [fault for fault in faults if fault.sort == "event"]
    layered = [fault for fault in faults if fault.caught and fault.layer is not None]
    measured = tuple(_measured(faults))
    return Summary(
        cases=len(faults),
        beyond_noise=len(beyond),
        caught=sum(fault.caught for fault in beyond),
        events=len(events),
        events_ended=sum(fault.ended for fault in events),
        single_layer=len(layered),
        named=sum(fault.named is True for fault in layered),
        clean_runs=len(clean),
        false_alarms=sum(bool(run.alarms) for run in clean),
        measured=measured,
        weighted=_weighted(measured),
    )


def _measured(faults: Sequence[FaultOutcome]) -> Iterator[MeasuredClass]:
    for row in load_toml(MEASURED)["class"]:
        of_it = [fault for fault in faults if any(fnmatchcase(fault.family, name) for name in row["families"])]
        beyond = [fault for fault in of_it if fault.beyond_noise]
        if of_it:
            caught = sum(fault.caught for fault in beyond)
            yield MeasuredClass(row["name"], row["share"], len(of_it), len(beyond), caught)


def _weighted(measured: Sequence[MeasuredClass]) -> float | None:
    """The mean of what was caught of each class, by the classes' shares; classes without a case are left out."""
    told = [row for row in measured if row.beyond_noise]
    if not told:
        return None
    return round(sum(row.share * row.caught / row.beyond_noise for row in told) / sum(row.share for row in told), 4)


def parse(text: str) -> Campaign:
    """The campaign that `text`, a faults.json, holds.

    Raises:
        BadCampaignError: it is not JSON, of another version, not as the types have it, or does not add up.
    """
    try:
        version = msgspec.json.decode(text, type=_Head).schema
        if version != SCHEMA:
            raise BadCampaignError(_("schema {required} required, {version} found", required=SCHEMA, version=version))
        campaign = msgspec.json.decode(text, type=Campaign)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = str(error) or type(error).__name__
        problem = problem if len(problem) <= LONGEST else f"{problem[: LONGEST - 1]}…"
        raise BadCampaignError(Message(problem)) from error
    counted = count(campaign.faults, campaign.clean)
    for name in Summary.__struct_fields__:
        total, stated = getattr(counted, name), getattr(campaign.summary, name)
        if total != stated and stated not in ((), None):  # files of before there were weights claim none
            raise BadCampaignError(
                _("summary.{name}: {total} required by the rows, {stated} found", name=name, total=total, stated=stated)
            )
    return campaign


_UNREADABLE = (OSError, UnicodeDecodeError, BadCampaignError)


def _why(error: Exception) -> Message:
    if isinstance(error, BadCampaignError):
        return error.why
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return Message(reason)


def attach(file: Path, folder: Path) -> None:
    """Check a campaign's file and copy it into a run's `folder`, byte for byte.

    Raises:
        RecordError: it cannot be read, or is no campaign of this version.
        StorageError: as `env.atomic.write_text`.
    """
    try:
        text = elsewhere.read_text(file, "campaign")
        parse(text)
    except FileNotFoundError as error:
        raise RecordError(
            _("no fault campaign in {file}", file=str(file)), why=_("there is no such file"), next=MADE_BY
        ) from error
    except _UNREADABLE as error:
        raise RecordError(
            _("{file} is not a fault campaign that can be shown: {why}", file=str(file), why=_why(error)),
            why=_("the file is damaged, or was made by another version of this bundle"),
            next=MADE_BY,
        ) from error
    write_text(folder / FAULTS_FILE, text)


def attached(folder: Path) -> Campaign | Damaged | None:
    """The campaign that stands in a run's folder. As with records, a damaged file is named and no exception."""
    try:
        return parse(elsewhere.read_text(folder / FAULTS_FILE, "campaign", root=folder))
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        return Damaged(_why(error))
