"""Wide results in terminals: tables without frame, whose first column names the row, and lines that explain them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def show_narrow(
    console: Console, title: str, headings: Iterable[str], rows: Iterable[Iterable[str]], notes: Iterable[str]
) -> None:
    """Print a table, and the notes below it; columns that do not fit beside the others follow in tables below.

    Args:
        console: Where to.
        title: Above the table.
        headings: Of the columns; the first is to the left, the others to the right.
        rows: Their cells.
        notes: A line each.
    """
    columns = [list(column) for column in zip(headings, *(tuple(cells) for cells in rows), strict=True)]
    for number, part in enumerate(_parts(columns, console.width)):
        table = Table(
            title=None if number else title,
            title_justify="left",
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for place, (heading, *_) in enumerate(part):
            table.add_column(heading, justify="right" if place else "left", overflow="fold")
        for cells in zip(*(column[1:] for column in part), strict=True):
            table.add_row(*cells)
        console.print(table, highlight=False)
    for line in notes:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _parts(columns: Sequence[list[str]], width: int) -> list[list[list[str]]]:
    """The columns of each table, which is no wider than that where its columns allow it; all begin with the first."""
    names, *others = columns
    parts = [[names]]
    for column in others:
        if len(parts[-1]) > 1 and sum(map(_width, [*parts[-1], column])) > width:
            parts.append([names])
        parts[-1].append(column)
    return parts


def _width(column: Iterable[str]) -> int:
    """Columns of the terminal that a column takes, with the space after it."""
    return 1 + max(len(line) for text in column for line in text.split("\n"))
