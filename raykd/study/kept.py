"""What a study keeps of its students, looked at again when it is resumed: what is damaged is made again, and said.

A student's checkpoint has all that its model is made of, so no classroom is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from raykd.config import Experiment
from raykd.data import DataInfo, load_data
from raykd.errors import RaykdError
from raykd.places import TRIALS, shared_folder
from raykd.results.pareto import FRONT
from raykd.results.study import StudyResult
from raykd.search.trial import trial_folder
from raykd.settings_io import override
from raykd.storage import below, read
from raykd.study.folds import Fold
from raykd.training.folder import DESCRIPTION, description
from raykd.training.messages import TrainRequest
from raykd.training.repair import repaired
from raykd.training.saved import is_whole


def repair_plain(folds: Sequence[Fold], console: Console) -> None:
    """Make the plain student's model whole, where it has finished and its checkpoint is whole."""
    for fold in folds:
        plain = fold.plain
        if read(plain.folder, DESCRIPTION) is None or is_whole(plain.folder):
            continue
        if repaired(plain, load_data(fold.experiment.data).info):
            say(console, f"{plain.student} student: its model in {plain.folder} was damaged; it is made again")


def repair_trials(result: StudyResult, experiment: Experiment, data: DataInfo, console: Console) -> None:
    """Make the models whole that are copied into a study's folder: that of its best trial, and those of the front.

    Args:
        result: The study's outcome; it has a best trial.
        experiment: The study's.
        data: Of its first fold.
        console: Where it is said.

    Raises:
        RaykdError: one is damaged, and so is its checkpoint.
    """
    assert result.best is not None
    for name, values in {trial.name: trial.values for trial in (result.best, *result.pareto)}.items():
        folder = trial_folder(experiment, int(name.rpartition("-")[2]))
        if is_whole(folder):
            continue
        spec = override(experiment, values).training_spec()
        if not repaired(TrainRequest(name, spec, teacher=None, folder=folder), data):
            raise RaykdError(
                f"{name}: its model and its checkpoint in {folder} are damaged\n"
                f"raykd replay {experiment.folder}/{name} trains the same student again"
            )
        say(console, f"{name}: its model in {folder} was damaged; it is made again from its checkpoint")


def is_kept(result: StudyResult, experiment: Experiment, folds: Sequence[Fold]) -> bool:
    """Whether the copies in a study's folder are whole and of the right students.

    Args:
        result: The study's outcome; it has a best trial.
        experiment: The study's.
        folds: Its folds, each with a plain student.
    """
    assert result.best is not None
    shared = shared_folder(experiment)
    copies = {result.best_folder: result.best.name}
    copies |= {result.folder / FRONT / trial.name: trial.name for trial in result.pareto}
    originals = {copy: below(shared, TRIALS, trial) for copy, trial in copies.items()}
    if result.plain is not None and experiment.cluster.storage is not None:
        originals |= {result.folder / fold.plain.student: fold.plain.folder for fold in folds}
    return all(is_whole(copy) and description(copy) == description(own) for copy, own in originals.items())


def say(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
