"""What a campaign's log says in the end, compared whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verify.faults.screen import Screen
from verify.report.campaign import Clean, Fault, count

SEEN = Fault(
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
FAULTS = [
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
]  # fmt: skip
CLEAN = [
    Clean("synthetic:tiny", 2, "bfloat16", "cpu", (), "", 13, 20.0),
    Clean("synthetic:tiny", 2, "float16", "cpu", ("parity", "layers"), "parity: projector\nand more", 11, 3.0),
]
SAID = """\
fault                          on   cases  beyond noise  caught  level  first seen by       layer named  median s
a zeroed head of the encoder   npu  2      2             2       2      parity 1, layers 1  1 of 2       3.2
a zeroed head of the encoder   cpu  1      1             1       2      parity 1            -            1.0
cache not updated on one step  npu  1      1             0                                  -            -
device lost                    npu  1      0             0       2      generate 1          -            0.9
missed: a stale cache: not explained (effect 3.0)
false alarm: synthetic:tiny, seed 2, float16: parity: projector
3 of 4 wrong numbers beyond noise caught; 1 of 1 crashes and hangs ended as records and documents; \
layer named right in 1 of 2; 1 false alarms in 2 clean runs
"""


def test_a_log_has_a_line_a_family_and_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(0) as screen:
        screen.show(FAULTS, CLEAN, count(FAULTS, CLEAN))
    assert "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines()) == SAID
