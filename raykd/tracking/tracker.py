"""The study's side of MLflow: calls that write down what happened, and wait for nothing."""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from raykd.config import TrackingSettings
from raykd.database_urls import hide_password
from raykd.tracking.address import Address, reason, short_calls, why_away
from raykd.tracking.dataset import Dataset
from raykd.tracking.outbox import Event, Outbox
from raykd.tracking.postman import Postman
from raykd.tracking.runs_table import RunsTable
from raykd.tracking.server_runs import ServerRuns

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger("raykd.tracking")

TrialState = Literal["finished", "stopped early", "diverged", "failed", "interrupted"]
StudyState = Literal["finished", "interrupted", "failed"]

SAVED_STUDENT = "mlflow_student"
"""Folder in the study's, from which its best student is sent."""

PATIENCE = 3
"""So many times the longest wait for a call, the end of a run waits for a server that takes nothing."""
LONGEST_CALL = 600.0
"""Seconds that it waits for the answer to one call that sends something large."""
_LOOK = 0.2


class Undelivered(NamedTuple):
    """What a closed tracker leaves behind."""

    events: int
    folder: Path
    """The study's."""
    uri: str
    """Where they are to go; no password."""
    reason: str
    """Why they have not got there."""

    def __str__(self) -> str:
        events = "1 event waits" if self.events == 1 else f"{self.events:,} events wait"
        command = f"raykd sync {shlex.quote(str(self.folder))}"
        return f"{events} in {self.folder} for {self.uri} ({self.reason}); this delivers what waits: {command}"


class Tracker:
    """Logs a study to MLflow without holding it up: one parent run, and one child run for each trial.

    Every call only appends to the outbox in the study's folder; a background thread delivers, and waits for a server
    that is away. No call but the constructor raises: what cannot be logged is reported in the log of
    `raykd.tracking`; what the disk has no room for is kept in memory until it has. A tracker opened again on the same
    folder continues the same runs and delivers what is left.
    """

    def __init__(self, settings: TrackingSettings, folder: Path, study: str) -> None:
        """Opens the outbox and starts to deliver.

        Args:
            settings: Where to log to.
            folder: The study's folder; one process at a time may track in it.
            study: The study's name.

        Raises:
            OSError: If the folder cannot be written.
            RaykdError: If the folder's outbox is damaged.
        """
        self._settings = settings
        self._folder = folder.absolute()
        self._outbox = Outbox(self._folder)
        self._runs = ServerRuns(settings, self._folder, study, self._outbox.id)
        self._unwritten: deque[Event] = deque()
        self._writing = threading.Lock()
        self._closed = False
        self._restore = ExitStack()
        # Once and from the study's thread: to change the environment while other threads read it is not safe.
        self._restore.enter_context(short_calls(settings.timeout_seconds))
        self._postman = Postman(self._outbox, self._runs)

    def start_study(
        self,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        artifacts: Iterable[Path] = (),
        datasets: Iterable[Dataset] = (),
        table: RunsTable | None = None,
    ) -> None:
        """Starts the parent run, or sets it running again.

        Args:
            parameters: Settings under their dotted names.
            tags: Tags of the run.
            artifacts: Files and folders to attach. They are read when they are sent, and must stay in place.
            datasets: The data sets that are used.
            table: What MLflow's page shows at first sight. None: whatever it does.
        """
        self._start(None, parameters, tags, artifacts, datasets, table)

    def start_trial(
        self,
        trial: str,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        artifacts: Iterable[Path] = (),
        datasets: Iterable[Dataset] = (),
    ) -> None:
        """Starts a trial's child run, or sets it running again; see `start_study`.

        A parameter that has another value than before keeps the first; the new one becomes the tag
        `raykd.changed.NAME`.
        """
        self._start(trial, parameters, tags, artifacts, datasets)

    def epoch(self, trial: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Logs a trial's metrics after an epoch, 1-based; epochs that are logged already are left as they are."""
        self._put("metrics", trial=trial, step=epoch, metrics=metrics)

    def end_trial(
        self,
        trial: str,
        state: TrialState,
        reason: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Ends a trial's run: FINISHED, even if stopped early, KILLED if interrupted, or FAILED; see `raykd.state`.

        Args:
            trial: The trial.
            state: How it ended.
            reason: Why, for the tag `raykd.reason`.
            metrics: Its summary, under names that are not used for epochs.
        """
        self._put("end", trial=trial, state=state, reason=reason, metrics=metrics)

    def study_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs metrics of the whole study; without a step they replace the values before."""
        self._put("metrics", step=step, metrics=metrics)

    def tags(self, tags: Mapping[str, str], trial: str | None = None) -> None:
        """Sets tags of a trial, or of the study; they replace those of the same names."""
        self._put("tags", trial=trial, tags=_texts(tags))

    def usage(self, usage: Mapping[str, Mapping[str, float]]) -> None:
        """Logs how busy nodes are, as metrics `system/NODE/NAME` of the parent run; MLflow has a page for those.

        Args:
            usage: By node, under MLflow's names, such as `cpu_utilization_percentage`.
        """
        metrics = {f"system/{node}/{name}": value for node, values in usage.items() for name, value in values.items()}
        if metrics:
            self._put("system", metrics=metrics)

    def artifact(self, path: Path, trial: str | None = None) -> None:
        """Attaches a file or folder to the study or a trial. It is read when it is sent, and must stay in place."""
        self._put("artifact", trial=trial, path=self._address(path))

    def log_student(
        self,
        model: nn.Module,
        example: Tensor,
        metadata: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Logs the best student as the model `student` of the parent run, unless `log_model` is off.

        The one call that takes seconds: it saves the model in the study's folder, from where it is delivered.

        Args:
            model: The student, on any device; its class must be importable where the model is loaded.
            example: A batch of images as the student takes them.
            metadata: Stored with the model; JSON types.
            files: raykd's own files of the student, by name, from which it is loaded without a pickle.
        """
        if not self._settings.log_model:
            return
        from raykd.tracking.model import save_student

        path = self._folder / SAVED_STUDENT
        try:
            save_student(model, example, path, metadata, files)
        except Exception as error:
            log.warning("the best student cannot be stored as an MLflow model: %s", reason(error))
        else:
            self._put("student", path=self._address(path))

    def end_study(self, state: StudyState = "finished") -> None:
        """Ends the parent run: FINISHED, KILLED if interrupted, or FAILED."""
        self._put("end", state=state)

    def describe(self) -> Address:
        """Where the study is logged, and the command or address to look at it."""
        return Address(hide_password(self._runs.uri), self._folder)

    @property
    def waiting(self) -> int:
        """How many events are not delivered yet."""
        return self._outbox.waiting + len(self._unwritten)

    def close(self, patience: float | None = None, show: Callable[[int], None] | None = None) -> Undelivered | None:
        """Waits until everything is delivered: as long as there is progress, and for Ctrl-C no longer.

        Args:
            patience: Seconds without progress after which it waits no longer. None: 3 times `timeout_seconds`.
            show: Is called several times a second with the number of events that are still to be delivered.

        Returns:
            What is left in the outbox, if anything; to be shown to the user.
        """
        if patience is None:
            patience = PATIENCE * self._settings.timeout_seconds
        if not self._closed:
            self._write_rest()
            self._closed = True
            self._postman.finish()
            try:
                self._wait(patience, show)
            except KeyboardInterrupt:
                log.warning("MLflow is not waited for any longer")
            self._postman.stop()
            self._outbox.close()
            self._restore.close()
        return Undelivered(self.waiting, self._folder, self.describe().uri, self._why()) if self.waiting else None

    def _wait(self, patience: float, show: Callable[[int], None] | None) -> None:
        began = time.monotonic()
        ended = False
        while not ended:
            ended = self._postman.join(_LOOK)
            if show is not None:
                show(self.waiting)
            # A call that has not failed may yet send something large.
            limit = patience if self._postman.trouble else max(patience, LONGEST_CALL)
            if time.monotonic() - max(began, self._postman.progressed) > limit:
                return

    def _why(self) -> str:
        if self._unwritten:
            return f"{len(self._unwritten)} of them could not be written to the disk, and are lost"
        return why_away(self._postman.trouble, self._runs.uri) or "not sent yet"

    def _start(
        self,
        trial: str | None,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None,
        artifacts: Iterable[Path],
        datasets: Iterable[Dataset],
        table: RunsTable | None = None,
    ) -> None:
        contents = [dataset.content() for dataset in datasets]
        shown = {} if table is None else {"table": table.content()}
        self._put("start", trial=trial, parameters=_texts(parameters), tags=_texts(tags), datasets=contents, **shown)
        for path in artifacts:
            self.artifact(path, trial)

    def _address(self, path: Path) -> str:
        """Of a file: from the study's folder on, where it is in there, so that the folder may be moved."""
        path = path.absolute()
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def _put(self, kind: str, metrics: Mapping[str, float] | None = None, **content: object) -> None:
        try:
            if self._closed:
                raise ValueError("the tracker is closed")
            event = {"kind": kind, "time": int(time.time() * 1000), **content}
            if metrics is not None:
                event["metrics"] = {name: float(value) for name, value in metrics.items()}
            with self._writing:
                self._write(event)
        except Exception as error:  # a strange value must not end the study
            log.warning("could not note %r for MLflow: %s", kind, error)

    def _write(self, event: Event) -> None:
        """Append an event behind those that could not be written before, in their order."""
        try:
            while self._unwritten:
                self._outbox.put(self._unwritten[0])
                self._unwritten.popleft()
            self._outbox.put(event)
        except OSError as error:
            if not self._unwritten:
                log.warning("%s cannot be written, events are kept in memory: %s", self._outbox.file, error)
            self._unwritten.append(event)
        self._postman.notify()

    def _write_rest(self) -> None:
        with self._writing:
            if self._unwritten:
                self._write(self._unwritten.pop())


def _texts(values: Mapping[str, object] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items()}
