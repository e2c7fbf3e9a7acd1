"""Learned projections of the student's hints to the shape of the teacher's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from raykd.knowledge.methods.base import Hints, HintShapes
from raykd.knowledge.resize import same_size


def projection(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
    """A map from hints of the student's shape to the teacher's channels; nothing where these agree.

    Raises:
        ValueError: One is a feature map and the other is not, or one is neither a feature map nor a vector.
    """
    if len(student) != len(teacher) or len(student) not in (1, 3):
        raise ValueError(
            "hints must both be feature maps (channels, height, width) or both vectors, "
            f"not of shapes {student} and {teacher}"
        )
    if student[0] == teacher[0]:
        return nn.Identity()
    if len(student) == 1:
        return nn.Linear(student[0], teacher[0])
    return nn.Sequential(nn.Conv2d(student[0], teacher[0], 1, bias=False), nn.BatchNorm2d(teacher[0]), nn.ReLU())


class ProjectedError(nn.Module):
    """Mean squared error between the teacher's hints and the projected ones of the student (arXiv 1412.6550).

    Raises:
        ValueError: The shapes cannot be projected to each other.
    """

    def __init__(self, shapes: HintShapes) -> None:
        super().__init__()
        pairs = zip(shapes.student, shapes.teacher, strict=True)
        self.projections = nn.ModuleList(projection(student, teacher) for student, teacher in pairs)

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        total = hints.student[0].new_zeros(())
        for project, student, teacher in zip(self.projections, hints.student, hints.teacher, strict=True):
            if student.dim() == 4:
                student, teacher = same_size(student, teacher)
            total = total + F.mse_loss(project(student), teacher)
        return total
