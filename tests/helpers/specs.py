"""Settings of small trainings on digits, and classrooms driven by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from raykd.config import TrainingSpec
from raykd.training.classroom import Classroom
from raykd.training.folder import CHECKPOINT
from raykd.training.messages import Report, TrainRequest, WorkerCommands
from raykd.training.team import Team

CIRCUMSTANCES = {"class_size", "seconds", "images_per_second"}
"""Metrics that tell of the class, not of the student."""

BASE: dict[str, dict[str, Any]] = {
    "data": {"train_images": 100, "validation_share": 0.1},
    "student": {"name": "resnet8", "arguments": {"width": 0.25}},
    # Without stacks a student is the same to the bit in any class.
    "training": {"epochs": 3, "batch_size": 25, "milestones": [0.4, 0.7], "stacking": "off"},
    # All of a method has a part in it, and the parts keep their weights' meaning from epoch to epoch.
    "method": {"dkd": {"non_target_weight": 8.0}},
    "temperature": {"policy": "std", "multiplier": 1.0},
    "bias": {"form": "pair", "denominator": "subset"},
    "schedule": {"hand_over": "rectified"},
}


def spec(**sections: dict[str, Any]) -> TrainingSpec:
    """Settings of a small training, with some settings changed; ``student=...`` replaces the whole section."""
    whole = {name: BASE.get(name, {}) | changes for name, changes in (BASE | sections).items()}
    if "student" in sections:
        whole["student"] = sections["student"]
    return TrainingSpec.model_validate(whole)


def plain(**sections: dict[str, Any]) -> TrainingSpec:
    """The same by labels alone."""
    return spec(**sections).without_teacher()


def request_for(what: TrainingSpec, folder: Path, teacher: Path | str | None = None) -> TrainRequest:
    """The student is named as its folder."""
    return TrainRequest(folder.name, what, None if teacher is None else str(teacher), str(folder))


def train(*requests: TrainRequest, classroom: Classroom | None = None, epochs: int | None = None) -> list[Report]:
    """Seat students and teach all that sit there, to the end or for some epochs; all their reports."""
    room = classroom or Classroom(Team())
    reports = list(room.follow(WorkerCommands(enter=requests)))
    while room.seated and epochs != 0:
        reports += room.follow(WorkerCommands(learn=room.seated))
        epochs = None if epochs is None else epochs - 1
    return reports


def of(reports: list[Report], student: str) -> list[Report]:
    return [report for report in reports if report.student == student]


def state(folder: Path | str) -> dict[str, Any]:
    """All of a checkpoint but the circumstances."""
    found: dict[str, Any] = torch.load(Path(folder) / CHECKPOINT, weights_only=True)
    found |= found.pop("state")
    for told in found["history"]:
        told["metrics"] = {name: value for name, value in told["metrics"].items() if name not in CIRCUMSTANCES}
    return found


def assert_close(folder: Path, other: Path, tolerance: float) -> None:
    """The networks of two students' checkpoints agree but for rounding."""
    ours, theirs = state(folder)["network"], state(other)["network"]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=tolerance, atol=tolerance, msg=name)


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, tensors in containers included."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)
