"""Attention transfer: where the networks look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from raykd.knowledge.methods.base import FeatureMethod, FeatureTerm, Hints, HintShapes, as_published
from raykd.settings import NonNegative

if TYPE_CHECKING:
    from torch import Tensor


class At(FeatureMethod):
    """Attention transfer: squared distance of attention maps, stage by stage."""

    name = "at"
    labels = "unused"
    formula = (
        "weight sum_stages mean (a(teacher_features) - a(student_features))^2, "
        "a(f) = normalised mean over channels of |f|^power"
    )
    source = (
        "Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017, arXiv 1612.03928, equation 2, "
        "with the authors' mean of squares for its norm"
    )
    published = as_published(ce_weight=1.0, kd_weight=0.0)
    where = "stages"

    weight: NonNegative = 1000.0
    """Weight of the feature term."""
    power: Annotated[float, Field(ge=1.0)] = 2.0
    """Power of the features; the higher, the more the strongest count. Below 1 its slope at 0 would be infinite."""

    def term(self, shapes: HintShapes) -> FeatureTerm:
        """The loss between feature maps of these shapes."""
        for shape in (*shapes.student, *shapes.teacher):
            if len(shape) != 3:
                raise ValueError(f"hints must be feature maps (channels, height, width), not of shape {shape}")
        return self

    def loss(self, hints: Hints) -> Tensor:
        """Return the loss of a batch, 0-dim, averaged over its samples."""
        from raykd.knowledge.resize import same_size

        total = hints.student[0].new_zeros(())
        for pair in zip(hints.student, hints.teacher, strict=True):
            student, teacher = (self._attention(features) for features in same_size(*pair))
            total = total + (student - teacher).square().mean()
        return total

    def _attention(self, features: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.normalize(features.abs().pow(self.power).mean(dim=1).flatten(1), dim=1)
