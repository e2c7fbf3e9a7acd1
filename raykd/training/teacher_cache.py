"""The teachers of an experiment, the standard one and the generous one that it teaches, cached by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from raykd.config import Experiment, TrainingSpec
from raykd.fingerprints import without_fold
from raykd.places import teachers_folder
from raykd.storage import below, name_of
from raykd.training.messages import TrainRequest

FORMAT = 1
"""Raise it when the same settings and data give another teacher than before."""


def teachers(experiment: Experiment, fingerprint: str) -> list[TrainRequest]:
    """The requests to train an experiment's teachers, in the order of training; the last one teaches the students.

    With `teacher.folds`, each teacher is trained without its fold, and the last request makes one of them.

    Args:
        experiment: The experiment.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
    """
    folds, data = experiment.teacher.folds, experiment.data
    if folds is None:
        return _chain(experiment, fingerprint)
    chains = []
    for fold in range(folds):
        own = experiment.model_copy(update={"data": data.model_copy(update={"left_out": (fold, folds)})})
        chains.append(_chain(own, without_fold(fingerprint, fold, folds, data.seed)))
    last = [chain[-1] for chain in chains]
    standard = experiment.teacher.kind == "standard"
    spec = experiment.standard_teacher_spec() if standard else experiment.generous_teacher_spec()
    return [request for each in chains for request in each] + [_as_one(experiment, spec, last, fingerprint)]


def kind_of(teacher: TrainRequest) -> str:
    """Whether a teacher is a ``standard`` or a ``generous`` one."""
    return "standard" if teacher.teacher is None and not teacher.spec.needs_teacher else "generous"


def _chain(experiment: Experiment, fingerprint: str) -> list[TrainRequest]:
    """The standard teacher, and the generous one that it teaches if that is what the experiment has."""
    standard = _external_teacher(experiment) or _request(
        experiment, experiment.standard_teacher_spec(), fingerprint, taught_by=None
    )
    if experiment.teacher.kind == "standard":
        return [standard]
    return [standard, _request(experiment, experiment.generous_teacher_spec(), fingerprint, taught_by=standard)]


def _as_one(
    experiment: Experiment, spec: TrainingSpec, members: Sequence[TrainRequest], fingerprint: str
) -> TrainRequest:
    key = _key({"format": FORMAT, "members": [member.student for member in members]})
    return TrainRequest(
        student=f"teacher-{key}",
        spec=spec,
        teacher=None,
        folder=below(teachers_folder(experiment), key),
        members=tuple(member.folder for member in members),
        data=fingerprint,
    )


def _external_teacher(experiment: Experiment) -> TrainRequest | None:
    """The request of a teacher trained elsewhere, which is fetched by now; it is finished already."""
    folder = experiment.teacher.folder
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
    key = _key(content)
    return TrainRequest(
        student=f"teacher-{key}",
        spec=spec,
        teacher=None if taught_by is None else taught_by.folder,
        folder=below(teachers_folder(experiment), key),
        data=fingerprint,
    )


def _key(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
