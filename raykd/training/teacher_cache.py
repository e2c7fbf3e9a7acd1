"""The teachers of an experiment, the standard one and the generous one that it teaches, cached by content."""

from __future__ import annotations

import hashlib
import json

from raykd.config import Experiment, TrainingSpec
from raykd.places import teachers_folder
from raykd.storage import below, name_of
from raykd.training.messages import TrainRequest

FORMAT = 1
"""Raise it when the same settings and data give another teacher than before."""


def teachers(experiment: Experiment, fingerprint: str) -> list[TrainRequest]:
    """The requests to train an experiment's teachers, in the order of training; the last one teaches the students.

    Args:
        experiment: The experiment.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
    """
    standard = _external_teacher(experiment) or _request(
        experiment, experiment.standard_teacher_spec(), fingerprint, taught_by=None
    )
    if experiment.teacher.kind == "standard":
        return [standard]
    return [standard, _request(experiment, experiment.generous_teacher_spec(), fingerprint, taught_by=standard)]


def _external_teacher(experiment: Experiment) -> TrainRequest | None:
    """The request of a teacher trained elsewhere, whose folder `teacher.source` is by now; it is finished already."""
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
        "lesson": spec.identity(),
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
