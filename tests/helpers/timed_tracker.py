"""A tracker whose calls are timed: none may hold a study up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from raykd.tracking import Tracker


class Timed:
    """A tracker whose slowest call is measured."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.slowest = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.monotonic()
            result = getattr(self.tracker, name)(*arguments, **named)
            self.slowest = max(self.slowest, time.monotonic() - start)
            return result

        return call
