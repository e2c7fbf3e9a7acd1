"""Who teaches: the standard teacher, and the generous one it taught, cached on disk by content."""

from __future__ import annotations

import hashlib
import json

from raykd.config import Experiment, Lesson
from raykd.storage import below, name_of
from raykd.study.places import teachers_folder
from raykd.training.identity import identity
from raykd.training.messages import Enrolment

FORMAT = 1
"""Raise it when the same settings and data give another teacher than before."""


def teachers(experiment: Experiment, fingerprint: str) -> list[Enrolment]:
    """The enrolments that lead to an experiment's teacher, in the order they must be taught; the last one teaches.

    Args:
        experiment: The experiment.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
    """
    standard = _adopted(experiment) or _enrolment(
        experiment, experiment.standard_teacher_lesson(), fingerprint, taught_by=None
    )
    if experiment.teacher.kind == "standard":
        return [standard]
    return [standard, _enrolment(experiment, experiment.generous_teacher_lesson(), fingerprint, taught_by=standard)]


def _adopted(experiment: Experiment) -> Enrolment | None:
    """The enrolment of a teacher that `raykd.study.briefing` brought into the cache; nothing is left to teach it."""
    folder = experiment.teacher.source
    if folder is None:
        return None
    lesson = experiment.standard_teacher_lesson().model_dump(mode="json")
    return Enrolment(f"teacher-{name_of(folder)}", lesson, teacher=None, folder=folder)


def _enrolment(experiment: Experiment, lesson: Lesson, fingerprint: str, taught_by: Enrolment | None) -> Enrolment:
    content = {
        "format": FORMAT,
        "lesson": identity(lesson),
        "data": fingerprint,
        "teacher": None if taught_by is None else taught_by.student,
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Enrolment(
        student=f"teacher-{key}",
        lesson=lesson.model_dump(mode="json"),
        teacher=None if taught_by is None else taught_by.folder,
        folder=below(teachers_folder(experiment), key),
        data=fingerprint,
    )
