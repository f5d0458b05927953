"""Text tables for the terminal and for pipes: no colour, no frame, one line a row."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import Box
from rich.console import Console
from rich.table import Table

from env.language import translate
from verify.run.text import one_line

# Nothing but a rule under the headings, in ASCII. Lines: top, head, head row, mid, row, foot row, foot, bottom.
RULED = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
WIDTH = 10_000  # no line is broken: a terminal or a pager folds them as its reader likes


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell on a screen; the first is flush left, the others flush right.

    Headings and cells may be messages.
    """
    grid = Table(box=RULED, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for number, title in enumerate(header):
        grid.add_column(translate(title), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(one_line(translate(cell)) for cell in row))  # a name's line break is none of the table's
    file = io.StringIO()
    # No markup: "[2, 32, 128]" is a shape.
    Console(file=file, width=WIDTH, markup=False, emoji=False, highlight=False, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip("\n").split("\n"))


def number(value: float | None, form: str) -> str:
    """`value` formatted, or a dash where there is none."""
    return "-" if value is None else format(value, form)
