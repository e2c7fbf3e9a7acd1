"""Mean squared error between logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import LogitMethod, as_published

if TYPE_CHECKING:
    from torch import Tensor


class Mse(LogitMethod):
    """Mean squared error between logits; under a constant temperature its value cancels out."""

    name = "mse"
    labels = "unused"
    formula = "T^2 mean_i mean_k (teacher_ik / T - student_ik / T)^2"
    source = (
        "Ba, Caruana: Do Deep Nets Really Need to be Deep?, arXiv 1312.6184; "
        "Kim et al.: Comparing KL Divergence and MSE Loss in Knowledge Distillation, arXiv 2105.08919"
    )
    published = as_published(ce_weight=0.1, kd_weight=0.9, temperature=1.0)
    finite = True

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss [B] of tempered logits [B, C] and labels int64 [B], without any T^2."""
        return (student - teacher).square().mean(dim=1)
