"""Contrastive representation distillation: both networks embed a sample alike, and unlike other samples."""

from __future__ import annotations

from raykd.knowledge.methods.base import FeatureMethod, FeatureTerm, HintShapes, as_published
from raykd.settings import Count, NonNegative, Positive, Share


class Crd(FeatureMethod):
    """Contrastive representation distillation: learned embeddings of both networks agree on a sample, not on others."""

    name = "crd"
    labels = "single"
    formula = (
        "- weight mean_i [log h(s_i, t_i) + sum_k log(1 - h(s_i, t_k)) + log h(t_i, s_i) + sum_k log(1 - h(t_i, s_k))],"
        " h(u, v) = e / (e + negatives / N), e = exp(u.v / nce_temperature) / Z, k of other classes, v remembered"
    )
    source = "Tian et al.: Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699, equation 18"
    published = as_published(ce_weight=1.0, kd_weight=0.0)
    where = "embedding"

    weight: NonNegative = 0.8
    """Weight of the feature term."""
    feature_dimension: Count = 128
    """Length of the learned embeddings."""
    negatives: Count = 16384
    """Samples of other classes that each sample is contrasted with; in small data as many as there are."""
    nce_temperature: Positive = 0.07
    """Temperature of the scores."""
    momentum: Share = 0.5
    """Share of a remembered embedding that is kept when its sample is seen again."""

    def term(self, shapes: HintShapes) -> FeatureTerm:
        """The loss between hints of these shapes, with its learned embeddings and its memory."""
        from raykd.knowledge.contrast import Contrasts

        return Contrasts(
            shapes,
            negatives=self.negatives,
            dimension=self.feature_dimension,
            temperature=self.nce_temperature,
            momentum=self.momentum,
        )
