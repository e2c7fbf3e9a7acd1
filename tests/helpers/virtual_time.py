"""Time that passes only where a test waits for it: nothing depends on how busy the machine is."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class VirtualClock:
    """A clock and a sleep for functions that take both."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class _SkippingSelector(selectors.DefaultSelector):
    """Moves the clock on where an event loop would wait."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits, and none for a time")
        self._clock.sleep(timeout)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual_clock = VirtualClock()
        super().__init__(_SkippingSelector(self._virtual_clock))

    def time(self) -> float:
        return self._virtual_clock.now


def run_in_virtual_time(story: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` with a loop whose time passes only while every task waits."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        runner.run(story)
