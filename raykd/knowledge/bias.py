"""The teacher's bias: which of its answers are wrong, and how they are repaired.

After "Can Students Beyond The Teacher?" (arXiv 2412.09874, AAAI 2025). The repair is done on probabilities at the
temperature of the loss, and its `strength` is this project's generalisation: 0 leaves an answer as it is, 0.5 is the
authors' formula, 1 is the strongest repair. Everything is kept as log p, where nothing underflows.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Form = Literal["pair", "swap", "one_hot", "drop", "keep"]
"""What is done about wrong answers: a repair of `REPAIRS`, elimination ("drop"), or nothing at all ("keep")."""

LOG_OF_NOTHING = -100.0
"""Stands for log 0: exp of it is below what float32 adds to anything, and products with it stay finite."""

Repair = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(log p [B, C], label [B, 1], rival [B, 1], strength) -> log p' [B, C]; the rival is the best class but the label."""


def wrong(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Return bool [B]: the teacher's argmax is not the label; logits [B, C] before temperature, labels int64 [B]."""
    return teacher_logits.argmax(dim=1) != labels


def rectify(tempered_teacher_logits: Tensor, labels: Tensor, *, form: Form, strength: float) -> Tensor:
    """Return the log-probabilities [B, C] of the teacher's answers, the wrong ones repaired.

    Takes logits [B, C] that are already divided by the temperature, and labels int64 [B]. Rows whose label leads all
    other classes come back as they are (as log p). A row whose label ties with the best other class counts as wrong:
    dividing by a temperature can round a narrow lead away, and only the logits before it can tell (see `wrong`).

    Raises ValueError if C < 2, if `strength` is outside [0, 1], or if `form` is no repair ("drop", "keep", unknown).
    """
    if tempered_teacher_logits.shape[1] < 2:
        raise ValueError("rectification needs at least 2 classes")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be in [0, 1], not {strength}")
    if form not in REPAIRS:
        raise ValueError(f"{form!r} is no repair; choose one of {', '.join(REPAIRS)}")
    log_p = torch.log_softmax(tempered_teacher_logits, dim=1)
    label = labels.unsqueeze(1)
    rival = log_p.scatter(1, label, -math.inf).argmax(dim=1, keepdim=True)
    label_leads = log_p.gather(1, label) > log_p.gather(1, rival)
    return torch.where(label_leads, log_p, REPAIRS[form](log_p, label, rival, strength))


def _pair(log_p: Tensor, label: Tensor, rival: Tensor, strength: float) -> Tensor:
    """Move mass from the rival to the label; the two together keep theirs (arXiv 2412.09874 at strength 0.5)."""
    log_kept, log_given = _log_kept(strength), _log(strength)
    label_log_p, rival_log_p = log_p.gather(1, label), log_p.gather(1, rival)
    log_mass = torch.logaddexp(label_log_p, rival_log_p)
    given = torch.full_like(log_mass, log_given)
    # S / D with D = (1 - s) S + s; at s = 0 this is exactly log 1.
    log_scale = log_mass - torch.logaddexp(log_kept + log_mass, given)
    repaired_label = torch.logaddexp(log_kept + label_log_p, given) + log_scale
    repaired_rival = log_kept + rival_log_p + log_scale
    return log_p.scatter(1, label, repaired_label).scatter(1, rival, repaired_rival)


def _swap(log_p: Tensor, label: Tensor, rival: Tensor, strength: float) -> Tensor:
    """Exchange label and rival, whatever the strength (the earlier code of arXiv 2412.09874)."""
    return log_p.scatter(1, label, log_p.gather(1, rival)).scatter(1, rival, log_p.gather(1, label))


def _one_hot(log_p: Tensor, label: Tensor, rival: Tensor, strength: float) -> Tensor:
    """Mix with the label: (1 - s) p + s onehot (arXiv 2412.09874, its one-hot variant at strength 0.5)."""
    kept = _log_kept(strength) + log_p
    label_kept = kept.gather(1, label)
    return kept.scatter(1, label, torch.logaddexp(label_kept, torch.full_like(label_kept, _log(strength))))


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _log_kept(strength: float) -> float:
    """Return log(1 - strength), finite at 1: it is a summand of log p', which must stay finite."""
    return max(math.log1p(-strength), LOG_OF_NOTHING) if strength < 1 else LOG_OF_NOTHING


REPAIRS: dict[str, Repair] = {"pair": _pair, "swap": _swap, "one_hot": _one_hot}
"""The repairs by name. A new one is one function here and one word in `Form`."""
