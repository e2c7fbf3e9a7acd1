"""Shared by the benchmarks without a cluster: one class of students, trained to the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raykd.config import TrainingSpec
from raykd.training.classroom import Classroom
from raykd.training.messages import Report, TrainRequest, WorkerCommands
from raykd.training.team import Team


def train_class(specs: Mapping[str, TrainingSpec], folder: Path, teacher: Path | None) -> list[Report]:
    """Train students, named as their folders, in one class; all their reports. A failure or divergence ends it all."""
    classroom = Classroom(Team())
    requests = [TrainRequest(name, spec, teacher and str(teacher), str(folder / name)) for name, spec in specs.items()]
    reports = list(classroom.follow(WorkerCommands(enter=tuple(requests))))
    while classroom.seated:
        reports += classroom.follow(WorkerCommands(learn=classroom.seated))
    for report in reports:
        if report.failure or report.diverged:
            raise SystemExit(f"{report.student}: {report.failure or 'diverged'}")
    return reports
