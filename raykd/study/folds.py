"""The folds of a cross-validated search (`data.folds`): each has its own splits, and so its own teachers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raykd.config import Experiment
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.places import PLAIN, fold_name, shared_folder
from raykd.settings_io import override
from raykd.storage import below
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers


@dataclass(frozen=True)
class Fold:
    """One fold of a study; without `data.folds` there is one.

    - number: 0-based
    - experiment: the study's, on this fold
    - fingerprint: of the data with this fold's splits
    """

    number: int
    experiment: Experiment
    fingerprint: str

    @property
    def chain(self) -> list[TrainRequest]:
        """The teachers of this fold, in the order of training."""
        return teachers(self.experiment, self.fingerprint)

    @property
    def plain(self) -> TrainRequest:
        """The student without a teacher."""
        name = fold_name(PLAIN, self.number)
        return TrainRequest(
            student=name,
            spec=self.experiment.training_spec().without_teacher(),
            teacher=None,
            folder=below(shared_folder(self.experiment), name),
            data=self.fingerprint,
        )


def folds_of(experiment: Experiment, fingerprint: str) -> tuple[Fold, ...]:
    """The folds of a study.

    Args:
        experiment: The study's, on its first fold.
        fingerprint: Of the first fold's data.

    Raises:
        RaykdError: a classroom has too few seats for the students of one trial.
    """
    settings, seats = experiment.data, experiment.cluster.seats
    if settings.folds is not None and seats is not None and seats < settings.folds:
        raise RaykdError(f"cluster.seats {seats}: a trial needs {settings.folds} seats at once, as data.folds says")
    return (Fold(0, experiment, fingerprint), *_further(experiment))


def _further(experiment: Experiment) -> Iterator[Fold]:
    for number in range(1, experiment.data.folds or 1):
        own = override(experiment, {"data.fold": number})
        yield Fold(number, own, load_data(own.data).info.fingerprint)
