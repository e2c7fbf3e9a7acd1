"""What a worker is at: by this it is noticed that one hangs, and known whose code it hangs in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

BATCHES = 20
"""A batch may take this many times as long as the slowest one of its epoch before it, however short these were."""

MEASURED = 3
"""So many batches of an epoch, after its first, tell how long the whole epoch takes."""

FIRST = 6
"""All else may take this many times as long as a batch: loading, compiling, first batches, evaluating, saving."""


class Watch:
    """A worker's steps, as it goes from one to the next; another thread looks at them.

    Args:
        clock: A monotonic time in seconds.

    Attributes:
        working: Whether it is at work; else it waits for commands, as long as it may be.
        steps: How many steps have begun so far. While the number stays the same, nothing moves.
        tickets: The students whose own code the present step runs; empty: it is none's, such as reading images. An
            error leaves them as they are.
        epoch_seconds: What the present epoch's batches take, by those that are over; None while that is unknown.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._slowest: float | None = None
        self.working = False
        self.steps = 0
        self.tickets: tuple[str, ...] = ()
        self.epoch_seconds: float | None = None

    def begin(self) -> None:
        """Work begins."""
        self._slowest = None
        self.at()
        self.working = True

    def end(self) -> None:
        """There is nothing to do until the next commands come."""
        self.working = False
        # The next epoch may be of other students.
        self.epoch_seconds = None

    def at(self, *tickets: str) -> None:
        """A step begins, in these students' own code."""
        self.tickets = tickets
        self.steps += 1

    def each(self, batches: Iterable[T], epoch: int | None = None) -> Iterator[T]:
        """The same batches; from the third on, those before tell how long one may take.

        Args:
            batches: Any.
            epoch: How many they are, if they are those of an epoch.
        """
        first: float | None = None
        began = 0.0
        try:
            for number, batch in enumerate(batches):
                self.at()
                yield batch
                now = self._clock()
                # The first one may compile, choose algorithms, or start processes.
                if first is None:
                    first = now
                else:
                    self._slowest = max(now - began, self._slowest or 0.0)
                    if epoch is not None and number >= MEASURED:
                        self.epoch_seconds = (now - first) / number * epoch
                began = now
                self.at()
        finally:
            self._slowest = None

    def limit(self, seconds: float) -> float:
        """How many seconds the present step may take.

        Args:
            seconds: What a batch may take at least.
        """
        return FIRST * seconds if self._slowest is None else max(seconds, BATCHES * self._slowest)
