"""What MLflow has of one trial, read back."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raykd.config import TrackingSettings
from raykd.database_urls import hide_password
from raykd.errors import RaykdError
from raykd.tracking.address import check_tracking, quiet, reason, short_calls

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SETTINGS = "experiment.yaml"


@dataclass(frozen=True)
class RecordedTrial:
    """A trial as its run has it.

    - run: id of the run
    - study, name: of the trial
    - state: as `raykd.tracking.TrialState`, or running
    - settings: all of them, as YAML
    - epochs: metrics of each epoch, the first one first
    - weights: digest after the last epoch, or None if it is not known
    - teacher_weights: the teacher's, likewise
    - fingerprint: of the data
    - versions: what besides settings and data may change a result
    - code: commit or version of raykd
    """

    run: str
    study: str
    name: str
    state: str
    settings: str
    epochs: tuple[Mapping[str, float], ...]
    weights: str | None
    teacher_weights: str | None
    fingerprint: str
    versions: Mapping[str, Any]
    code: str

    @property
    def views(self) -> tuple[int, ...]:
        """The views it saw, epoch by epoch."""
        return tuple(int(metrics["view"]) for metrics in self.epochs)

    @property
    def stacks(self) -> tuple[tuple[int, int], ...]:
        """Size of the stack and slot in which it sat, epoch by epoch; earlier versions of raykd stacked nothing."""
        return tuple((int(metrics.get("stack_size", 1)), int(metrics.get("stack_slot", 0))) for metrics in self.epochs)

    @property
    def banked(self) -> bool:
        """Whether it was taught from the bank; earlier versions of raykd had none."""
        return all(metrics.get("banked", 0) for metrics in self.epochs)


def recorded_trial(uri: str, run: str = "", study: str = "", trial: str = "") -> RecordedTrial:
    """Read a trial's run.

    Args:
        uri: MLflow's tracking URI.
        run: Id of the trial's run; or
        study, trial: names by which it is found.

    Raises:
        RaykdError: the server does not answer, there is no such run, or it is not a trial's whole record.
    """
    from mlflow import MlflowClient

    settings = TrackingSettings(uri=uri)
    check_tracking(settings)
    server = hide_password(uri)
    with quiet(), short_calls(settings.timeout_seconds):
        client = MlflowClient(tracking_uri=uri)
        try:
            trial_run = client.get_run(run) if run else _find_run(client, study, trial)
            if trial_run is None:
                raise RaykdError(f"MLflow has no run of {trial} of study {study!r} ({server})")
            return _read(client, trial_run)
        except RaykdError:
            raise
        except Exception as error:
            raise RaykdError(f"run {run or trial} cannot be read from {server}: {reason(error)}") from error


def _find_run(client: MlflowClient, study: str, trial: str) -> Run | None:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    asked = f"tags.`raykd.study` = '{study}' and tags.`raykd.trial` = '{trial}'"
    # Older runs are of an earlier study of the same name.
    runs = client.search_runs(experiments, asked, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def _read(client: MlflowClient, run: Run) -> RecordedTrial:
    tags, identity = run.data.tags, run.info.run_id
    if "raykd.trial" not in tags:
        raise RaykdError(f"run {identity} is not a trial of raykd's: name the run of a trial, not of its study")
    missing = [name for name in ("raykd.versions", "raykd.data_fingerprint") if name not in tags]
    if missing or SETTINGS not in {file.path for file in client.list_artifacts(identity)}:
        raise RaykdError(f"run {identity} lacks {', '.join(missing) or SETTINGS}: an earlier raykd logged it")
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(client.download_artifacts(identity, SETTINGS, folder)).read_text(encoding="utf-8")
    return RecordedTrial(
        run=identity,
        study=tags["raykd.study"],
        name=tags["raykd.trial"],
        state=tags.get("raykd.state", "running"),
        settings=settings,
        epochs=_epochs(client, run),
        weights=tags.get("raykd.weights"),
        teacher_weights=tags.get("raykd.teacher_weights"),
        fingerprint=tags["raykd.data_fingerprint"],
        versions=json.loads(tags["raykd.versions"]),
        code=tags.get("raykd.code", "unknown"),
    )


def _epochs(client: MlflowClient, run: Run) -> tuple[Mapping[str, float], ...]:
    by_epoch: dict[int, dict[str, float]] = {}
    for name in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, name):
            # Step 0 is no epoch: summaries of the whole trial.
            if point.step > 0:
                by_epoch.setdefault(point.step, {})[name] = point.value
    epochs = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    if sorted(by_epoch) != list(range(1, len(epochs) + 1)) or any("view" not in metrics for metrics in epochs):
        raise RaykdError(f"run {run.info.run_id} lacks epochs: its record is not whole")
    if not epochs:
        raise RaykdError(f"run {run.info.run_id} has no epoch: there is nothing to replay")
    return tuple(epochs)


def is_run_id(text: str) -> bool:
    """Whether a text looks like the id of a run."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None
