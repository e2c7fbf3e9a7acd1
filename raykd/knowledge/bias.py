"""The teacher's bias: which of its answers are wrong, and how they are repaired.

After "Can Students Beyond The Teacher?" (arXiv 2412.09874, AAAI 2025). The repair is done on probabilities at the
temperature of the loss, and its `strength` is this project's generalisation: 0 leaves an answer as it is, 0.5 is the
authors' formula, 1 is the strongest repair. Everything is kept as log p, where nothing underflows.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

LOG_OF_NOTHING = -1000.0
"""Stands for log 0. Exp of it is nothing to float32, even after a method's own temperature has divided it by 20 or so,
and products with it stay finite."""


class Repair(Protocol):
    """What is done to the wrong answers."""

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C] of log p [B, C]; label and rival (the best class but the label) are int64 [B, 1]."""
        ...


def wrong(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Return bool [B]: the teacher's argmax is not the label; logits [B, C] before temperature, labels int64 [B]."""
    return teacher_logits.argmax(dim=1) != labels


def rectify(tempered_teacher_logits: Tensor, labels: Tensor, repair: Repair) -> Tensor:
    """Return the log-probabilities [B, C] of the teacher's answers, the wrong ones repaired.

    Takes logits [B, C] that are already divided by the temperature, and labels int64 [B]. Rows whose label leads all
    other classes come back as they are (as log p). A row whose label ties with the best other class counts as wrong:
    dividing by a temperature can round a narrow lead away, and only the logits before it can tell (see `wrong`).

    Raises ValueError if C < 2.
    """
    if tempered_teacher_logits.shape[1] < 2:
        raise ValueError("rectification needs at least 2 classes")
    log_p = torch.log_softmax(tempered_teacher_logits, dim=1)
    label = labels.unsqueeze(1)
    rival = log_p.scatter(1, label, -math.inf).argmax(dim=1, keepdim=True)
    label_leads = log_p.gather(1, label) > log_p.gather(1, rival)
    return torch.where(label_leads, log_p, repair(log_p, label, rival))


@dataclass(frozen=True)
class Pair:
    """Move mass from the rival to the label; the two together keep theirs (arXiv 2412.09874 at strength 0.5).

    Raises ValueError unless `strength` is in [0, 1].
    """

    strength: float

    def __post_init__(self) -> None:
        _check_share("strength", self.strength)

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C]; see `Repair`."""
        log_kept, log_given = _log_kept(self.strength), _log(self.strength)
        label_log_p, rival_log_p = log_p.gather(1, label), log_p.gather(1, rival)
        log_mass = torch.logaddexp(label_log_p, rival_log_p)
        given = torch.full_like(log_mass, log_given)
        # S / D with D = (1 - s) S + s; at s = 0 this is exactly log 1.
        log_scale = log_mass - torch.logaddexp(log_kept + log_mass, given)
        repaired_label = torch.logaddexp(log_kept + label_log_p, given) + log_scale
        repaired_rival = log_kept + rival_log_p + log_scale
        return log_p.scatter(1, label, repaired_label).scatter(1, rival, repaired_rival)


@dataclass(frozen=True)
class Swap:
    """Exchange label and rival (the earlier code of arXiv 2412.09874; "probability shift" of arXiv 1911.07471)."""

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C]; see `Repair`."""
        return log_p.scatter(1, label, log_p.gather(1, rival)).scatter(1, rival, log_p.gather(1, label))


@dataclass(frozen=True)
class OneHot:
    """Mix with the label: (1 - s) p + s onehot (arXiv 2412.09874, its one-hot variant at strength 0.5).

    Raises ValueError unless `strength` is in [0, 1].
    """

    strength: float

    def __post_init__(self) -> None:
        _check_share("strength", self.strength)

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C]; see `Repair`."""
        given = torch.full_like(log_p.gather(1, label), self.strength)
        return _mixed_with_label(log_p, label, given)


@dataclass(frozen=True)
class Smooth:
    """Mix with smoothed labels: (1 - s) p + s ((1 - smoothing) onehot + smoothing / C).

    At strength 1 the answer is replaced by them (Knowledge Adjustment, arXiv 1911.07471). Raises ValueError unless
    `strength` and `smoothing` are in [0, 1].
    """

    strength: float
    smoothing: float

    def __post_init__(self) -> None:
        _check_share("strength", self.strength)
        _check_share("smoothing", self.smoothing)

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C]; see `Repair`."""
        classes = log_p.shape[1]
        smooth = torch.full_like(log_p, self.smoothing / classes)
        smooth = smooth.scatter_add(1, label, torch.full_like(log_p.gather(1, label), 1 - self.smoothing))
        log_smooth = smooth.log().clamp(min=LOG_OF_NOTHING)
        return torch.logaddexp(_log_kept(self.strength) + log_p, _log(self.strength) + log_smooth)


@dataclass(frozen=True)
class Revision:
    """Label revision: beta p + (1 - beta) onehot with beta = eta / (p_rival - p_label + 1) (arXiv 2404.03693).

    The label overtakes the rival for every eta below 1. Raises ValueError unless `eta` is in [0, 1].
    """

    eta: float

    def __post_init__(self) -> None:
        _check_share("eta", self.eta)

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C]; see `Repair`."""
        gap = log_p.gather(1, rival).exp() - log_p.gather(1, label).exp()
        return _mixed_with_label(log_p, label, 1 - self.eta / (gap + 1))


@dataclass(frozen=True)
class Margin:
    """Mix with the label until it leads the rival by a margin: p'_label - p'_rival = margin (NVIDIA ModelOpt's MFT).

    Raises ValueError unless `margin` is in [0, 1].
    """

    margin: float

    def __post_init__(self) -> None:
        _check_share("margin", self.margin)

    def __call__(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C]; see `Repair`."""
        gap = log_p.gather(1, rival).exp() - log_p.gather(1, label).exp()
        return _mixed_with_label(log_p, label, (self.margin + gap) / (1 + gap))


def _mixed_with_label(log_p: Tensor, label: Tensor, given: Tensor) -> Tensor:
    """Return the logarithm of (1 - given) p + given onehot, for a share [B, 1] of each row, which is in [0, 1]."""
    kept = torch.log1p(-given).clamp(min=LOG_OF_NOTHING) + log_p
    return kept.scatter(1, label, torch.logaddexp(kept.gather(1, label), given.log()))


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _log_kept(strength: float) -> float:
    """Return log(1 - strength), finite at 1: it is a summand of log p', which must stay finite."""
    return max(math.log1p(-strength), LOG_OF_NOTHING) if strength < 1 else LOG_OF_NOTHING


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], not {value}")
