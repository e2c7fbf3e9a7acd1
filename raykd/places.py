"""Names of a study's files and folders, and where the files are that every node must see."""

from __future__ import annotations

from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.storage import below, check_writable, is_empty

SETTINGS = "experiment.yaml"
"""All settings of a run."""
LOCK = "driver.lock"
"""File of a run's folder that its process holds locked; the kernel frees it however the process ends."""
JOURNAL = "study.journal"
"""Optuna's record of a study, unless `study.storage` names another."""
TRIALS = "trials"
"""A folder for each trial."""
BEST = "best"
"""The best student of a study."""
PLAIN = "plain"
"""The student of a study that is trained without a teacher; also its name, and that of the contender."""
STUDENT = "student"
"""The student of a single run."""
TEACHER = "teacher.json"
"""The description of a study's teacher (see `raykd.training.folder`) and its folder: readable without the cache."""
GIVEN_TEACHERS = "teachers.json"
"""Names of the folders of a run's given teachers in the cache, by what they were fetched by, if there are several."""
FINALISTS = "finalists.json"
"""What a study's finalists reached, see `raykd.results.finalists`."""
RAY = "ray"
"""Ray's own files."""


TRIAL_PREFIX = "trial-"
"""With what the names of trials begin."""


def trial_name(number: int) -> str:
    """The name of a trial: in folders, in MLflow and in tables."""
    return f"{TRIAL_PREFIX}{number:04d}"


def fold_name(name: str, fold: int) -> str:
    """The name of a trial's, or the plain, student on a fold: on the first one it is that of the trial itself."""
    return name if fold == 0 else f"{name}-fold-{fold}"


def label(name: str, start: str | None) -> str:
    """A trial's name in tables, with the start point that it is."""
    return name if start is None else f"{name} ({start})"


def shared_folder(experiment: Experiment) -> str:
    """Path or URL of a run's shared folder, which holds a folder of each student; see `cluster.storage`."""
    storage = experiment.cluster.storage
    return str(experiment.folder) if storage is None else below(storage, "studies", experiment.study.name)


def teachers_folder(experiment: Experiment) -> str:
    """Path or URL of the folder that holds a folder of each teacher."""
    storage = experiment.cluster.storage
    return str(experiment.teacher.cache / "teachers") if storage is None else below(storage, "teachers")


def check_storage(experiment: Experiment) -> None:
    """Make sure that `cluster.storage` can be used from here, before anything else uses it.

    Raises:
        RaykdError: it cannot, or another record's students lie there under this study's name.
    """
    storage = experiment.cluster.storage
    if storage is None:
        return
    check_writable(storage, "cluster.storage")
    folder = shared_folder(experiment)
    if not experiment.folder.exists() and not is_empty(folder):
        raise RaykdError(
            f"{folder} holds a study whose record is not in {experiment.folder}:\n"
            "resume it where its record is, name another with --study.name, or delete that folder"
        )
