"""Knowledge review: the teacher's shallow stages teach the student's deep ones as well."""

from __future__ import annotations

from raykd.knowledge.methods.base import FeatureMethod, FeatureTerm, HintShapes, as_published
from raykd.settings import Count, NonNegative


class Reviewkd(FeatureMethod):
    """Knowledge review: features fused from deep to shallow are compared with the teacher's at several resolutions.

    Compared is what the layers give; the authors take the teacher's stages before their last ReLU.
    """

    name = "reviewkd"
    labels = "unused"
    formula = (
        "weight sum_stages hcl(teacher_i, fusion(student_i, ..., student_last)), "
        "hcl(t, s) = sum_l w_l mean (t_l - s_l)^2 / sum_l w_l, l full size, then 4, 2, 1; w_l = 1, 1/2, 1/4, 1/8"
    )
    source = "Chen et al.: Distilling Knowledge via Knowledge Review, CVPR 2021, arXiv 2104.09044"
    published = as_published(ce_weight=1.0, kd_weight=0.0, warmup_epochs=20)
    where = "stages and embedding"

    weight: NonNegative = 5.0
    """Weight of the feature term; published: 5 for most CIFAR pairs, 8 for resnet32x4-ShuffleNetV2, 0.6 for
    resnet56-resnet20, 1 for resnet110-resnet32; ImageNet 1 for resnet34-resnet18 and 8 for resnet50-MobileNetV1."""
    most_channels: Count = 512
    """Most channels of the fused features, which never have more than the student's embedding
    (ImageNet, MobileNetV1: 256)."""

    def term(self, shapes: HintShapes) -> FeatureTerm:
        """The loss between hints of these shapes, with its learned fusions."""
        from raykd.knowledge.review import Review

        return Review(shapes, self.most_channels)
