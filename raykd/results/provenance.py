"""Where a finished model comes from, in few words: for the model registry and for what is exported."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raykd.config import Experiment, ModelSettings, TrainingSpec
from raykd.results.study import StudyResult
from raykd.results.trial_summary import TrialSummary
from raykd.search.names import METRIC
from raykd.settings_io import override
from raykd.training.folder import description
from raykd.training.teacher_cache import teachers

Origin = dict[str, str | float]


def provenance_of_model(folder: Path) -> Origin:
    """What a model's own folder tells: network, data, accuracy, and a digest of its weights.

    Args:
        folder: Of a finished model.
    """
    model = description(folder)
    assert model is not None
    origin: Origin = {"model": _network(model)}
    if model.get("weights") is not None:
        origin["model_digest"] = model["weights"]
    if "source" in model:
        origin["source"] = model["source"]
    origin |= {"data": model["data"]["name"], "data_fingerprint": model["data"]["fingerprint"]}
    if METRIC in model["metrics"]:
        origin[METRIC] = model["metrics"][METRIC]
    with suppress(PackageNotFoundError):  # run from a checkout
        origin["raykd_version"] = version("raykd")
    return origin


def provenance_of_student(folder: Path, experiment: Experiment, result: StudyResult, trial: TrialSummary) -> Origin:
    """All that `provenance_of_model` tells, and the study, trial and teacher that a student comes from.

    Args:
        folder: Of the student.
        experiment: Its study's.
        result: Its study's outcome.
        trial: The student's.
    """
    origin: Origin = {"study": experiment.study.name, "trial": trial.name, **provenance_of_model(folder)}
    student = description(folder)
    assert student is not None
    spec = TrainingSpec.model_validate(student["lesson"])
    origin["method"] = spec.method.name
    teacher = _teacher(experiment, result, trial, student) if spec.needs_teacher else None
    if teacher is not None:
        origin["teacher"] = _network(teacher)
        if teacher.get("weights") is not None:
            origin["teacher_digest"] = teacher["weights"]
        origin[f"teacher_{METRIC}"] = teacher["metrics"][METRIC]
    if result.plain is not None:
        origin[f"plain_student_{METRIC}"] = result.plain["metrics"][METRIC]
    return origin


def _teacher(
    experiment: Experiment, result: StudyResult, trial: TrialSummary, student: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """What is known of a trial's teacher: the study's, or the one that the trial chose, if it is in the cache."""
    if not any(name.startswith("teacher.") for name in trial.values):
        return result.teacher
    chosen = teachers(override(experiment, trial.values), student["data"]["fingerprint"])[-1].folder
    model = description(chosen)
    return model and model | {"folder": chosen}


def _network(model: Mapping[str, Any]) -> str:
    """The network of a model's description, as settings name it."""
    settings = model["lesson"]["student"]
    return model["source"] if settings is None else str(ModelSettings.model_validate(settings))
