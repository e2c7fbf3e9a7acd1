"""The layers of student and teacher whose features a feature method compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor, nn

from raykd.config import MethodSettings, TrainingSpec
from raykd.data import Batch, DataInfo
from raykd.errors import RaykdError
from raykd.knowledge import Hints
from raykd.knowledge.hints import default_layers, hint_shapes
from raykd.knowledge.methods.base import FeatureMethod, HintShapes, Where


@dataclass(frozen=True)
class HintLayers:
    """The hint layers of student and teacher, shallow to deep, as many of each, and what they give."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]
    shapes: HintShapes

    def hints(self, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], batch: Batch) -> Hints:
        """What a feature method compares, of the features of both networks' layers for a batch, by name."""
        student = tuple(mine[name] for name in self.student)
        return Hints(student, tuple(theirs[name] for name in self.teacher), batch.labels, batch.indices)


def find_hint_layers(
    spec: TrainingSpec,
    student: nn.Module,
    teacher: nn.Module | None,
    info: DataInfo,
    labels: Tensor,
    seen_by_teacher: DataInfo | None = None,
) -> HintLayers | None:
    """The hint layers of a training, or None where its method takes no hints.

    Args:
        spec: The training's settings.
        student: The student's bare network.
        teacher: The teacher's.
        info: The data.
        labels: Of the training split.
        seen_by_teacher: The data as the teacher sees them. None: as the student does.

    Raises:
        RaykdError: There is no teacher, there are no such layers, or the two networks do not have equally many.
    """
    settings, method = spec.method, spec.method.chosen()
    if not isinstance(method, FeatureMethod):
        return None
    if teacher is None:
        raise RaykdError(f"method {settings.name} needs a teacher")
    image = (info.channels, info.height, info.width)
    own = seen_by_teacher or info
    image_of_teacher = (own.channels, own.height, own.width)
    return compared_layers(settings, method.where, student, teacher, image, image_of_teacher, labels)


def compared_layers(
    settings: MethodSettings,
    where: Where,
    student: nn.Module,
    teacher: nn.Module,
    image: tuple[int, int, int],
    image_of_teacher: tuple[int, int, int],
    labels: Tensor,
) -> HintLayers:
    """The layers that a feature method compares.

    Args:
        settings: May name them.
        where: Otherwise, where the method takes its hints.
        student, teacher: The bare networks.
        image, image_of_teacher: Shape of an image as each of them sees it: channels, height, width.
        labels: Of the training split.

    Raises:
        RaykdError: There are no such layers, or the two networks do not have equally many.
    """
    mine = settings.student_layers or default_layers(student, where, image)
    theirs = settings.teacher_layers or default_layers(teacher, where, image_of_teacher)
    if settings.student_layers is None and settings.teacher_layers is None:
        # The deepest stages of one belong to the deepest of the other.
        count = min(len(mine), len(theirs))
        mine, theirs = mine[-count:], theirs[-count:]
    student_shapes = hint_shapes(student, mine, image, "method.student_layers")
    teacher_shapes = hint_shapes(teacher, theirs, image_of_teacher, "method.teacher_layers")
    if len(mine) != len(theirs):
        pairs = ", ".join(f"{a or '?'} - {b or '?'}" for a, b in zip_longest(mine, theirs))
        raise RaykdError(
            f"method {settings.name} compares {len(mine)} layers of the student with {len(theirs)} of the teacher "
            f"({pairs}): give as many method.student_layers as method.teacher_layers"
        )
    shapes = HintShapes(student_shapes, teacher_shapes, labels)
    return HintLayers(mine, theirs, shapes)
