"""A trial of Ray Tune: it holds a seat in a classroom and passes the student's reports on. It needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from raykd.cluster.client import RunEnded, StudentClient, train_to_end
from raykd.cluster.session import NAMESPACE
from raykd.config import Experiment
from raykd.errors import StorageError
from raykd.places import TRIALS, fold_name, shared_folder, trial_name
from raykd.search.folds import merged
from raykd.search.names import METRIC, TRIAL
from raykd.settings_io import override
from raykd.storage import below
from raykd.training.messages import Report, TrainRequest
from raykd.training.teacher_cache import teachers


def trial_folder(experiment: Experiment, number: int, fold: int = 0) -> str:
    """The folder of a trial's student, a path or URL."""
    return below(shared_folder(experiment), TRIALS, fold_name(trial_name(number), fold))


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a study share.

    - broker: name of the broker's actor
    - experiment: the experiment that the searched values are laid over
    - fingerprints: of the data; with `data.folds` of each fold's
    - at_once: how many trials run at once, if there are so many left; see `raykd.cluster.broker.Broker.assemble`
    """

    broker: str
    experiment: Experiment
    fingerprints: tuple[str, ...]
    at_once: int = 1


class StudentTrial(tune.Trainable):
    """One student of a study, or one on each fold. Its step is one epoch, trained in a classroom.

    The config is flat: dotted setting names to values, and ``trial``, the Optuna trial's number.
    """

    _seats: tuple[StudentClient, ...] = ()

    def setup(self, config: Mapping[str, Any], context: TrialContext) -> None:  # type: ignore[override]
        self._context = context
        self._broker = ray.get_actor(context.broker, namespace=NAMESPACE)
        ray.get(self._broker.assemble.remote(context.experiment.study.name, context.at_once))
        self._begin(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Take the next trial's config, so that this process serves many trials."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        try:
            if not self._seats:
                self._seats = tuple(StudentClient(self._broker, request) for request in self._requests())
            report = self._report()
        except (RunEnded, StorageError) as end:
            if isinstance(end, StorageError):  # no fault of the student's; as a notice, the user sees it
                self._broker.record_notice.remote(str(end))
            name = trial_name(self._number)
            report = Report(name, ticket="", epoch=self._epoch, failure=str(end), interrupted=True)
        result: dict[str, Any] = {
            # What schedulers see; 0 of a student that could not be trained.
            METRIC: report.metrics.get(METRIC, 0.0),
            # In a list: of each number that it finds in a dictionary, Tune keeps means, minimum and maximum.
            "metrics": list(report.metrics.items()),
            "seconds": report.metrics.get("seconds", 0.0),
            "weights": report.weights,
            "epoch": report.epoch,
            "finished": report.finished,
            "diverged": report.diverged,
            "done": report.last,
        }
        if report.interrupted:
            result["interrupted"] = True
        return result if report.failure is None else result | {"failure": report.failure}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """A pointer: the student's own checkpoint lies in its folder."""
        return {"epoch": self._epoch}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Resume after the pointer's epoch; the student itself is seated from its folder."""
        self._epoch = checkpoint["epoch"] if checkpoint else 0

    def cleanup(self) -> None:
        for seat in self._seats:
            seat.leave()
        self._seats = ()

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in config.items() if name != TRIAL}
        self._number = int(config[TRIAL])
        self._epoch = 0
        self._seats = ()

    def _report(self) -> Report:
        """Of all students, which train up to this epoch at the same time."""
        if len(self._seats) == 1:
            return self._seats[0].report(self._epoch)
        with ThreadPoolExecutor(len(self._seats)) as pool:
            return merged(list(pool.map(lambda seat: seat.report(self._epoch), self._seats)))

    def _requests(self) -> list[TrainRequest]:
        """One student on each fold; where this trial searches its teachers too, they are trained before any sits."""
        requests = []
        for fold, fingerprint in enumerate(self._context.fingerprints):
            experiment = override(self._context.experiment, {**self._values, "data.fold": fold})
            spec = experiment.training_spec()
            chain = teachers(experiment, fingerprint) if spec.needs_teacher else []
            for teacher in chain:
                train_to_end(self._broker, teacher)
            requests.append(
                TrainRequest(
                    student=fold_name(trial_name(self._number), fold),
                    spec=spec,
                    teacher=chain[-1].folder if chain else None,
                    folder=trial_folder(experiment, self._number, fold),
                    data=fingerprint,
                )
            )
        return requests
