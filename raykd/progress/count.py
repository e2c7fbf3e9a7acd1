"""Progress of things that are counted, such as files that are sent."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console

from raykd.progress.bar import Bar
from raykd.progress.console import can_draw
from raykd.progress.line import Line, clock

LINE_SECONDS = 10.0
"""Least seconds between two lines in a log."""


class CountProgress:
    """Counts things that are done, of a number that is known: a bar in a terminal, a line now and then elsewhere.

    Nothing is shown of what takes no longer than `patience`.

    Args:
        console: Where it is shown.
        title: What is done.
        total: Number of the things.
        noun: What to call them.
        patience: Seconds.
    """

    def __init__(self, console: Console, title: str, total: int, noun: str, patience: float = 0.0) -> None:
        self._console = console
        self._title, self._total, self._noun = title, total, noun
        self._done = 0
        self._began = time.monotonic()
        self._due = self._began + patience
        self._bar = Bar(console, self._line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def left(self, count: int) -> None:
        """Show that so many are not done yet."""
        self._done = self._total - count
        if time.monotonic() < self._due:
            return
        if can_draw(self._console):
            self._bar.start()
        else:
            line = f"{self._title}: {self._done:,} of {self._total:,} {self._noun}"
            self._console.print(line, highlight=False, soft_wrap=True)
            self._due = time.monotonic() + LINE_SECONDS

    def _line(self) -> tuple[Line, float]:
        counts = f"{self._done:,}/{self._total:,} {self._noun}"
        share = self._done / self._total if self._total else 1.0
        return Line(self._title, counts, since=clock(time.monotonic() - self._began)), share
