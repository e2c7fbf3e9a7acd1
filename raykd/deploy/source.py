"""Finds the finished model of a folder or a study, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raykd.errors import RaykdError
from raykd.places import BEST, SETTINGS, TEACHER, TRIALS, shared_folder
from raykd.results.load import RecordedStudy, recorded_study
from raykd.results.provenance import Origin, provenance_of_model, provenance_of_student
from raykd.results.trial_summary import TrialSummary
from raykd.storage import below, local_path
from raykd.training.folder import description


@dataclass(frozen=True)
class FinishedModel:
    """A finished model: its folder, and where it comes from."""

    folder: Path
    provenance: Origin


def find_model(model: str | Path) -> FinishedModel:
    """The finished model of a folder; of a study, its best student.

    Args:
        model: A model's folder, a study's folder, or the name of a study below `outputs/`.

    Raises:
        RaykdError: There is none.
    """
    folder = local_path(model)
    if description(folder) is None:
        if folder.is_dir() and not (folder / SETTINGS).exists() and any(folder.iterdir()):
            raise RaykdError(f"no finished model in {folder}, and it is not a study's folder either")
        return best_student(recorded_study(model))
    folder = folder.absolute()
    for parent in (folder.parent, folder.parent.parent):
        if (parent / TEACHER).exists():
            study = recorded_study(parent)
            trial = _trial_in(study, folder)
            if trial is not None:
                return FinishedModel(folder, provenance_of_student(folder, study.experiment, study.result, trial))
    return FinishedModel(folder, provenance_of_model(folder))


def best_student(study: RecordedStudy) -> FinishedModel:
    """A study's best student.

    Raises:
        RaykdError: It has none yet.
    """
    folder = study.folder / BEST
    trial = _trial_in(study, folder) if description(folder) is not None else None
    if trial is None:
        raise RaykdError(f"study {study.folder} has no best student yet: continue it by --resume")
    return FinishedModel(folder, provenance_of_student(folder, study.experiment, study.result, trial))


def _trial_in(study: RecordedStudy, folder: Path) -> TrialSummary | None:
    """The trial whose student lies in a folder: its own, or the copy of the best."""
    model = description(folder)
    storage = study.experiment.cluster.storage
    # A study's folder on disk may have been moved since; objects in a store have not.
    shared = str(study.folder) if storage is None else shared_folder(study.experiment)
    for trial in study.result.ranked:
        own = below(shared, TRIALS, trial.name)
        if own == str(folder) or (folder.name == BEST and description(own) == model):
            return trial
    return None
