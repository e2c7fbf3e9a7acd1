"""Live progress: a bar in a terminal or a notebook with ipywidgets, plain lines elsewhere, as in a job's log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 10.0
"""Least seconds between two lines of progress in a log, not counting the line for each trial that ends."""

LINE_SHARE = 0.02
"""Later, the least time between two lines as a share of the elapsed time: ten hours give some 250 lines, not 3,600."""

LOG_WIDTH = 240
"""Columns of a log, enough for whole paths and wide tables."""


def standard_output() -> Console:
    """A console on standard output; in a job's log, which has no width, lines may have `LOG_WIDTH` columns, not 80."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=LOG_WIDTH)


def _can_draw(console: Console) -> bool:
    """Whether a bar can be drawn there again and again; in a notebook, rich shows nothing without ipywidgets."""
    return _has_widgets() if console.is_jupyter else console.is_terminal


def _has_widgets() -> bool:
    return find_spec("ipywidgets") is not None


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
        self._due = time.monotonic() + patience
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(noun),
            TimeElapsedColumn(),
            console=console,
            disable=not _can_draw(console),
        )
        self._task = self._progress.add_task(title, total=total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def left(self, count: int) -> None:
        """Show that so many are not done yet."""
        done = self._total - count
        self._progress.update(self._task, completed=done)
        if time.monotonic() < self._due:
            return
        if not self._progress.disable:
            self._progress.start()
        else:
            self._console.print(f"{self._title}: {done:,} of {self._total:,} {self._noun}", highlight=False)
            self._due = time.monotonic() + LINE_SECONDS


class RunProgress:
    """Counts epochs towards a total, with a note on the best result so far.

    The remaining epochs of a trial that ends early are taken off the total, so that the time left is right.

    Args:
        console: Where progress is printed.
        title: Name of the job.
        epochs: Epochs to come, of all networks together.
        trials: Number of trials to which the epochs belong. None: a single network.
        noun: What to call the trials.
        held_out: The split on which accuracy is measured.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        epochs: int,
        trials: int | None = None,
        noun: str = "trials",
        held_out: str = "validation",
    ) -> None:
        self._console = console
        self._title = title
        self._trials = trials
        self._noun = noun
        self._metric = f"{held_out}_accuracy"
        self._ended = 0
        self._best: tuple[float, str] | None = None
        self._began = self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epochs{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not _can_draw(console),
        )
        self._task = self._progress.add_task(title, total=epochs, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def epoch(self, name: str, metrics: Mapping[str, float]) -> None:
        """Count one epoch of one network.

        Args:
            name: Of the network.
            metrics: Of the epoch, with the accuracy on the held-out split.
        """
        self._progress.advance(self._task)
        if self._trials is None:
            self._keep_best(name, metrics[self._metric])
        self._show()
        if self._progress.disable and self._line_is_due():
            accuracy = f"{metrics[self._metric]:.2%}"
            self._line(accuracy if self._trials is None else f"{name} at {accuracy}")

    def end_trial(self, name: str, state: str, epochs: int, of: int, accuracy: float | None) -> None:
        """Count a trial that ended; only a finished one can be the best.

        Args:
            name: Of the trial.
            state: How it ended; the best is chosen among trials with the state "finished".
            epochs: How many it has had.
            of: How many it was to have.
            accuracy: Its last. None: it has none.
        """
        self._ended += 1
        total = self._progress.tasks[self._task].total
        self._progress.update(self._task, total=(total or 0) - (of - epochs))
        if accuracy is not None and state == "finished":
            self._keep_best(name, accuracy)
        self._show()
        if self._progress.disable:
            self._line(f"{name} {state} after {epochs} of {of} epochs" + (f" at {accuracy:.2%}" if accuracy else ""))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _keep_best(self, name: str, accuracy: float) -> None:
        if self._best is None or accuracy > self._best[0]:
            self._best = (accuracy, name)

    def _note(self) -> str:
        trials = f", {self._ended}/{self._trials} {self._noun}" if self._trials is not None else ""
        best = ""
        if self._best is not None:
            accuracy, name = self._best
            best = f", best {accuracy:.2%}" + (f" ({name})" if self._trials is not None else "")
        return trials + best

    def _line_is_due(self) -> bool:
        now = time.monotonic()
        return now - self._last_line > max(LINE_SECONDS, LINE_SHARE * (now - self._began))

    def _show(self) -> None:
        self._progress.update(self._task, note=self._note())

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        task = self._progress.tasks[self._task]
        left = task.time_remaining
        time_left = f", about {left / 60:.1f} min left" if left else ""
        self._console.print(
            f"{self._title}: {text} | {task.completed:.0f}/{task.total:.0f} epochs{self._note()}{time_left}",
            highlight=False,
            soft_wrap=True,
        )
