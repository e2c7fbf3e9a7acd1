"""Where progress is shown: a terminal or notebook, in which a line can be redrawn, or a log, which only grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.markup import escape

LOG_WIDTH = 240
"""Columns of a log, enough for whole paths and commands."""


def standard_output() -> Console:
    """A console on standard output; in a job's log, which has no width, lines may have `LOG_WIDTH` columns, not 80."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=LOG_WIDTH)


def can_draw(console: Console) -> bool:
    """Whether a line can be drawn there again and again; in a notebook, rich shows nothing without ipywidgets."""
    return has_widgets() if console.is_jupyter else console.is_terminal


def has_widgets() -> bool:
    """Whether a notebook can show what changes."""
    return find_spec("ipywidgets") is not None


@contextmanager
def working(console: Console, text: str) -> Iterator[None]:
    """Say in a terminal what is being done, as long as it takes; a log has no word of what may yet be refused.

    Args:
        console: Where it is shown.
        text: What is done, such as "starting Ray".
    """
    if can_draw(console):
        with console.status(escape(text)):
            yield
    else:
        yield
