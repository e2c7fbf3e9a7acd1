"""Label noise: some training labels are replaced by other classes, as in data that people have labelled."""

from __future__ import annotations

import torch
from torch import Tensor


def noisy(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Labels of which exactly this share, rounded to whole images, is replaced, each by any other class.

    Args:
        labels: int64 (N,) in [0, classes).
        share: In [0, 1].
        classes: At least 2.
        seed: Decides which labels, and by what. Of two shares, the larger one replaces the smaller one's labels too.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    others = (labels.cpu() + torch.randint(1, classes, labels.shape, generator=generator)) % classes
    replaced = torch.zeros(labels.shape, dtype=torch.bool)
    replaced[order[: round(share * len(labels))]] = True
    return torch.where(replaced.to(labels.device), others.to(labels.device), labels)
