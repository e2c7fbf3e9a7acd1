"""Labels of mixed images: each has two, of which a share of the image is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class MixedLabels:
    """What is mixed into a batch's labels, which are those with the larger share.

    - others: the labels with the smaller share, int64 [B]
    - shares: of the labels themselves, float32 [B] in [0.5, 1]; the rest is the others'
    """

    others: Tensor
    shares: Tensor

    def take(self, rows: Tensor) -> MixedLabels:
        """These rows, int64 [B']."""
        return MixedLabels(self.others[rows], self.shares[rows])


def cross_entropy(
    logits: Tensor, labels: Tensor, mixed: MixedLabels | None, reduction: str, label_smoothing: float
) -> Tensor:
    """Return the cross-entropy with labels int64 [B], summed ("sum") or [B] ("none"), of logits float32 [B, C].

    With mixed labels share CE(label) + (1 - share) CE(other) (arXiv 1710.09412): cross-entropy is linear in the
    target, so it is that with the mean of both, smoothed or not.
    """
    if mixed is None:
        return F.cross_entropy(logits, labels, reduction=reduction, label_smoothing=label_smoothing)
    of_label, of_other = (
        F.cross_entropy(logits, each, reduction="none", label_smoothing=label_smoothing)
        for each in (labels, mixed.others)
    )
    rows = mixed.shares * of_label + (1 - mixed.shares) * of_other
    return rows.sum() if reduction == "sum" else rows
