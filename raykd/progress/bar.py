"""The line that is redrawn in a terminal, with a bar where there is room for one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raykd.progress.console import can_draw
from raykd.progress.line import Line

PER_SECOND = 4.0
"""How often the line is redrawn."""


class Bar:
    """Redraws a line again and again between `start` and `stop`, as wide as the terminal is by then.

    Args:
        console: Where; nothing is shown where nothing can be redrawn.
        line: Gives the line as it is now, and what share of the work is done.
    """

    def __init__(self, console: Console, line: Callable[[], tuple[Line, float]]) -> None:
        self._line = line
        self._live = Live(self, console=console, refresh_per_second=PER_SECOND) if can_draw(console) else None

    def start(self) -> None:
        """Show it, if it is not shown yet."""
        if self._live is not None:
            self._live.start(refresh=True)

    def stop(self) -> None:
        """Leave it as it is now."""
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line, share = self._line()
        title, bar, rest = line.fitted(options.max_width)
        row = Table.grid(padding=(0, 1, 0, 0))
        parts: list[RenderableType] = [Text(title), Text(rest)]
        if bar:
            parts.insert(1, ProgressBar(total=1.0, completed=share, width=bar))
        for _ in parts:
            row.add_column(no_wrap=True)
        row.add_row(*parts)
        yield row
