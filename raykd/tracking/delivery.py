"""Turns events into MLflow runs. Every step may be repeated: what is already there is not logged again."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raykd.errors import StorageError
from raykd.tracking.address import reason
from raykd.tracking.dataset import dataset_input
from raykd.tracking.outbox import Event
from raykd.tracking.runs_table import TAG, RunsTable, remember_view
from raykd.tracking.server_runs import ServerRun, ServerRuns, Unavailable

if TYPE_CHECKING:
    from mlflow.entities import Metric

log = logging.getLogger("raykd.tracking")

# MLflow's limits (mlflow.utils.validation); the server refuses the whole call that exceeds one.
_KEY, _PARAMETER, _TAG = 250, 6000, 5000
_LONGEST_WORD = 100
# MLflow shows KILLED as a failure, which being stopped early is not; `raykd.state` tells it from finished.
_STATUS = {"finished": "FINISHED", "stopped early": "FINISHED", "interrupted": "KILLED"}
# The server understood the call and refused it; to repeat it would not help.
_FINAL = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")


@dataclass
class _Work:
    """What events ask of one run."""

    time: int
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int | None]] = field(default_factory=list)
    """Name, value, time and step; no step for a value that replaces the one before."""
    system: list[tuple[str, float, int]] = field(default_factory=list)
    """Name, value and time; the step is the run's age in seconds."""
    datasets: dict[str, Event] = field(default_factory=dict)
    started: bool = False
    table: RunsTable | None = None
    end: tuple[str, int] | None = None


class Delivery:
    """Sends events to a study's runs. Used by one thread; explicit run ids, no global state.

    Args:
        runs: The study's.
    """

    def __init__(self, runs: ServerRuns) -> None:
        self._runs = runs

    def send(self, run: str, events: Sequence[Event]) -> None:
        """Delivers events of one run, but no files; those that can never be delivered are named in the log.

        Args:
            run: The trial, or `STUDY`.
            events: One or more, in order.

        Raises:
            Exception: If the server cannot be reached now. All the events may then be sent again.
        """
        try:
            self._log(run, _work(events))
        except Exception as error:
            self._runs.forget(run)
            if not _is_final(error):
                raise
            if len(events) == 1:
                log.warning("MLflow refused to log %r: %s", events[0].get("kind"), reason(error))
                return
            half = len(events) // 2
            self.send(run, events[:half])
            self.send(run, events[half:])

    def upload(self, run: str, event: Event) -> None:
        """Copies a file, folder or model to the artifact store; if it is gone or is refused, the log says so.

        Args:
            run: The trial, or `STUDY`.
            event: One that `is_upload`.

        Raises:
            Unavailable: If the server cannot be reached now.
            Exception: If the artifact store cannot be used now. In both cases the event may be sent again.
        """
        path = self._runs.folder / event["path"]
        if not path.exists():
            log.warning("%s is gone and cannot be logged to MLflow", path)
            return
        client, run_id = self._runs.client(), self._runs.run(run, event["time"]).id
        try:
            if event["kind"] == "student":
                from raykd.tracking.model import send_student

                send_student(client, self._runs.experiment, run_id, path)
            elif path.is_dir():
                client.log_artifacts(run_id, str(path), path.name)
            else:
                client.log_artifact(run_id, str(path))
        except Exception as error:
            if _is_refused(error):
                log.warning("MLflow refused %s: %s", path, reason(error))
                return
            self._runs.forget(run)
            self._runs.run(run, event["time"])  # if the server does not answer, the artifact store is not to blame
            raise

    def _log(self, trial: str, work: _Work) -> None:
        from mlflow.entities import Param, RunTag

        client, run = self._runs.client(), self._runs.run(trial, work.time)
        if work.started and run.ended:
            client.update_run(run.id, status="RUNNING")
            self._runs.begin_again(trial)
        parameters = []
        for name, value in work.parameters.items():
            if name not in run.parameters:
                parameters.append(Param(name, value))
            elif run.parameters[name] != value:
                work.tags[f"raykd.changed.{name}"[:_KEY]] = value
        tags = {name: _cut(value, _TAG) for name, value in work.tags.items()}
        if tags.get("raykd.reason") == "" and "raykd.reason" not in run.tags:
            del tags["raykd.reason"]  # only needed to replace an older one
        metrics = _news(run, work)
        client.log_batch(run.id, metrics, parameters, [RunTag(name, value) for name, value in tags.items()])
        run.parameters.update((parameter.key, parameter.value) for parameter in parameters)
        run.tags.update(tags)
        if datasets := [dataset for name, dataset in work.datasets.items() if name not in run.datasets]:
            client.log_inputs(run.id, [dataset_input(dataset) for dataset in datasets])
            run.datasets.update(work.datasets)
        if work.table is not None:
            self._show(run.id, work.table)
        if work.end is not None:
            status, time = work.end
            client.set_terminated(run.id, status, time)
            self._runs.end(trial)

    def _show(self, parent: str, table: RunsTable) -> None:
        """Let MLflow's page have a view of the runs. A server that has none is no reason to log nothing."""
        view = f"raykd-{self._runs.outbox[:8]}"
        try:
            self._runs.client().set_experiment_tag(self._runs.experiment, TAG + view, table.view(parent))
            remember_view(self._runs.folder, self._runs.uri, self._runs.experiment, view)
        except (StorageError, OSError) as error:
            log.debug("the view is not remembered: %s", error)
        except Exception as error:
            if not _is_final(error):
                raise
            log.debug("MLflow refused a view: %s", reason(error))


def is_upload(event: Event) -> bool:
    """Whether an event is a file, folder or model, which goes to the artifact store."""
    return event.get("kind") in ("artifact", "student")


def _work(events: Sequence[Event]) -> _Work:
    work = _Work(events[0]["time"])
    for event in events:
        _add(work, event)
    return work


def _add(work: _Work, event: Event) -> None:
    time = event["time"]
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
        if "table" in event:
            work.table = RunsTable.of(event["table"])
        work.tags["raykd.state"] = "running"
    elif event["kind"] == "end":
        work.end = _STATUS.get(event["state"], "FAILED"), time
        work.tags |= {"raykd.state": event["state"], "raykd.reason": event.get("reason") or ""}


def _news(run: ServerRun, work: _Work) -> list[Metric]:
    """The metrics that the server does not have yet."""
    from mlflow.entities import Metric

    system = [(name, value, time, (time - run.begun) // 1000) for name, value, time in work.system]
    news = []
    for name, value, time, step in work.metrics + system:
        if step is None:
            if name in run.metrics and _same(run.metrics[name], value):
                continue
        elif step <= run.steps.get(name, -1):
            continue
        else:
            run.steps[name] = step
        run.metrics[name] = value
        news.append(Metric(name, value, time, step or 0))
    return news


def _key(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^/\w.\- ]", "_", name)[:_KEY]


def _cut(value: str, length: int) -> str:
    """A text that is no longer than MLflow takes, cut between words."""
    if len(value) <= length:
        return value
    # A word that is longer than this has no better place to be cut at.
    end = value.rfind(" ", length - _LONGEST_WORD, length - 3)
    return value[: end if end > 0 else length - 4] + " ..."


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _is_final(error: Exception) -> bool:
    """Whether the same events would fail again."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, Unavailable | OSError):
        return False
    return not isinstance(error, MlflowException) or _is_refused(error)


def _is_refused(error: Exception) -> bool:
    return getattr(error, "error_code", None) in _FINAL
