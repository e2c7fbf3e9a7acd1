"""A run's tracker of MLflow: opened with the run, closed with it, and what it could not deliver is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from raykd.cluster.client import RunEnded
from raykd.config import Experiment, TrackingSettings
from raykd.errors import RaykdError, StorageError
from raykd.progress import CountProgress
from raykd.tracking import ServerAway, Tracker, check_tracking

BRIEF_SECONDS = 3.0
"""What MLflow takes no longer for in the end is not told of."""


def check_mlflow(settings: TrackingSettings, console: Console) -> None:
    """Refuse an address that cannot be right; a server that is away is only told of, unless it is required."""
    try:
        check_tracking(settings)
    except ServerAway as away:
        if settings.required:
            raise
        _print(
            console,
            f"MLflow at {away.uri}: {away.reason}. The run starts, and sends what it has to log when the server is "
            "there; --tracking.required would refuse to start.",
        )


@contextmanager
def run_tracker(experiment: Experiment, console: Console) -> Iterator[Tracker]:
    """The run's tracker; its parent run ends as the run ends, and what could not be delivered is said."""
    tracker = Tracker(experiment.tracking, experiment.folder, experiment.study.name)
    try:
        yield tracker
        tracker.end_study("finished")
    except StorageError:
        tracker.end_study("interrupted")
        raise
    except (KeyboardInterrupt, RunEnded):
        tracker.end_study("interrupted")
        raise RaykdError("interrupted; nothing is lost: the same command with --resume goes on") from None
    except BaseException:
        tracker.end_study("failed")
        raise
    finally:
        title = "MLflow (Ctrl-C stops waiting)"
        with CountProgress(console, title, tracker.waiting, "events sent", BRIEF_SECONDS) as progress:
            undelivered = tracker.close(show=progress.left)
        if undelivered:
            _print(console, f"MLflow: {undelivered}")


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
