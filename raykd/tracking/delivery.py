"""Turns events into MLflow runs. Every step may be repeated: what is already there is not logged again."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.config import TrackingSettings
from raykd.tracking.address import artifact_location, reason, tracking_uri
from raykd.tracking.dataset import dataset_input
from raykd.tracking.outbox import Event

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = logging.getLogger("raykd.tracking")

# MLflow's limits (mlflow.utils.validation); the server refuses the whole call that exceeds one.
_KEY, _PARAMETER, _TAG = 250, 6000, 5000
_STATUS = {"finished": "FINISHED", "stopped early": "KILLED", "interrupted": "KILLED"}
# MLflow's pages then show training runs first, not traces of language models.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
# The server understood the call and refused it; to repeat it would not help.
_FINAL = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")


class Unavailable(Exception):
    """The server, or the study's experiment on it, cannot be reached now; nothing is wrong with the events."""


@dataclass
class _Run:
    """What is known of a run on the server."""

    id: str
    fresh: bool
    begun: int
    """Milliseconds since 1970."""
    ended: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    """Their names."""


@dataclass
class _Work:
    """What a batch of events asks of one run."""

    time: int
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int | None]] = field(default_factory=list)
    """Name, value, time and step; no step for a value that replaces the one before."""
    system: list[tuple[str, float, int]] = field(default_factory=list)
    """Name, value and time; the step is the run's age in seconds."""
    datasets: dict[str, Event] = field(default_factory=dict)
    uploads: list[Event] = field(default_factory=list)
    started: bool = False
    end: tuple[str, int] | None = None


class Delivery:
    """Sends a study's events to MLflow. Used by one thread; explicit run ids, no global state."""

    def __init__(self, settings: TrackingSettings, folder: Path, study: str, outbox: str) -> None:
        """Connects to nothing yet.

        Args:
            settings: Where to send to.
            folder: The study's folder.
            study: The study's name.
            outbox: Identity of the outbox, by which the parent run is found again.
        """
        self.uri = tracking_uri(settings, folder)
        self.experiment = ""
        self._name = settings.experiment or study
        self._folder = folder
        self._study = study
        self._outbox = outbox
        self._client: MlflowClient | None = None
        self._runs: dict[str | None, _Run] = {}
        self._over: set[str] = set()
        """Trials whose ended runs are looked up, should anything more come: a long study has thousands of them."""
        self._late: set[Path] = set()

    def send(self, events: list[Event]) -> list[Event]:
        """Delivers events; those that cannot ever be delivered are reported in the log and dropped.

        Returns:
            Uploads to try again later: a broken artifact store must not hold the metrics up.

        Raises:
            Exception: If the server cannot be reached now. All the events may then be sent again.
        """
        try:
            return self._send(events)
        except Exception as error:
            self._client = None
            self._runs.clear()  # a call that failed here may have succeeded there: look again
            if not _is_final(error):
                raise
            if len(events) > 1:
                return [late for event in events for late in self.send([event])]
            if events:
                log.warning("MLflow refused to log %r: %s", events[0].get("kind"), reason(error))
            return []

    def _send(self, events: list[Event]) -> list[Event]:
        work: dict[str | None, _Work] = {}
        for event in events:
            _add(work.setdefault(event.get("trial"), _Work(event["time"])), event)
        return [late for trial, task in work.items() for late in self._log(trial, task)]

    def _log(self, trial: str | None, work: _Work) -> list[Event]:
        from mlflow.entities import Param, RunTag

        client, run = self._connect(), self._run(trial, work.time)
        if work.started and run.ended:
            client.update_run(run.id, status="RUNNING")
            run.ended = False
        parameters = []
        for name, value in work.parameters.items():
            if name not in run.parameters:
                parameters.append(Param(name, value))
            elif run.parameters[name] != value:
                work.tags[f"raykd.changed.{name}"[:_KEY]] = value
        tags = {name: _cut(value, _TAG) for name, value in work.tags.items()}
        if tags.get("raykd.reason") == "" and "raykd.reason" not in run.tags:
            del tags["raykd.reason"]  # only needed to replace an older one
        metrics = self._news(run, work)
        client.log_batch(run.id, metrics, parameters, [RunTag(name, value) for name, value in tags.items()])
        run.parameters.update((parameter.key, parameter.value) for parameter in parameters)
        run.tags.update(tags)
        if datasets := [dataset for name, dataset in work.datasets.items() if name not in run.datasets]:
            client.log_inputs(run.id, [dataset_input(dataset) for dataset in datasets])
            run.datasets.update(work.datasets)
        late = self._upload(run, work.uploads, answered=bool(metrics or parameters or tags))
        if work.end is not None:
            status, time = work.end
            client.set_terminated(run.id, status, time)
            run.ended = True
            if trial is not None:
                del self._runs[trial]
                self._over.add(trial)
        return late

    def _news(self, run: _Run, work: _Work) -> list[Metric]:
        """The metrics that the server does not have yet."""
        from mlflow.entities import Metric

        system = [(name, value, time, (time - run.begun) // 1000) for name, value, time in work.system]
        news = []
        for name, value, time, step in work.metrics + system:
            if step is None:
                if name in run.metrics and _same(run.metrics[name], value):
                    continue
            elif step <= self._last_step(run, name):
                continue
            else:
                run.steps[name] = step
            run.metrics[name] = value
            news.append(Metric(name, value, time, step or 0))
        return news

    def _last_step(self, run: _Run, name: str) -> int:
        if name not in run.steps:
            known = not run.fresh and name in run.metrics
            history = self._connect().get_metric_history(run.id, name) if known else []
            run.steps[name] = max((point.step for point in history), default=-1)
        return run.steps[name]

    def _upload(self, run: _Run, uploads: list[Event], answered: bool) -> list[Event]:
        """Copies files and models to the artifact store and returns those that failed.

        Unless the server has just `answered`, it is asked for something: if it does not answer, this fails before the
        artifact store is blamed.
        """
        if not uploads:
            return []
        client = self._connect()
        if not answered:
            client.get_run(run.id)
        late = []
        for event in uploads:
            path = Path(event["path"])
            if not path.exists():
                log.warning("%s is gone and cannot be logged to MLflow", path)
                continue
            try:
                if event["kind"] == "student":
                    from raykd.tracking.model import send_student

                    send_student(client, self.experiment, run.id, path)
                elif path.is_dir():
                    client.log_artifacts(run.id, str(path), path.name)
                else:
                    client.log_artifact(run.id, str(path))
            except Exception as error:
                if path not in self._late:
                    log.warning("could not upload %s to MLflow yet: %s", path, reason(error))
                self._late.add(path)
                late.append(event)
        return late

    def _connect(self) -> MlflowClient:
        if self._client is None:
            try:
                from mlflow import MlflowClient

                client = MlflowClient(tracking_uri=self.uri)
                self.experiment = self._find_experiment(client)
                self._client = client
            except Unavailable:
                raise
            except Exception as error:
                raise Unavailable(reason(error)) from error
        return self._client

    def _find_experiment(self, client: MlflowClient) -> str:
        experiment = client.get_experiment_by_name(self._name)
        if experiment is None:
            location = artifact_location(self.uri, self._folder)
            return str(client.create_experiment(self._name, location, tags=_MODEL_TRAINING))
        if experiment.lifecycle_stage == "deleted":
            raise Unavailable(f"the experiment {self._name!r} was deleted: restore it or set tracking.experiment")
        return str(experiment.experiment_id)

    def _run(self, trial: str | None, time: int) -> _Run:
        """The run of a trial, or of the study for None: the known one, the one on the server, or a new one."""
        if trial not in self._runs:
            try:
                self._runs[trial] = self._find_or_create(trial, time)
            except Unavailable:
                raise
            except Exception as error:
                raise Unavailable(reason(error)) from error
        return self._runs[trial]

    def _find_or_create(self, trial: str | None, time: int) -> _Run:
        client = self._connect()
        tags = {"raykd.study": self._study}
        if trial is None:
            tags["raykd.outbox"] = self._outbox
            query, new_parent = f"tags.`raykd.outbox` = '{self._outbox}'", False
        else:
            parent = self._run(None, time)
            tags |= {"raykd.trial": trial, "mlflow.parentRunId": parent.id}
            query = f"tags.`mlflow.parentRunId` = '{parent.id}' and tags.`raykd.trial` = '{trial}'"
            new_parent = parent.fresh and trial not in self._over
        runs = [] if new_parent else client.search_runs([self.experiment], query, max_results=1)
        if not runs:
            name = self._study if trial is None else trial
            return _Run(client.create_run(self.experiment, time, tags, run_name=name).info.run_id, True, time)
        info, data, inputs = runs[0].info, runs[0].data, runs[0].inputs
        return _Run(
            info.run_id,
            fresh=False,
            begun=info.start_time,
            ended=info.status != "RUNNING",
            parameters=dict(data.params),
            tags=dict(data.tags),
            metrics=dict(data.metrics),
            datasets={entry.dataset.name for entry in inputs.dataset_inputs} if inputs else set(),
        )


def _add(work: _Work, event: Event) -> None:
    time = event["time"]
    if event["kind"] in ("artifact", "student"):
        work.uploads.append(event)
        return
    if event["kind"] == "register":  # of an earlier release
        log.warning("a study registers nothing any more: use `raykd register STUDY --name NAME` after it")
        return
    work.parameters |= {_key(name): _cut(value, _PARAMETER) for name, value in event.get("parameters", {}).items()}
    work.tags |= {name[:_KEY]: value for name, value in event.get("tags", {}).items()}
    work.datasets |= {dataset["name"]: dataset for dataset in event.get("datasets", ())}
    if event["kind"] == "system":
        work.system += [(_key(name), value, time) for name, value in event["metrics"].items()]
        return
    step = event.get("step")
    work.metrics += [(_key(name), value, time, step) for name, value in event.get("metrics", {}).items()]
    if event["kind"] == "start":
        work.started, work.end = True, None
        work.tags["raykd.state"] = "running"
    elif event["kind"] == "end":
        work.end = _STATUS.get(event["state"], "FAILED"), time
        work.tags |= {"raykd.state": event["state"], "raykd.reason": event.get("reason") or ""}


def _key(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^/\w.\- ]", "_", name)[:_KEY]


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - 3] + "..."


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _is_final(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, Unavailable | OSError):
        return False
    return not isinstance(error, MlflowException) or error.error_code in _FINAL
