"""Notices that a worker hangs, and ends it: Ray Train restarts the classroom, and its students go on.

That a process lives says nothing: its heartbeat comes from a thread of its own. What counts is its steps, see
`raykd.training.watch`. Where not even a thread runs, as in a process that is stopped, Ray Train's own health check
fails, see `HEALTH_CHECK_TIMEOUT`.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from raykd.training.messages import Fault
from raykd.training.watch import Watch

LOOK_SECONDS = 5.0
"""How often the watchdog looks, at the most."""

LOOKS = 4
"""How often it looks, at least, within the shortest time that it allows."""

STANDARD_ERROR = 2
"""Its file descriptor."""

HEALTH_CHECK_TIMEOUT = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
"""Ray Train's variable: how long a worker may not answer at all."""

HEALTH_CHECKS = 2
"""How many times `cluster.stall_seconds` that is: by default Ray Train's own ten minutes."""


class Watchdog:
    """Looks whether a worker moves.

    It counts the seconds that it has slept itself, not those of a clock: while the process is stopped, or gets no time
    on a busy machine, none go by.

    Args:
        watch: What the worker is at.
        seconds: `cluster.stall_seconds`.
        on_stall: Told of a worker that has not moved for too long.
        thread: The thread that works, by its identifier.
    """

    def __init__(self, watch: Watch, seconds: float, on_stall: Callable[[Fault], None], thread: int) -> None:
        self._watch = watch
        self._seconds = seconds
        self._on_stall = on_stall
        self._thread = thread
        self._steps = -1
        self._still = 0.0

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        return min(LOOK_SECONDS, self._seconds / LOOKS)

    def run(self) -> None:
        """Look again and again, as long as the process lives."""
        while True:
            time.sleep(self.pause)
            self.look(self.pause)

    def look(self, slept: float) -> None:
        """Look once, so many seconds after the last time."""
        watch = self._watch
        if not watch.working or watch.steps != self._steps:
            self._steps, self._still = watch.steps, 0.0
            return
        self._still += slept
        if self._still > watch.limit(self._seconds):
            reason = f"nothing has moved for {self._still:.0f} s{self._place()} (cluster.stall_seconds)"
            self._steps = -1
            self._on_stall(Fault(reason, watch.tickets))

    def _place(self) -> str:
        """Where the working thread is, in words."""
        frame = sys._current_frames().get(self._thread)
        return f" in {frame.f_code.co_name}, {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""


def start_watchdog(watch: Watch, seconds: float, tell: Callable[[Fault], None]) -> None:
    """Watch the calling thread from another; a worker that hangs tells why, waits for the others to do so, and ends."""

    def end(fault: Fault) -> None:
        tell(fault)
        with suppress(OSError):
            faulthandler.dump_traceback(STANDARD_ERROR)  # which is the worker's log
        # Workers hang together, in an exchange of gradients: whom all of them suspect is known when all have spoken.
        time.sleep(2 * watchdog.pause)
        os._exit(1)

    watchdog = Watchdog(watch, seconds, end, threading.get_ident())
    threading.Thread(target=watchdog.run, name="watchdog", daemon=True).start()
