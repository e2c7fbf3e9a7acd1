"""FitNet: the student's features are led to the teacher's."""

from __future__ import annotations

from raykd.knowledge.methods.base import FeatureMethod, FeatureTerm, HintShapes, as_published
from raykd.settings import NonNegative


class Fitnet(FeatureMethod):
    """Hints: mean squared error between features, the student's projected to the teacher's channels."""

    name = "fitnet"
    labels = "unused"
    formula = "weight sum_layers mean (teacher_features - projection(student_features))^2"
    source = "Romero et al.: FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550, equation 3"
    published = as_published(ce_weight=1.0, kd_weight=0.0)
    where = "middle"

    weight: NonNegative = 100.0
    """Weight of the feature term."""

    def term(self, shapes: HintShapes) -> FeatureTerm:
        """The loss between hints of these shapes, with its learned projections."""
        from raykd.knowledge.projections import ProjectedError

        return ProjectedError(shapes)
