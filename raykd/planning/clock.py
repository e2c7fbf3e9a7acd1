"""Virtual time: things happen in the order of their hour, at no cost."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Clock:
    """What happens when. Things of the same hour happen in the order in which they were arranged."""

    def __init__(self) -> None:
        self.now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, hour: float, action: Callable[[], None]) -> None:
        """Arrange something for an hour (seconds); one that has passed is now."""
        heapq.heappush(self._agenda, (max(hour, self.now), next(self._order), action))

    def run(self) -> None:
        """Let everything happen."""
        while self._agenda:
            self.now, _, action = heapq.heappop(self._agenda)
            action()


class Queue:
    """Somebody who does one thing at a time, such as Tune's controller."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free = 0.0

    def do(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something that takes so long after all that was asked before."""
        self._free = max(self._free, self._clock.now) + seconds
        self._clock.at(self._free, action)
