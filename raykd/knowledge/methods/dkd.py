"""Decoupled knowledge distillation: the target class and the other classes weighed apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from raykd.knowledge.methods.base import LogitMethod, as_published
from raykd.knowledge.methods.kd import kd
from raykd.settings import NonNegative, Share, divided

if TYPE_CHECKING:
    from torch import Tensor


class Dkd(LogitMethod):
    """Decoupled knowledge distillation: the target class and the other classes weighed apart."""

    name = "dkd"
    formula = (
        "T^2 mean_i [target_weight KL([p_y, 1 - p_y] || [q_y, 1 - q_y]) "
        "+ non_target_weight KL(p without y || q without y)], p and q softmax of teacher and student over T"
    )
    source = "Zhao et al.: Decoupled Knowledge Distillation, CVPR 2022, arXiv 2203.08679, equation 7"
    published: ClassVar[Mapping[str, Any]] = {
        **as_published(ce_weight=1.0, kd_weight=1.0, temperature=4.0, warmup_epochs=20),
        "method.dkd.target_weight": 1.0,
        "method.dkd.non_target_weight": 8.0,
    }

    target_weight: NonNegative = 1.0
    """Weight of the target-class part (TCKD)."""
    non_target_weight: NonNegative = 1.0
    """Weight of the non-target-class part (NCKD); published: 8 for most pairs, 2 for resnet56-resnet20, 6 for VGG13,
    which needs many epochs."""
    non_target_share: Share | None = None
    """Share of target_weight + non_target_weight that goes to the non-target part, the target part gets the rest: a
    search over it leaves the size of the loss as it is. None: as the two weights say."""

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of the target and the non-target part."""
        return divided(self.target_weight, self.non_target_weight, self.non_target_share)

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [B] of tempered logits [B, C] and labels int64 [B], without any T^2."""
        target_weight, non_target_weight = self.weights
        return dkd(student, teacher, labels, target_weight=target_weight, non_target_weight=non_target_weight)


def dkd(student: Tensor, teacher: Tensor, labels: Tensor, *, target_weight: float, non_target_weight: float) -> Tensor:
    """Return target_weight TCKD + non_target_weight NCKD [B] of tempered logits [B, C] and labels int64 [B].

    Zhao et al., arXiv 2203.08679, equation 7. KL = TCKD + (1 - p_y) NCKD. ValueError if C < 2.
    """
    student_lead, student_others = decouple(student, labels)
    teacher_lead, teacher_others = decouple(teacher, labels)
    target = binary_kl(student_lead, teacher_lead)
    non_target = kd(student_others, teacher_others, labels)
    return target_weight * target + non_target_weight * non_target


def target_kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return TCKD [B]: the KL of [p_y, 1 - p_y], of tempered logits [B, C] and labels int64 [B].

    Zhao et al., arXiv 2203.08679, equations 5 and 6. ValueError if C < 2.
    """
    return dkd(student, teacher, labels, target_weight=1.0, non_target_weight=0.0)


def non_target_kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return NCKD [B]: the KL among the classes that are not the label; 0 if there is only one such class.

    Zhao et al., arXiv 2203.08679, equations 5 and 6; logits [B, C], labels int64 [B]. ValueError if C < 2.
    """
    return dkd(student, teacher, labels, target_weight=0.0, non_target_weight=1.0)


def decouple(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-odds [B] of the label against all others, and the others' logits [B, C - 1]."""
    import torch

    classes = logits.shape[1]
    if classes < 2:
        raise ValueError("decoupled distillation needs at least 2 classes")
    label = labels.unsqueeze(1)
    # The column is left out, not masked by a large number, which stops being large at low temperatures.
    columns = torch.arange(classes - 1, device=logits.device)
    others = logits.gather(1, columns + (columns >= label))
    lead = logits.gather(1, label).squeeze(1) - others.logsumexp(dim=1)
    return lead, others


def binary_kl(student_lead: Tensor, teacher_lead: Tensor) -> Tensor:
    """Return the KL [B] of [p, 1 - p] given log(p / (1 - p)); log(1 - p) is never taken of a rounded p."""
    from torch.nn import functional as F

    yes = F.logsigmoid(teacher_lead) - F.logsigmoid(student_lead)
    no = F.logsigmoid(-teacher_lead) - F.logsigmoid(-student_lead)
    return teacher_lead.sigmoid() * yes + (-teacher_lead).sigmoid() * no
