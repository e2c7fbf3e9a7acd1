"""Wide results in terminals: a table without frame, whose first column names the row, and lines that explain it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def show_narrow(
    console: Console, title: str, headings: Iterable[str], rows: Iterable[Iterable[str]], notes: Iterable[str]
) -> None:
    """Print a table, as narrow as it goes, and the notes below it.

    Args:
        console: Where to.
        title: Above the table.
        headings: Of the columns; the first is to the left, the others to the right.
        rows: Their cells.
        notes: A line each.
    """
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    console.print(table, highlight=False)
    for line in notes:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
