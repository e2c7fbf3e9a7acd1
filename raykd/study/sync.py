"""The command `raykd sync`: what the end of a run left in its folder is delivered to MLflow."""

from __future__ import annotations

import shlex
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from raykd.config import Experiment, TrackingSettings
from raykd.database_urls import with_absolute_path
from raykd.errors import RaykdError
from raykd.places import LOCK, SETTINGS
from raykd.progress import CountProgress, standard_output
from raykd.results.load import study_folder
from raykd.saved_settings import moved
from raykd.settings_io import load_experiment
from raykd.tracking import ServerAway, Tracker, check_tracking
from raykd.tracking.outbox import FILE, Outbox


def sync(study: str | Path, uri: str | None = None, console: Console | None = None) -> None:
    """Deliver what a run, and the confirms of a study, have not logged to MLflow yet.

    Args:
        study: The folder of a run, or its name below `outputs/`.
        uri: MLflow's tracking URI, if it is another one by now. None: the run's own.
        console: Where progress is shown. None: standard output.

    Raises:
        RaykdError: There is no such run, it was never logged or is being run, its folder cannot be written, or
            something could not be delivered; the error says how much, and why.
    """
    console = console or standard_output()
    folder = study_folder(study)
    folders = [file.parent for file in (folder / FILE, *sorted(folder.glob(f"*/{FILE}"))) if file.exists()]
    if not folders:
        raise RaykdError(f"{folder} has nothing to deliver: the run was never logged to MLflow")
    errors = []
    for each in folders:
        try:
            _sync(each, uri, console)
        except RaykdError as error:
            errors.append(error)
        except OSError as error:
            errors.append(RaykdError(f"{each} cannot be written: {error.strerror or error}"))
    if errors:
        raise errors[0]


def _sync(folder: Path, uri: str | None, console: Console) -> None:
    experiment = moved(load_experiment(folder / SETTINGS, Experiment()), folder)
    settings = experiment.tracking
    if uri is not None:
        settings = settings.model_copy(update={"uri": with_absolute_path(uri, Path.cwd())})
    try:
        with FileLock(folder / LOCK, timeout=0):
            line = _deliver(folder, settings, experiment.study.name, console)
    except Timeout:
        raise RaykdError(
            f"the run in {folder} is under way, and delivers to MLflow itself:\n"
            "wait for its end, which says whether something is left"
        ) from None
    console.print(f"{folder}: {line}", soft_wrap=True, highlight=False, markup=False)


def _deliver(folder: Path, settings: TrackingSettings, name: str, console: Console) -> str:
    """Deliver the outbox of a folder, and return what to tell of it."""
    outbox = Outbox(folder)
    waiting = outbox.waiting
    outbox.close()
    if not waiting:
        return "everything is in MLflow"
    command = f"raykd sync {shlex.quote(str(folder))}"
    try:
        check_tracking(settings)
    except ServerAway as away:
        raise RaykdError(
            f"{_events(waiting)} for MLflow at {away.uri} left in {folder}, but: {away.reason}.\n"
            f"Start the server or name its new address with --uri, then try again: {command}"
        ) from away
    tracker = Tracker(settings, folder, name)
    with CountProgress(console, "MLflow", waiting, "events delivered") as progress:
        left = tracker.close(show=progress.left)
    if left is not None:
        some = f"{left.events:,} of {_events(waiting)}"
        raise RaykdError(
            f"{some} could not be delivered from {folder} to {left.uri}: {left.reason}.\n"
            f"They are kept; when that is mended, try again: {command}"
        )
    return f"{_events(waiting)} delivered; look: {tracker.describe().look}"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"
