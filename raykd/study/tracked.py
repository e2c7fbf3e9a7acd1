"""A run's tracker from its start to its end, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.tracking import Tracker


@contextmanager
def tracked(experiment: Experiment, folder: Path, console: Console) -> Iterator[Tracker]:
    """Open the tracker of a run; end its parent run as the run ends, and say what could not be delivered.

    Raises:
        RaykdError: the run was interrupted.
    """
    tracker = Tracker(experiment.tracking, folder, experiment.study.name)
    try:
        yield tracker
        tracker.end_study("finished")
    except KeyboardInterrupt:
        tracker.end_study("interrupted")
        raise RaykdError("interrupted; nothing is lost: the same command with --resume goes on") from None
    except BaseException:
        tracker.end_study("failed")
        raise
    finally:
        if undelivered := tracker.close():
            console.print(f"MLflow: {undelivered}", soft_wrap=True, highlight=False)
