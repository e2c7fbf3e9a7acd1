"""Shared by the benchmarks without a cluster: one class of students, trained to the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raykd.config import Experiment, ModelSettings, TrainingSpec
from raykd.settings_io import override
from raykd.training.classroom import Classroom
from raykd.training.messages import Report, TrainRequest, WorkerCommands
from raykd.training.team import Team

TEACHER = ModelSettings(name="resnet20")
STUDENT = ModelSettings(name="resnet8", arguments={"width": 0.5})
"""Of all benchmarks that train real networks."""


def untaught_teacher(experiment: Experiment, folder: Path) -> Path:
    """A teacher after one epoch, in `folder`/teacher: what it knows does not matter for time."""
    spec = override(experiment, {"teacher.training.epochs": 1}).standard_teacher_spec()
    train_class({"teacher": spec}, folder, None)
    return folder / "teacher"


def train_class(
    specs: Mapping[str, TrainingSpec], folder: Path, teacher: Path | None, *, may_diverge: bool = False
) -> list[Report]:
    """Train students, named as their folders, in one class; all their reports. A failure ends it all.

    Args:
        specs: How each is trained, by its name.
        folder: Their folders are made in it.
        teacher: Of those that need one; None: nobody does.
        may_diverge: Whether a divergence does not end it.
    """
    classroom = Classroom(Team())
    taught_by = None if teacher is None else str(teacher)
    requests = [
        TrainRequest(name, spec, taught_by if spec.needs_teacher else None, str(folder / name))
        for name, spec in specs.items()
    ]
    reports = list(classroom.follow(WorkerCommands(enter=tuple(requests))))
    while classroom.seated:
        reports += classroom.follow(WorkerCommands(learn=classroom.seated))
    for report in reports:
        if report.failure or (report.diverged and not may_diverge):
            raise SystemExit(f"{report.student}: {report.failure or 'diverged'}")
    return reports
