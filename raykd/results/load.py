"""A study that is on disk, finished or not: found by its folder or name, and read without the cluster or the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from raykd.config import Experiment, StudySettings
from raykd.errors import RaykdError, unknown_name
from raykd.places import GIVEN_TEACHERS, PLAIN, SETTINGS, TEACHER, fold_name, teachers_folder
from raykd.records import read_json
from raykd.results.folds import over_folds
from raykd.results.study import StudyResult
from raykd.saved_settings import load_saved
from raykd.search.optuna_study import read_study
from raykd.search.storage import study_names, study_storage
from raykd.settings_io import override
from raykd.storage import below, local_path
from raykd.tracking.address import address_of
from raykd.training.folder import description


@dataclass(frozen=True)
class RecordedStudy:
    """What lies in a study's folder.

    - folder: the study's
    - experiment: the settings it was begun with; its `folder` is where it was begun, which may be elsewhere
    - study: its trials, as Optuna has them
    """

    folder: Path
    experiment: Experiment
    study: optuna.Study

    @property
    def result(self) -> StudyResult:
        """Its outcome so far.

        Raises:
            RaykdError: it has no teacher yet.
        """
        teacher = recorded_teacher(self.folder)
        place = address_of(self.experiment.tracking, self.folder)
        folds = range(self.experiment.data.folds or 1)
        plain = over_folds([description(self.folder / fold_name(PLAIN, fold)) for fold in folds])
        return StudyResult.of(self.folder, self.study, teacher, plain, place)


def recorded_teacher(folder: Path) -> dict[str, Any]:
    """The description of a study's teacher, and its folder, as the study's folder has them.

    Raises:
        RaykdError: it has no teacher yet, or the record is damaged.
    """

    def made_of(content: Any) -> dict[str, Any]:
        return dict(content) | {"folder": str(content["folder"])}

    teacher = read_json(folder / TEACHER, made_of, "--resume the study, which writes it again")
    if teacher is None:
        raise RaykdError(f"study {folder} has no teacher yet: continue it by --resume")
    return teacher


def study_folder(study: str | Path, output: Path | None = None) -> Path:
    """The folder of a study, or of a run of another kind.

    Args:
        study: The folder, or the study's name below `output`.
        output: Holds one folder a study. None: the default of `study.output`.

    Raises:
        RaykdError: there is no such study.
    """
    output = output or StudySettings().output
    folder = local_path(study)
    if not (folder / SETTINGS).exists():
        folder = output.expanduser() / study
    if not (folder / SETTINGS).exists():
        known = [file.parent.name for file in sorted(output.expanduser().glob(f"*/{SETTINGS}"))]
        if not known:
            raise RaykdError(f"no study {str(study)!r}: neither is it a study's folder, nor is there one in {output}")
        raise unknown_name("study", str(study), known, str(output))
    return folder.absolute()


def recorded_study(study: str | Path, output: Path | None = None) -> RecordedStudy:
    """Read a study's folder.

    Args:
        study: The folder, or the study's name below `output`.
        output: Holds one folder a study. None: the default of `study.output`.

    Raises:
        RaykdError: there is no such study, the folder holds a run of another kind, or its storage does not answer.
    """
    folder = study_folder(study, output)
    # Whom to trust is not for a file to say.
    experiment = override(load_saved(folder / SETTINGS), {"teacher.trust": False})
    experiment = override(experiment, {"teacher.fetched": _given_teachers(folder, experiment)})
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells that the study is not a new one
    place, name = study_storage(experiment.study, folder), experiment.study.name
    if name not in study_names(place):
        raise RaykdError(f"{folder} holds no search: a study is what `raykd tune` makes")
    return RecordedStudy(folder, experiment, read_study(place, name))


def _given_teachers(folder: Path, experiment: Experiment) -> dict[str, str]:
    """The folders of a study's several given teachers, by what they were fetched by; those that are still there."""
    names = read_json(folder / GIVEN_TEACHERS, lambda content: {**content}, "--resume the study, which writes it again")
    folders = {key: below(teachers_folder(experiment), name) for key, name in (names or {}).items()}
    return {key: each for key, each in folders.items() if description(each) is not None}


def load_study(study: str | Path, output: Path | None = None) -> StudyResult:
    """A study's outcome so far: its trials, teacher and plain student.

    Args:
        study: The study's folder, or its name below `output`.
        output: Holds one folder a study. None: the default of `study.output`.

    Raises:
        RaykdError: there is no such study, or it has no teacher yet.
    """
    return recorded_study(study, output).result
