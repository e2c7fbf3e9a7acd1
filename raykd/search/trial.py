"""A trial of Ray Tune: it holds a seat in a classroom and passes the student's reports on. It needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from raykd.cluster.client import StudentClient, train_to_end
from raykd.cluster.session import NAMESPACE
from raykd.config import Experiment
from raykd.places import TRIALS, shared_folder, trial_name
from raykd.search.names import METRIC, TRIAL
from raykd.settings_io import override
from raykd.storage import below
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers


def trial_folder(experiment: Experiment, number: int) -> str:
    """The folder of a trial, a path or URL."""
    return below(shared_folder(experiment), TRIALS, trial_name(number))


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a study share.

    - broker: name of the broker's actor
    - experiment: the experiment that the searched values are laid over
    - fingerprint: of the data
    - at_once: how many trials run at once, if there are so many left; see `raykd.cluster.broker.Broker.assemble`
    """

    broker: str
    experiment: Experiment
    fingerprint: str
    at_once: int = 1


class StudentTrial(tune.Trainable):
    """One student of a study. Its step is one epoch, trained in a classroom.

    The config is flat: dotted setting names to values, and ``trial``, the Optuna trial's number.
    """

    _seat: StudentClient | None = None

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
        if self._seat is None:
            self._seat = self._submit()
        self._epoch += 1
        report = self._seat.report(self._epoch)
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
        return result if report.failure is None else result | {"failure": report.failure}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """A pointer: the student's own checkpoint lies in its folder."""
        return {"epoch": self._epoch}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Resume after the pointer's epoch; the student itself is seated from its folder."""
        self._epoch = checkpoint["epoch"] if checkpoint else 0

    def cleanup(self) -> None:
        if self._seat is not None:
            self._seat.leave()
            self._seat = None

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in config.items() if name != TRIAL}
        self._number = int(config[TRIAL])
        self._epoch = 0
        self._seat = None

    def _submit(self) -> StudentClient:
        """Join a classroom; where this trial searches its teacher too, have that one trained first."""
        experiment = override(self._context.experiment, self._values)
        spec = experiment.training_spec()
        chain = teachers(experiment, self._context.fingerprint) if spec.needs_teacher else []
        for teacher in chain:
            train_to_end(self._broker, teacher)
        request = TrainRequest(
            student=trial_name(self._number),
            spec=spec,
            teacher=chain[-1].folder if chain else None,
            folder=trial_folder(experiment, self._number),
            data=self._context.fingerprint,
        )
        return StudentClient(self._broker, request)
