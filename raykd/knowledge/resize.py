"""Feature maps of different sizes are compared at the smaller one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature maps (N, channels, height, width) pooled to the smaller height and width of the two."""
    height, width = (min(*sizes) for sizes in zip(student.shape[2:], teacher.shape[2:], strict=True))
    student, teacher = (
        maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))
        for maps in (student, teacher)
    )
    return student, teacher
