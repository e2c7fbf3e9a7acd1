"""The MLflow run of a study that lies in a folder, for runs that follow it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from raykd.config import TrackingSettings
from raykd.tracking.place import quiet, reason, short_calls, tracking_uri

log = logging.getLogger("raykd.tracking")


def tag_study(settings: TrackingSettings, folder: Path, study: str, tags: Mapping[str, str]) -> str | None:
    """Set tags of a study's parent run, and return the run's id.

    Args:
        settings: Where the study is logged.
        folder: The study's.
        study: Its name.
        tags: By name.

    Returns:
        The run's id. None if there is no such run, or the server does not answer, which the log tells.
    """
    try:
        with (folder / "mlflow_outbox.jsonl").open(encoding="utf-8") as file:
            outbox = json.loads(file.readline())["outbox"]
        with quiet(), short_calls(settings.timeout_seconds):
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=tracking_uri(settings, folder))
            experiment = client.get_experiment_by_name(settings.experiment or study)
            places = [] if experiment is None else [experiment.experiment_id]
            runs = client.search_runs(places, f"tags.`raykd.outbox` = '{outbox}'", max_results=1) if places else []
            for run in runs:
                for name, value in tags.items():
                    client.set_tag(run.info.run_id, name, value)
                return str(run.info.run_id)
            log.warning("the run of study %s is not in MLflow, so it cannot be linked", study)
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
        Whether they are logged. If not, the log tells why.
    """
    run = tag_study(settings, folder, study, {})
    if run is None:
        return False
    try:
        with quiet(), short_calls(settings.timeout_seconds):
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=tracking_uri(settings, folder))
            for file in files:
                client.log_artifact(run, str(file), below)
    except Exception as error:
        log.warning("the files of study %s cannot be logged: %s", study, reason(error))
        return False
    return True
