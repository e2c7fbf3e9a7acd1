"""How student and teacher see the images, in a line of the plan."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.models import preprocessing
from raykd.study.networks import seen_by_teacher


def preprocessing_line(
    experiment: Experiment, info: DataInfo, roles: Collection[Literal["teacher", "student"]], streamed: bool
) -> str:
    """How student and teacher see the images.

    Args:
        experiment: With an external teacher's folder as `teacher.source`.
        info: The data.
        roles: Whose preprocessing is told.
        streamed: Whether images are cropped out of files.
    """
    parts = []
    if "student" in roles:
        parts.append(_of(info, info, streamed) + _of_weights(experiment, info))
    if "teacher" in roles:
        own, is_alone = seen_by_teacher(experiment, info), "student" not in roles
        own_words = _of(own, info, streamed)
        same = not is_alone and own_words == _of(info, info, streamed)
        parts.append("teacher the same" if same else own_words if is_alone else f"teacher {own_words}")
    return "; ".join(parts)


def _of(own: DataInfo, info: DataInfo, streamed: bool) -> str:
    size = f"{own.height} x {own.width}"
    if streamed:
        if own.crop == "squash":
            size += f", squashed to {own.resized_to}"
        elif own.resized_to:
            size += f" from the centre of {own.resized_to}"
        else:
            size += " from the centre, not resized"
        size += f", {own.interpolation}"
    elif (own.height, own.width) != (info.height, info.width):
        size += f", resized from {info.height} x {info.width}, {own.interpolation}"
    return f"{size}, mean {_numbers(own.mean)}, std {_numbers(own.std)}"


def _of_weights(experiment: Experiment, info: DataInfo) -> str:
    """What the student's named weights were made with, where that is another normalisation; it is left as it is."""
    wanted = preprocessing(experiment.student)
    if wanted.mean is None or wanted.std is None or info.channels != len(wanted.mean):
        return ""
    if all(_numbers(one) == _numbers(other) for one, other in ((wanted.mean, info.mean), (wanted.std, info.std))):
        return ""
    return (
        f" (its weights were made with mean {_numbers(wanted.mean)}, std {_numbers(wanted.std)}: data.mean, data.std)"
    )


def _numbers(values: tuple[float, ...]) -> str:
    shown = [f"{value:.3f}".rstrip("0").rstrip(".") for value in values]
    return shown[0] if len(set(shown)) == 1 else " ".join(shown)
