"""What a campaign's log says in the end, compared whole."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from verify.faults.cases import Case
from verify.faults.clean import CleanSeed
from verify.faults.run import Job, Row
from verify.faults.screen import Screen, line
from verify.report.campaign import Campaign, CleanOutcome, FaultOutcome, Project, count

SEEN = FaultOutcome(
    id="a zeroed head encoder.layers.1.attn",
    family="a zeroed head of the encoder",
    what="the second head gives zeros",
    on="npu",
    emulated=True,
    layer="encoder.layers.1.attn",
    sort="number",
    effect=40.0,
    beyond_noise=True,
    caught=True,
    check="parity",
    level=2,
    reason="encoder: rel_l2 0.3",
    named=True,
    named_layer="encoder.layers.1.attn",
    seconds=2.5,
    records=14,
    documents=False,
    verdict="failed",
    missed_because=None,
)
FAULTS = (
    SEEN,
    replace(SEEN, id="another", check="layers", named=False, named_layer=None, seconds=4.0),
    replace(SEEN, id="on a CPU", on="cpu", emulated=False, layer=None, named=None, seconds=1.0),
    replace(
        SEEN, id="a stale cache", family="cache not updated on one step", layer=None, caught=False, check=None,
        level=None, named=None, named_layer=None, seconds=None, effect=3.0, missed_because="not explained",
    ),
    replace(
        SEEN, id="device lost", family="device lost", sort="event", layer=None, effect=None, beyond_noise=None,
        check="generate", named=None, named_layer=None, seconds=0.9, documents=True,
    ),
)  # fmt: skip
CLEAN = (
    CleanOutcome("synthetic:tiny", 2, "bfloat16", "cpu", (), "", 13, 20.0),
    CleanOutcome("synthetic:tiny", 2, "float16", "cpu", ("parity", "layers"), "parity: projector\nand more", 11, 3.0),
)
PRINTED = """\
fault                          on   cases  beyond noise  caught  level  first seen by       layer named  median s
a zeroed head of the encoder   npu  2      2             2       2      parity 1, layers 1  1 of 2       3.2
a zeroed head of the encoder   cpu  1      1             1       2      parity 1            -            1.0
cache not updated on one step  npu  1      1             0                                  -            -
device lost                    npu  1      0             0       2      generate 1          -            0.9
missed: a stale cache: not explained (effect 3.0)
false alarm: synthetic:tiny, seed 2, float16: parity: projector
values set to zero (50.7 % of measured corruption): 3 of 3 beyond noise caught, 3 planted
weighted by these shares: 100.0 % of silent corruption beyond noise caught
3 of 4 wrong numbers beyond noise caught; 1 of 1 crashes and hangs ended as records and documents; \
layer named right in 1 of 2; 1 false alarms in 2 clean runs
"""


CAMPAIGN = Campaign(
    1, Project("0.1.0", "c40b5c8f2d1e"), "2026-08-01T10:00:00Z", 60.0, 2, {}, "", FAULTS, CLEAN, count(FAULTS, CLEAN)
)


def test_a_log_has_a_line_a_family_and_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(0) as screen:
        screen.show(CAMPAIGN)
    assert "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines()) == PRINTED


CASE = Case("a case", "a family", "something", "npu", ())
SEED = CleanSeed("synthetic:tiny", 2)


@pytest.mark.parametrize(
    ("job", "row", "printed"),
    [
        (CASE, replace(SEEN, named=None), "caught  a case  parity, 2.5 s"),
        (CASE, SEEN, "caught  a case  parity, 2.5 s  layer named"),
        (CASE, replace(SEEN, named=False, named_layer="projector"),
         "caught  a case  parity, 2.5 s  names projector, not encoder.layers.1.attn"),
        (CASE, replace(SEEN, caught=False), "MISSED  a case  effect 40.0"),
        (CASE, replace(SEEN, caught=False, effect=None, beyond_noise=None), "MISSED  a case  effect None"),
        (CASE, replace(SEEN, caught=False, effect=0.123, beyond_noise=False),
         "below   a case  moves outputs by 0.12 of the dtype's own noise"),
        (SEED, CLEAN[:1], "clean   clean synthetic:tiny seed 2"),
        (SEED, CLEAN, "ALARM   clean synthetic:tiny seed 2  float16: parity: projector"),
    ],
)  # fmt: skip
def test_a_job_that_ended_is_one_line(job: Job, row: Row, printed: str) -> None:
    assert line(job, row) == printed
