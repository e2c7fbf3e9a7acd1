"""Whether a given teacher is as good here as it should be: far less hints at other preprocessing, classes or images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.study.external_teacher import given_folders
from raykd.training.external_teacher import CLAIM
from raykd.training.folder import description

MARGIN = 0.02
ERRORS = 3.0
"""An accuracy is far below another if it lacks more than the margin and so many standard errors."""
ADVICE = (
    "Does it want its images otherwise (teacher.image_size, resize, crop, interpolation, mean, std), or its classes in "
    "another order?"
)


def far_below(accuracy: float, other: float, images: int) -> bool:
    """Whether an accuracy on so many images is far below another, by more than chance among the images explains."""
    error = math.sqrt(other * (1 - other) / images)
    return other - accuracy > MARGIN + ERRORS * error


def doubts(experiment: Experiment, info: DataInfo) -> list[str]:
    """What speaks against a given teacher before its students are trained, in whole sentences; nothing if all is well.

    Args:
        experiment: With all external teachers fetched.
        info: The data.
    """
    folders = given_folders(experiment)
    found = [_doubt(experiment, folder, info, several=len(folders) > 1) for folder in folders]
    return [doubt for doubt in found if doubt is not None]


def _doubt(experiment: Experiment, folder: str, info: DataInfo, *, several: bool) -> str | None:
    """What speaks against one of the given teachers; or None."""
    if (found := _accuracy(folder, info)) is None:
        return None
    accuracy, content = found
    images = info.split_sizes[info.held_out]
    is_right = _is_right(f"given teacher {content['source']}" if several else "given teacher", accuracy, info)
    told = _expected(experiment, content)
    if told is not None and far_below(accuracy, told[0], images):
        return f"{is_right}, far less than {told[0]:.2%}, as {told[1]} says. {ADVICE}"
    if _is_near_chance(accuracy, info):
        return f"{is_right}, hardly more than by chance ({1 / info.num_classes:.2%}). {ADVICE}"
    return None


def doubt_of_trained(model: Mapping[str, Any], info: DataInfo) -> str | None:
    """What speaks against a teacher that was trained here, by its description: it has learned next to nothing."""
    accuracy = model["metrics"][f"{info.held_out}_accuracy"]
    if not _is_near_chance(accuracy, info):
        return None
    return (
        f"{_is_right('teacher', accuracy, info)}, hardly more than by chance ({1 / info.num_classes:.2%}): it has "
        "nothing to teach. Try more teacher.training.epochs or another teacher.training.learning_rate."
    )


def doubt_beside_student(experiment: Experiment, info: DataInfo, student: float) -> str | None:
    """What speaks against a given teacher once a student's accuracy on the held-out images is known; or None."""
    folder = experiment.teacher.folder
    if folder is None or (found := _accuracy(folder, info)) is None:
        return None
    accuracy, images = found[0], info.split_sizes[info.held_out]
    if not far_below(accuracy, student, images):
        return None
    return f"{_is_right('given teacher', accuracy, info)}, far less than its student ({student:.2%}). {ADVICE}"


def _is_right(whose: str, accuracy: float, info: DataInfo) -> str:
    return f"The {whose} is right about {accuracy:.2%} of the {info.held_out} images"


def _is_near_chance(accuracy: float, info: DataInfo) -> bool:
    chance = 1 / info.num_classes
    return accuracy - chance < ERRORS * math.sqrt(chance * (1 - chance) / info.split_sizes[info.held_out])


def _accuracy(folder: str, info: DataInfo) -> tuple[float, Mapping[str, Any]] | None:
    """The accuracy here of the given teacher in a folder, if it was measured, and its description."""
    content = description(folder)
    accuracy = None if content is None else content["metrics"].get(f"{info.held_out}_accuracy")
    return None if content is None or accuracy is None else (accuracy, content)


def _expected(experiment: Experiment, content: Mapping[str, Any]) -> tuple[float, str] | None:
    """The accuracy that the teacher should have, and who says so."""
    if (given := experiment.teacher.expected_accuracy) is not None:
        return given, "teacher.expected_accuracy"
    if (claim := content.get(CLAIM)) is not None:
        return float(claim[1]), f"its source ({claim[0]})"
    return None
