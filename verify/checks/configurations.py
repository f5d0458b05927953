"""Level 2: the lengths, batches, caches, attentions, dtypes and switches that break in the field."""

from __future__ import annotations

from model import components
from model.components import DTYPES
from model.reference import Reference
from verify import configurations as rows_of
from verify.configurations import Pair
from verify.context import Context
from verify.records import Outcome, Status
from verify.subject import (
    is_small,
    signature,
    the_checkpoint,
    the_device,
    the_expected,
    the_inputs,
    the_model,
    the_small,
)

FULL_FROM_LEVEL = 3


def configurations(context: Context) -> Outcome:
    """Every configuration agrees with the reference; what padding does to a shorter row is reported."""
    small = the_small(context)
    loaded, checkpoint = the_model(small), the_checkpoint(small)
    others = [components.load(checkpoint, the_device(small), dtype) for dtype in DTYPES if dtype != loaded.dtype]
    pair = Pair(loaded, Reference(checkpoint, "float64"), context.seed)
    full = context.level >= FULL_FROM_LEVEL
    rows = rows_of.measure(pair, others, the_expected(small), the_inputs(small), full=full)
    if full and not is_small(context):
        rows += rows_of.siblings(the_model(context), the_inputs(context))
    data = {"rows": [row.as_json() for row in rows]}
    wrong = [row.said for row in rows if not row.passed]
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, signature(small))
    judged = [row for row in rows if row.limit is not None]
    return Outcome(Status.PASS, f"{len(judged)} configurations as the reference has them", data, signature(small))
