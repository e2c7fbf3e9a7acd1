"""Progress of networks in training: one, or many at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from rich.console import Console

from raykd.progress.bar import Bar
from raykd.progress.console import can_draw
from raykd.progress.line import Line, clock, duration
from raykd.progress.time_left import TimeLeft

LINE_SECONDS = 10.0
"""Least seconds between two lines of progress in a log, not counting the line for each trial that ends."""

LINE_SHARE = 0.02
"""Later, the least time between two lines as a share of the elapsed time: ten hours give some 250 lines, not 3,600."""

LINE_WIDTH = 80
"""Columns of a log's lines; names may make one longer, but nothing is cut."""

ASK_SECONDS = 1.0
"""How often is asked what a run waits for, before its first epoch."""

LONG_SECONDS = 120.0
"""Of a run so long it is said in a line of its own, as soon as that is known."""


@dataclass(frozen=True)
class Start:
    """A run before its first epoch.

    - waits_for: such as "waiting for worker processes"
    - epoch_seconds: what the first epoch takes, by its batches so far; None while that is unknown
    - epochs_per_second: of all networks together
    """

    waits_for: str
    epoch_seconds: float | None = None
    epochs_per_second: float = 0.0


Awaited: TypeAlias = Callable[[], Start]
"""Says how far a run is before its first epoch."""


class RunProgress:
    """Counts epochs towards a total, with the best result so far and the time left.

    Before the first epoch it says what is waited for, then how long the run takes by that epoch's batches so far. The
    remaining epochs of a trial that ends early are taken off the total; the time left expects as much of those to come.

    Args:
        console: Where progress is printed.
        title: Name of the job.
        epochs: Epochs to come, of all networks together.
        trials: Number of trials to which the epochs belong. None: a single network.
        noun: What to call the trials.
        held_out: The split on which accuracy is measured.
        awaited: What is waited for before the first epoch.
        afterwards: Epochs of what comes after this, by name; a long run says how long that takes as well.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        epochs: int,
        trials: int | None = None,
        noun: str = "trials",
        held_out: str = "validation",
        awaited: Awaited | None = None,
        afterwards: Mapping[str, int] | None = None,
    ) -> None:
        self._console = console
        self._title = title
        self._epochs, self._done = epochs, 0
        self._trials, self._ended = trials, 0
        self._noun = noun
        self._metric = f"{held_out}_accuracy"
        self._awaited = awaited
        self._afterwards = dict(afterwards or {})
        self._best: tuple[float, str] | None = None
        self._time = TimeLeft(trials or 1, epochs)
        self._began = self._last_line = time.monotonic()
        self._waits_for = "waiting for the first epoch" if awaited is None else "waiting for processes"
        self._over = threading.Event()
        self._lock = threading.RLock()
        self._draws = can_draw(console)
        self._bar = Bar(console, self._drawn)

    def __enter__(self) -> Self:
        self._bar.start()
        if self._awaited is None:
            self._tell_start(Start(self._waits_for))
        threading.Thread(target=self._follow_start, name="start of a run", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._bar.stop()

    def epoch(self, name: str, metrics: Mapping[str, float]) -> None:
        """Count one epoch of one network.

        Args:
            name: Of the network.
            metrics: Of the epoch, with the accuracy on the held-out split.
        """
        now = time.monotonic()
        with self._lock:
            self._done += 1
            self._time.epoch(name, now, metrics.get("seconds"))
            if self._trials is None:
                self._keep_best(name, metrics[self._metric])
        if not self._draws and self._line_is_due(now):
            accuracy = f"{metrics[self._metric]:.2%}"
            reached = accuracy if self._trials is None else f"{name} at {accuracy}"
            self._print(self._line(now, f"{self._title}: {reached} |"))

    def end_trial(self, name: str, state: str, epochs: int, of: int, accuracy: float | None) -> None:
        """Count a trial that ended; only a finished one can be the best.

        Args:
            name: Of the trial.
            state: How it ended; the best is chosen among trials with the state "finished".
            epochs: How many it has had.
            of: How many it was to have.
            accuracy: Its last. None: it has none.
        """
        with self._lock:
            self._ended += 1
            self._epochs -= of - epochs
            self._time.end(name)
            if accuracy is not None and state == "finished":
                self._keep_best(name, accuracy)
        if not self._draws:
            after = "" if state == "finished" else f" after epoch {epochs}"
            reached = "" if accuracy is None else f" at {accuracy:.2%}"
            self._print(self._line(time.monotonic(), f"{name} {state}{after}{reached} |", ended=True))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _keep_best(self, name: str, accuracy: float) -> None:
        if self._best is None or accuracy > self._best[0]:
            self._best = (accuracy, name)

    def _drawn(self) -> tuple[Line, float]:
        return self._line(time.monotonic()), self._done / self._epochs if self._epochs else 1.0

    def _line(self, now: float, event: str | None = None, ended: bool = False) -> Line:
        """All that is known now.

        Args:
            now: In seconds.
            event: What has just happened, in a log, instead of the title.
            ended: It is the end of a trial: the epochs are left out.
        """
        with self._lock:
            trials = "" if self._trials is None else f"{self._ended}/{self._trials} {self._noun}"
            counts = trials if ended else f"{self._done}/{self._epochs} epochs" + (trials and f", {trials}")
            if not self._done and not ended:
                left = self._left(now) or self._waits_for
                return Line(self._title, counts, left=left, since=clock(now - self._began))
            note = "" if self._best is None else f"best {self._best[0]:.2%}"
            left = self._left(now) if self._done < self._epochs else ""
            # A log has times of its own.
            return Line(event or self._title, counts, note, left, "" if event else clock(now - self._began))

    def _left(self, now: float) -> str:
        """The time left, as it is shown; empty while nothing is known."""
        seconds = self._time.seconds(now)
        return "" if seconds is None else f"{duration(seconds)} left"

    def _follow_start(self) -> None:
        """Ask what is waited for until the first epoch is there, and say once if this takes long."""
        told = False
        while not (self._over.is_set() or (told and self._done)):
            if not self._done and self._awaited is not None:
                # Where nobody can say it, as the cluster is going down, what was said last stays.
                with suppress(Exception):
                    self._tell_start(self._awaited())
            told = told or self._tell_whole_time()
            self._over.wait(ASK_SECONDS)

    def _tell_whole_time(self) -> bool:
        """Say how long this takes if that is long; whether it is known yet."""
        now = time.monotonic()
        with self._lock:
            seconds = self._time.seconds(now)
            times = {name: self._time.for_epochs(epochs, now) for name, epochs in self._afterwards.items()}
        if seconds is None:
            return self._done >= self._epochs
        if seconds >= LONG_SECONDS:
            later = "".join(f", then {duration(rest)} for the {name}" for name, rest in times.items() if rest)
            self.say(f"{self._title}: about {duration(seconds)} at this pace{later}")
        return True

    def _tell_start(self, start: Start) -> None:
        new = start.waits_for != self._waits_for or self._last_line == self._began
        self._waits_for = start.waits_for
        now = time.monotonic()
        with self._lock:
            if start.epoch_seconds is not None and not self._done:
                self._time.expect(start.epoch_seconds, start.epochs_per_second, now)
        if not self._draws and not self._done and not self._over.is_set() and (new or self._line_is_due(now)):
            self._print(self._line(now))

    def _line_is_due(self, now: float) -> bool:
        return now - self._last_line > max(LINE_SECONDS, LINE_SHARE * (now - self._began))

    def _print(self, line: Line) -> None:
        self._last_line = time.monotonic()
        self._console.print(line.text(LINE_WIDTH), highlight=False, markup=False, soft_wrap=True)
