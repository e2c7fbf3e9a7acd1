"""The MLflow run of a study that lies in a folder, for runs that follow it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.config import TrackingSettings
from raykd.places import LOCK
from raykd.tracking.address import quiet, reason, short_calls, tracking_uri
from raykd.tracking.moved_artifacts import artifacts_follow
from raykd.tracking.outbox import outbox_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger("raykd.tracking")


def tag_study(settings: TrackingSettings, folder: Path, study: str, tags: Mapping[str, str]) -> str | None:
    """Set tags of a study's parent run, and return the run's id.

    Args:
        settings: Where the study is logged.
        folder: The study's.
        study: Its name.
        tags: By name.

    Returns:
        The run's id. None if there is no such run, or the server does not answer; the log then says which.
    """
    try:
        with quiet(), short_calls(settings.timeout_seconds):
            client, run = _client_and_run(settings, folder, study)
            if run is None:
                log.warning("the run of study %s is not in MLflow, so it cannot be linked", study)
                return None
            for name, value in tags.items():
                client.set_tag(run.info.run_id, name, value)
            return str(run.info.run_id)
    except Exception as error:
        log.warning("the run of study %s cannot be linked: %s", study, reason(error))
        return None


def log_files(settings: TrackingSettings, folder: Path, study: str, files: Iterable[Path], below: str) -> bool:
    """Log files as artifacts of a study's parent run; those of the same names there are replaced.

    Args:
        settings: Where the study is logged.
        folder: The study's.
        study: Its name.
        files: What is logged.
        below: Folder of the artifacts.

    Returns:
        Whether they are logged. If not, the log says why.
    """
    if not artifacts_follow(tracking_uri(settings, folder), folder / LOCK):
        return False
    try:
        with quiet(), short_calls(settings.timeout_seconds):
            client, run = _client_and_run(settings, folder, study)
            if run is None:
                log.warning("the run of study %s is not in MLflow, so it cannot be linked", study)
                return False
            for file in files:
                client.log_artifact(run.info.run_id, str(file), below)
    except Exception as error:
        log.warning("the files of study %s cannot be logged: %s", study, reason(error))
        return False
    return True


def parent_run(client: MlflowClient, settings: TrackingSettings, folder: Path, study: str) -> Run | None:
    """A study's parent run, or None if it is not there.

    Args:
        client: Of the server or database that the study is logged to.
        settings: The study's.
        folder: The study's.
        study: Its name.

    Raises:
        RaykdError: The study was never logged, or its outbox is damaged.
        Exception: The server does not answer.
    """
    experiment = client.get_experiment_by_name(settings.experiment or study)
    query = f"tags.`raykd.outbox` = '{outbox_id(folder)}'"
    runs = client.search_runs([experiment.experiment_id], query, max_results=1) if experiment else []
    return next(iter(runs), None)


def _client_and_run(settings: TrackingSettings, folder: Path, study: str) -> tuple[MlflowClient, Run | None]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(settings, folder))
    return client, parent_run(client, settings, folder, study)
