"""A line of progress that fits the terminal: totals and the time left are never cut, all else gives way to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NARROWEST_BAR, WIDEST_BAR = 8, 24
SHORTEST_TITLE = 8
"""Letters of a title that are shown at least, the last of them as an ellipsis."""


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them, such as "5.0 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def clock(seconds: float) -> str:
    """Seconds as 0:01:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


@dataclass(frozen=True)
class Line:
    """The parts of a line, in their order: title, bar, then counts, note, left and since, with commas between.

    - title: what is done; shortened last of all
    - counts: what is done of how much, never cut
    - note: what is given up before the bar becomes narrower than `NARROWEST_BAR`, where it stands between two others
    - left: the time left, or what is waited for; never cut
    - since: how long it takes already; given up first
    """

    title: str
    counts: str
    note: str = ""
    left: str = ""
    since: str = ""

    def fitted(self, width: int) -> tuple[str, int, str]:
        """The title, the columns of the bar (0: none), and the rest, which fit into so many columns with two spaces.

        Where even counts and time left are longer than that, they are whole all the same.
        """
        for rest in self._rests():
            bar = width - len(self.title) - len(rest) - 2
            if bar >= NARROWEST_BAR:
                return self.title, min(bar, WIDEST_BAR), rest
        for rest in self._rests():
            if len(self.title) + 1 + len(rest) <= width:
                return self.title, 0, rest
        room = max(width - len(rest) - 1, SHORTEST_TITLE)
        title = self.title if len(self.title) <= room else self.title[: room - 1] + "…"
        return title, 0, rest

    def text(self, width: int) -> str:
        """The line of a log, without a bar: so many columns, or what cannot be left out."""
        texts = [f"{self.title} {rest}" for rest in self._rests()]
        return next((text for text in texts if len(text) <= width), texts[-1])

    def _rests(self) -> Sequence[str]:
        """The rest of the line, from the longest to the shortest form."""
        forms = [(self.counts, self.note, self.left, self.since), (self.counts, self.note, self.left)]
        return [", ".join(filter(None, form)) for form in (*forms, (self.counts, self.left))]
