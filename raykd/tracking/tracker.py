"""The study's side of MLflow: calls that write down what happened, and the thread that delivers it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from raykd.config import TrackingSettings
from raykd.database_urls import hide_password
from raykd.tracking.address import Address, look, quiet, reason, short_calls
from raykd.tracking.dataset import Dataset
from raykd.tracking.delivery import Delivery
from raykd.tracking.outbox import Outbox

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger("raykd.tracking")

TrialState = Literal["finished", "stopped early", "diverged", "failed", "interrupted"]
StudyState = Literal["finished", "interrupted", "failed"]

SAVED_STUDENT = "mlflow_student"
"""Folder in the study's, from which its best student is sent."""

_BATCH = 1000
_NOT_YET = "not sent yet"
_LINGER = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE, _CLOSING_PAUSE = 0.5, 30.0, 1.0


class Undelivered(NamedTuple):
    """What a closed tracker leaves behind."""

    events: int
    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.events} events wait in {self.file} ({self.reason}); run again with --resume to deliver them"


class Tracker:
    """Logs a study to MLflow without holding it up: one parent run, and one child run for each trial.

    Every call only appends to the outbox in the study's folder; a background thread delivers, and waits for a server
    that is away. No call but the constructor raises: what cannot be logged is reported in the log of
    `raykd.tracking`. A tracker opened again on the same folder continues the same runs and delivers what is left.
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
        self._delivery = Delivery(settings, self._folder, study, self._outbox.id)
        self._reason = _NOT_YET
        self._closed = False
        self._news, self._closing, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._restore = ExitStack()
        # Once and from the study's thread: to change the environment while other threads read it is not safe.
        self._restore.enter_context(short_calls(settings.timeout_seconds))
        self._thread = threading.Thread(target=self._deliver, name="mlflow-tracker", daemon=True)
        self._thread.start()

    def start_study(
        self,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        artifacts: Iterable[Path] = (),
        datasets: Iterable[Dataset] = (),
    ) -> None:
        """Starts the parent run, or sets it running again.

        Args:
            parameters: Settings under their dotted names.
            tags: Tags of the run.
            artifacts: Files and folders to attach. They are read when they are sent, and must stay in place.
            datasets: The data sets that are used.
        """
        self._start(None, parameters, tags, artifacts, datasets)

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
        """Ends a trial's run: FINISHED, KILLED if stopped early or interrupted, else FAILED; exactly in `raykd.state`.

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
        self._put("artifact", trial=trial, path=str(path.absolute()))

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
            self._put("student", path=str(path))

    def end_study(self, state: StudyState = "finished") -> None:
        """Ends the parent run: FINISHED, KILLED if interrupted, or FAILED."""
        self._put("end", state=state)

    def describe(self) -> Address:
        """Where the study is logged, and the command or address to look at it."""
        return Address(hide_password(self._delivery.uri), look(self._delivery.uri, self._delivery.experiment))

    def close(self, timeout: float = 30.0) -> Undelivered | None:
        """Waits until everything is delivered, but no longer than `timeout` seconds.

        Returns:
            What is left in the outbox, if anything; to be shown to the user.
        """
        if not self._closed:
            self._closed = True
            self._closing.set()
            self._news.set()
            self._thread.join(timeout)
            self._stop.set()
            self._outbox.close()
            self._restore.close()
        left = self._outbox.waiting
        return Undelivered(left, self._outbox.file, self._reason) if left else None

    def _start(
        self,
        trial: str | None,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None,
        artifacts: Iterable[Path],
        datasets: Iterable[Dataset],
    ) -> None:
        contents = [dataset.content() for dataset in datasets]
        self._put("start", trial=trial, parameters=_texts(parameters), tags=_texts(tags), datasets=contents)
        for path in artifacts:
            self.artifact(path, trial)

    def _put(self, kind: str, metrics: Mapping[str, float] | None = None, **content: object) -> None:
        try:
            if self._closed:
                raise ValueError("the tracker is closed")
            event = {"kind": kind, "time": int(time.time() * 1000), **content}
            if metrics is not None:
                event["metrics"] = {name: float(value) for name, value in metrics.items()}
            self._outbox.put(event)
            self._news.set()
        except Exception as error:  # a full disk or a strange value must not end the study
            log.warning("could not note %r for MLflow: %s", kind, error)

    def _deliver(self) -> None:
        """The background thread."""
        with quiet():
            pause = _FIRST_PAUSE
            while not self._stop.is_set():
                last = self._closing.is_set()  # before reading: nothing is added after
                try:
                    batch = self._outbox.read(_BATCH)
                    late = self._delivery.send(batch.events)
                    for event in late:
                        self._outbox.put(event)
                    if batch.lines:
                        self._outbox.done(batch)
                    trouble = "artifacts could not be uploaded" if late else ""
                except Exception as error:
                    trouble = reason(error)
                    if pause == _FIRST_PAUSE:
                        log.warning("MLflow: %s; events wait in %s", trouble, self._outbox.file)
                self._reason = trouble or _NOT_YET
                if trouble:
                    self._rest(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                if pause != _FIRST_PAUSE:
                    log.warning("MLflow is back")
                    pause = _FIRST_PAUSE
                if batch.lines:
                    continue
                if last:
                    return
                self._news.wait()
                self._news.clear()
                self._closing.wait(_LINGER)  # what comes together is sent together

    def _rest(self, seconds: float) -> None:
        if not self._closing.wait(seconds):
            return
        self._stop.wait(min(seconds, _CLOSING_PAUSE))  # whoever closes waits: try more often


def _texts(values: Mapping[str, object] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items()}
