"""A study's runs on the MLflow server: found again, or created; never twice, whatever becomes of a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.config import TrackingSettings
from raykd.tracking.address import artifact_location, reason, tracking_uri
from raykd.tracking.moved_artifacts import artifacts_follow
from raykd.tracking.outbox import STUDY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's pages then show training runs first, not traces of language models.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
_KNOWN = 200
"""So many runs that are over are remembered, should anything more come: a long study has thousands of them."""


class Unavailable(Exception):
    """The server, or the study's experiment on it, cannot be reached now; nothing is wrong with the events."""


@dataclass
class ServerRun:
    """What is known of a run on the server."""

    id: str
    fresh: bool
    """Created by this process."""
    begun: int
    """Milliseconds since 1970."""
    ended: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """The latest values."""
    steps: dict[str, int] = field(default_factory=dict)
    """Of the latest values."""
    datasets: set[str] = field(default_factory=set)
    """Their names."""


class ServerRuns:
    """The runs of a study and its trials, by trial, or `STUDY`. Used by one thread; connects to nothing before a call.

    Args:
        settings: Where the study is logged.
        folder: The study's folder.
        study: The study's name.
        outbox: Identity of the outbox, by which the parent run is found again.
    """

    def __init__(self, settings: TrackingSettings, folder: Path, study: str, outbox: str) -> None:
        self.uri = tracking_uri(settings, folder)
        self.experiment = ""
        """Its id, once connected."""
        self._name = settings.experiment or study
        self.folder = folder
        self._study = study
        self.outbox = outbox
        self._client: MlflowClient | None = None
        self._known: dict[str, ServerRun] = {}
        self._over: dict[str, None] = {}
        """Those of the known that are over, the first one first."""
        self._to_look_up: set[str] = set()
        """Runs that are or may be on the server, but are not known."""
        self._doubtful: set[str] = set()
        """Runs that the server may have created without our knowledge, and may still."""

    def client(self) -> MlflowClient:
        """A client, once the study's experiment is found or created.

        Raises:
            Unavailable: the server does not answer, or the experiment was deleted.
        """
        if self._client is None:
            with _unavailable():
                from mlflow import MlflowClient

                artifacts_follow(self.uri)
                client = MlflowClient(tracking_uri=self.uri)
                self.experiment = self._find_experiment(client)
                self._client = client
        return self._client

    def run(self, trial: str, time: int) -> ServerRun:
        """The run of a trial, or of the study: the known one, the one on the server, or a new one.

        Args:
            trial: The trial, or `STUDY`.
            time: At which a new one begins, in milliseconds since 1970.

        Raises:
            Unavailable: the server does not answer.
        """
        if trial not in self._known:
            with _unavailable():
                self._known[trial] = self._find_or_create(trial, time)
        return self._known[trial]

    def begin_again(self, trial: str) -> None:
        """A run that was over goes on."""
        self._known[trial].ended = False
        self._over.pop(trial, None)

    def end(self, trial: str) -> None:
        """A run is over."""
        if trial in self._doubtful:
            with _unavailable():
                self._find(trial, self._known[trial].begun)  # deletes its double
            self._doubtful.discard(trial)
        self._known[trial].ended = True
        if trial != STUDY:
            self._over[trial] = None
        if len(self._over) > _KNOWN:
            self.forget(next(iter(self._over)))

    def forget(self, trial: str) -> None:
        """A call about a run that failed here may have succeeded there: look before the next one."""
        self._client = None
        self._known.pop(trial, None)
        self._over.pop(trial, None)
        self._to_look_up.add(trial)

    def _find_experiment(self, client: MlflowClient) -> str:
        experiment = client.get_experiment_by_name(self._name)
        if experiment is None:
            location = artifact_location(self.uri, self.folder)
            return str(client.create_experiment(self._name, location, tags=_MODEL_TRAINING))
        if experiment.lifecycle_stage == "deleted":
            raise Unavailable(f"the experiment {self._name!r} was deleted: restore it or set tracking.experiment")
        return str(experiment.experiment_id)

    def _find_or_create(self, trial: str, time: int) -> ServerRun:
        # Below a parent run that is new there is nothing to be found.
        if trial == STUDY or trial in self._to_look_up or not self.run(STUDY, time).fresh:
            found = self._find(trial, time)
            if found is not None:
                return _on_server(found)
        name, tags = self._study, {"raykd.study": self._study, "raykd.outbox": self.outbox}
        if trial != STUDY:
            parent = self.run(STUDY, time).id
            name, tags = trial, {"raykd.study": self._study, "raykd.trial": trial, "mlflow.parentRunId": parent}
        try:
            created = self.client().create_run(self.experiment, time, tags, run_name=name)
        except Exception:
            self._to_look_up.add(trial)
            self._doubtful.add(trial)
            raise
        return ServerRun(created.info.run_id, True, time)

    def _find(self, trial: str, time: int) -> Run | None:
        """The run of a trial, or of the study, on the server.

        A server that hangs may create a run long after we have ceased to wait, and beside the one that it was asked for
        again meanwhile. Nothing was ever logged to such a double: it is deleted.
        """
        client = self.client()
        query = f"tags.`raykd.outbox` = '{self.outbox}'"
        if trial != STUDY:
            parent = self.run(STUDY, time).id
            query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`raykd.trial` = '{trial}'"
        found = client.search_runs([self.experiment], query, order_by=["attributes.start_time ASC"])
        known = self._known.get(trial)
        used = [run for run in found if (known and run.info.run_id == known.id) or not _is_empty(run)]
        chosen = next(iter(used or found), None)
        for run in found:
            if chosen is not None and run.info.run_id != chosen.info.run_id and _is_empty(run):
                client.delete_run(run.info.run_id)
        return chosen


def _on_server(run: Run) -> ServerRun:
    # Of each metric, data has the latest value with its step: no history is asked for.
    info, data, inputs = run.info, run.data, run.inputs
    return ServerRun(
        info.run_id,
        fresh=False,
        begun=info.start_time,
        ended=info.status != "RUNNING",
        parameters=dict(data.params),
        tags=dict(data.tags),
        metrics=dict(data.metrics),
        steps={metric.key: metric.step for metric in data.to_proto().metrics},
        datasets={entry.dataset.name for entry in inputs.dataset_inputs} if inputs else set(),
    )


def _is_empty(run: Run) -> bool:
    return not (run.data.params or run.data.metrics or "raykd.state" in run.data.tags)


@contextmanager
def _unavailable() -> Iterator[None]:
    """What fails in here is the server's, and no event's, fault."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(reason(error)) from error
