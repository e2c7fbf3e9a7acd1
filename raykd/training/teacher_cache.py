"""Who teaches: the standard teacher, and the generous one it taught, cached on disk by content."""

from __future__ import annotations

import hashlib
import json

from raykd.config import Experiment, TrainingSpec
from raykd.places import teachers_folder
from raykd.storage import below, name_of
from raykd.training.identity import identity
from raykd.training.messages import TrainRequest

FORMAT = 1
"""Raise it when the same settings and data give another teacher than before."""


def teachers(experiment: Experiment, fingerprint: str) -> list[TrainRequest]:
    """The enrolments that lead to an experiment's teacher, in the order they must be taught; the last one teaches.

    Args:
        experiment: The experiment.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
    """
    standard = _adopted(experiment) or _request(
        experiment, experiment.standard_teacher_spec(), fingerprint, taught_by=None
    )
    if experiment.teacher.kind == "standard":
        return [standard]
    return [standard, _request(experiment, experiment.generous_teacher_spec(), fingerprint, taught_by=standard)]


def _adopted(experiment: Experiment) -> TrainRequest | None:
    """The enrolment of a teacher that `raykd.study.preflight` brought into the cache; nothing is left to teach it."""
    folder = experiment.teacher.source
    if folder is None:
        return None
    spec = experiment.standard_teacher_spec()
    return TrainRequest(f"teacher-{name_of(folder)}", spec, teacher=None, folder=folder)


def _request(
    experiment: Experiment, spec: TrainingSpec, fingerprint: str, taught_by: TrainRequest | None
) -> TrainRequest:
    content = {
        "format": FORMAT,
        "lesson": identity(spec),
        "data": fingerprint,
        "teacher": None if taught_by is None else taught_by.student,
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return TrainRequest(
        student=f"teacher-{key}",
        spec=spec,
        teacher=None if taught_by is None else taught_by.folder,
        folder=below(teachers_folder(experiment), key),
        data=fingerprint,
    )
