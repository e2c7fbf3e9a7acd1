"""Knowledge review: the student's deep features join its shallow ones, stage by stage, before they are compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raykd.knowledge.methods.base import Hints, HintShapes

LEVELS = (4, 2, 1)
"""Heights and widths to which feature maps are pooled for comparison, beside their own."""


class Fusion(nn.Module):
    """Fuses a stage with the fused features of the deeper ones, and projects the result to the teacher's channels.

    Two attention maps, of both inputs, weigh them position by position (arXiv 2104.09044). The deepest stage has
    nothing to be fused with.

    Args:
        student: Channels of the student's stage.
        fused: Channels of what goes on to the next shallower stage.
        teacher: Channels of the teacher's stage.
        deepest: There is no deeper stage.
    """

    def __init__(self, student: int, fused: int, teacher: int, *, deepest: bool) -> None:
        super().__init__()
        reduce = nn.Conv2d(student, fused, 1, bias=False)
        project = nn.Conv2d(fused, teacher, 3, padding=1, bias=False)
        for convolution in (reduce, project):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.reduce = nn.Sequential(reduce, nn.BatchNorm2d(fused))
        self.project = nn.Sequential(project, nn.BatchNorm2d(teacher))
        self.attention = None if deepest else nn.Sequential(nn.Conv2d(2 * fused, 2, 1), nn.Sigmoid())

    def forward(self, features: Tensor, deeper: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Return what is compared with the teacher's stage [B, teacher, *size], and what goes on [B, fused, *size].

        Args:
            features: The student's stage, [B, student, height, width].
            deeper: Fused features of the next deeper stage, [B, fused, ...], or None at the deepest.
            size: Height and width of the teacher's stage.
        """
        fused: Tensor = self.reduce(features)
        if self.attention is not None and deeper is not None:
            deeper = _resized(deeper, fused.shape[2:])
            own_weight, deeper_weight = self.attention(torch.cat([fused, deeper], dim=1)).split(1, dim=1)
            fused = own_weight * fused + deeper_weight * deeper
        fused = _resized(fused, size)
        return self.project(fused), fused


class Review(nn.Module):
    """The sum over stages of `hierarchical_context` between the fused features and the teacher's.

    Args:
        shapes: Of the hints, shallow to deep; vectors count as maps of one pixel.
        most_channels: Most channels of the fused features, which have no more than the student's deepest hint.

    Raises:
        ValueError: A hint is neither a feature map nor a vector.
    """

    def __init__(self, shapes: HintShapes, most_channels: int) -> None:
        super().__init__()
        for shape in (*shapes.student, *shapes.teacher):
            if len(shape) not in (1, 3):
                raise ValueError(f"hints must be feature maps (channels, height, width) or vectors, not {shape}")
        fused = min(most_channels, shapes.student[-1][0])
        pairs = list(zip(shapes.student, shapes.teacher, strict=True))
        self.fusions = nn.ModuleList(
            Fusion(student[0], fused, teacher[0], deepest=number == len(pairs) - 1)
            for number, (student, teacher) in enumerate(pairs)
        )

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        total = hints.student[0].new_zeros(())
        deeper: Tensor | None = None
        stages = list(zip(self.fusions, map(_as_maps, hints.student), map(_as_maps, hints.teacher), strict=True))
        for fusion, student, teacher in reversed(stages):
            compared, deeper = fusion(student, deeper, teacher.shape[2:])
            total = total + hierarchical_context(compared, teacher)
        return total


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error, 0-dim, of maps [B, C, H, W] at their own size and pooled to smaller `LEVELS`.

    Each level counts half of the one before; the weights are divided by their sum (arXiv 2104.09044).
    """
    total = F.mse_loss(student, teacher)
    weight = weights = 1.0
    for level in LEVELS:
        if level < min(student.shape[2:]):
            weight /= 2
            weights += weight
            total = total + weight * F.mse_loss(
                F.adaptive_avg_pool2d(student, level), F.adaptive_avg_pool2d(teacher, level)
            )
    return total / weights


def _as_maps(features: Tensor) -> Tensor:
    return features[:, :, None, None] if features.dim() == 2 else features


def _resized(features: Tensor, size: torch.Size) -> Tensor:
    return features if features.shape[2:] == size else F.interpolate(features, tuple(size), mode="nearest")
