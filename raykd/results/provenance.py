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
    found = description(folder)
    assert found is not None
    told: Origin = {"model": _network(found)}
    if found.get("weights") is not None:
        told["model_digest"] = found["weights"]
    if "source" in found:
        told["source"] = found["source"]
    told |= {"data": found["data"]["name"], "data_fingerprint": found["data"]["fingerprint"]}
    if METRIC in found["metrics"]:
        told[METRIC] = found["metrics"][METRIC]
    with suppress(PackageNotFoundError):  # run from a checkout
        told["raykd_version"] = version("raykd")
    return told


def provenance_of_student(folder: Path, experiment: Experiment, result: StudyResult, trial: TrialSummary) -> Origin:
    """All that `provenance_of_model` tells, and the study, trial and teacher that a student comes from.

    Args:
        folder: Of the student.
        experiment: Its study's.
        result: Its study's outcome.
        trial: The student's.
    """
    told: Origin = {"study": experiment.study.name, "trial": trial.name, **provenance_of_model(folder)}
    student = description(folder)
    assert student is not None
    spec = TrainingSpec.model_validate(student["lesson"])
    told["method"] = spec.method.name
    teacher = _teacher(experiment, result, trial, student) if spec.needs_teacher else None
    if teacher is not None:
        told["teacher"] = _network(teacher)
        if teacher.get("weights") is not None:
            told["teacher_digest"] = teacher["weights"]
        told[f"teacher_{METRIC}"] = teacher["metrics"][METRIC]
    if result.plain is not None:
        told[f"plain_student_{METRIC}"] = result.plain["metrics"][METRIC]
    return told


def _teacher(
    experiment: Experiment, result: StudyResult, trial: TrialSummary, student: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """What is known of a trial's teacher: the study's, or the one that the trial chose, if it is in the cache."""
    if not any(name.startswith("teacher.") for name in trial.values):
        return result.teacher
    chosen = teachers(override(experiment, trial.values), student["data"]["fingerprint"])[-1].folder
    found = description(chosen)
    return found and found | {"folder": chosen}


def _network(found: Mapping[str, Any]) -> str:
    """The network of a model's description, as settings name it."""
    settings = found["lesson"]["student"]
    return found["source"] if settings is None else str(ModelSettings.model_validate(settings))
