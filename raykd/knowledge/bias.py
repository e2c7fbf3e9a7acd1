"""The teacher's bias: which of its answers are wrong, and how they are repaired.

After "Can Students Beyond The Teacher?" (arXiv 2412.09874, AAAI 2025). The repair is done on probabilities at the
temperature of the loss, and its `strength` is this project's generalisation: 0 leaves an answer as it is, 0.5 is the
authors' formula, 1 is the strongest repair. Everything is kept as log p, where nothing underflows.

Repairs take log p [B, C], and label and rival (the best class but the label), int64 [B, 1], and return log p' [B, C].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from raykd.knowledge.ideas import Idea
from raykd.settings import OpenShare, Settings, Share

if TYPE_CHECKING:
    from torch import Tensor

LOG_OF_NOTHING = -1000.0
"""Stands for log 0. Exp of it is nothing to float32, even after a method's own temperature has divided it by 20 or so,
and products with it stay finite."""


class BiasSettings(Settings):
    """What becomes of the teacher's wrong answers."""

    form: Literal["pair", "swap", "one_hot", "smooth", "revision", "margin", "drop", "keep"] = "keep"
    """pair: move the wrong class's probability to the label; swap: exchange the two; one_hot: mix with the label;
    smooth: mix with smoothed labels; revision: mix with the label by how wrong the answer is; margin: mix with the
    label until it leads; drop: teach right answers only; keep: teach every answer as it is, without split or schedule
    (plain distillation)."""
    strength: Share = 0.5
    """pair, one_hot, smooth: how strongly wrong answers are repaired; 0 leaves them as they are, 1 moves all to the
    label (smooth: replaces them)."""
    smoothing: Share = 0.1
    """smooth: share of the smoothed labels that is spread over all classes."""
    eta: OpenShare = 0.8
    """revision: share of the answer that is kept where it is hardly wrong (Label Revision)."""
    margin: Share = 0.2
    """margin: by how much the label's probability leads the wrong class's afterwards."""
    denominator: Literal["subset", "batch"] = "batch"
    """What right and rectified losses are averaged over. batch: the whole batch, so that a wrong answer weighs what a
    right one does; subset: each its own samples, as in the paper, so that the few wrong ones weigh as much as all right
    ones."""

    @property
    def leaves_nothing(self) -> str | None:
        """The setting that takes all probability from some class, whose logit is then minus infinity; None if none."""
        match self.form:
            case "pair" | "one_hot":
                return "bias.strength 1" if self.strength == 1 else None
            case "smooth":
                return "bias.smoothing 0" if self.strength == 1 and self.smoothing == 0 else None
            case "margin":
                return "bias.margin 1" if self.margin == 1 else None
            case _:
                return None

    def repaired(self, log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
        """Return log p' [B, C] of wrong answers log p [B, C]; "keep" and "drop" leave them as they are."""
        match self.form:
            case "pair":
                return pair(log_p, label, rival, self.strength)
            case "swap":
                return swap(log_p, label, rival)
            case "one_hot":
                return one_hot(log_p, label, self.strength)
            case "smooth":
                return smooth(log_p, label, self.strength, self.smoothing)
            case "revision":
                return revision(log_p, label, rival, self.eta)
            case "margin":
                return margin(log_p, label, rival, self.margin)
            case "keep" | "drop":
                return log_p


_PAPER = "arXiv 2412.09874 (AAAI 2025)"
_NO_GAIN = "No repair was shown to be more accurate than plain distillation in raykd's own study (docs/claims.md)"
FORMS = {
    "pair": Idea(
        "p_label' = S ((1 - strength) p_label + strength) / D, p_rival' = S (1 - strength) p_rival / D, "
        "S = p_label + p_rival, D = (1 - strength) S + strength",
        f"{_PAPER}, its rectification at strength 0.5",
        "To keep what the teacher says of all other classes. Students are then right more often where the teacher is "
        f"wrong. {_NO_GAIN}.",
    ),
    "swap": Idea(
        "p_label' = p_rival, p_rival' = p_label",
        f'the first code of {_PAPER}; "probability shift" of arXiv 1911.07471',
        "As pair, but the more certain the wrong answer was, the more certain the repaired one is.",
    ),
    "one_hot": Idea(
        "p' = (1 - strength) p + strength onehot(label)",
        f"{_PAPER}, its one-hot variant at strength 0.5",
        "Where wrong answers should teach little but the label. The only repair that was shown to be worse than plain "
        "distillation alone, in two of the study's comparisons (docs/choosing.md).",
    ),
    "smooth": Idea(
        "p' = (1 - strength) p + strength ((1 - smoothing) onehot(label) + smoothing / classes)",
        "Knowledge Adjustment, arXiv 1911.07471, at strength 1",
        f"As one_hot, with some probability left for each class. {_NO_GAIN}.",
    ),
    "revision": Idea(
        "p' = beta p + (1 - beta) onehot(label), beta = eta / (p_rival - p_label + 1)",
        "Label Revision, arXiv 2404.03693",
        f"Where answers that are hardly wrong should be changed less than those that are very wrong. {_NO_GAIN}.",
    ),
    "margin": Idea(
        "p' = (1 - g) p + g onehot(label), g = (margin + p_rival - p_label) / (1 + p_rival - p_label)",
        "MFT (minifinetuning) in NVIDIA ModelOpt",
        f"Where the label should lead by the same margin in every repaired answer. {_NO_GAIN}.",
    ),
    "drop": Idea(
        "L_method = b L_right",
        f"{_PAPER}, its elimination",
        "Where wrong answers should not be learned from at all; their images are still learned from by their labels.",
    ),
    "keep": Idea(
        "L_method = L over the whole batch",
        "plain distillation",
        "The default, and what to begin with: no repair was shown to be more accurate (docs/choosing.md).",
    ),
}
"""The forms of the repair. p are the teacher's probabilities at the temperature, p' the repaired ones; the rival is the
wrong class that leads."""
DENOMINATORS = {
    "batch": Idea(
        "L_right = sum over right / batch, L_rectified = sum over wrong / batch",
        "raykd",
        "The default: a wrong answer weighs what a right one does.",
    ),
    "subset": Idea(
        "L_right = sum over right / number of right, L_rectified = sum over wrong / number of wrong",
        _PAPER,
        "To train as the paper does. It was worse than batch in 9 of 9 comparisons, shown once (docs/choosing.md).",
    ),
}
"""The denominators of the averages."""


def wrong(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Return bool [B]: the teacher's argmax is not the label; logits [B, C] before temperature, labels int64 [B]."""
    return teacher_logits.argmax(dim=1) != labels


def rectify(tempered_teacher_logits: Tensor, labels: Tensor, bias: BiasSettings) -> Tensor:
    """Return the log-probabilities [B, C] of the teacher's answers, the wrong ones repaired.

    Takes logits [B, C] that are already divided by the temperature, and labels int64 [B]. Rows whose label leads all
    other classes come back as they are (as log p). A row whose label ties with the best other class counts as wrong:
    dividing by a temperature can round a narrow lead away, and only the logits before it show the lead (see `wrong`).

    Raises ValueError if C < 2.
    """
    if tempered_teacher_logits.shape[1] < 2:
        raise ValueError("rectification needs at least 2 classes")
    log_p = tempered_teacher_logits.log_softmax(dim=1)
    label = labels.unsqueeze(1)
    rival = log_p.scatter(1, label, -math.inf).argmax(dim=1, keepdim=True)
    label_leads = log_p.gather(1, label) > log_p.gather(1, rival)
    return log_p.where(label_leads, bias.repaired(log_p, label, rival))


def pair(log_p: Tensor, label: Tensor, rival: Tensor, strength: float) -> Tensor:
    """Move mass from the rival to the label; the two together keep theirs (arXiv 2412.09874 at strength 0.5)."""
    log_kept, log_given = _log_kept(strength), _log(strength)
    label_log_p, rival_log_p = log_p.gather(1, label), log_p.gather(1, rival)
    log_mass = label_log_p.logaddexp(rival_log_p)
    given = log_mass.new_full(log_mass.shape, log_given)
    # S / D with D = (1 - s) S + s; at s = 0 this is exactly log 1.
    log_scale = log_mass - (log_kept + log_mass).logaddexp(given)
    repaired_label = (log_kept + label_log_p).logaddexp(given) + log_scale
    repaired_rival = log_kept + rival_log_p + log_scale
    return log_p.scatter(1, label, repaired_label).scatter(1, rival, repaired_rival)


def swap(log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
    """Exchange label and rival (the earlier code of arXiv 2412.09874; "probability shift" of arXiv 1911.07471)."""
    return log_p.scatter(1, label, log_p.gather(1, rival)).scatter(1, rival, log_p.gather(1, label))


def one_hot(log_p: Tensor, label: Tensor, strength: float) -> Tensor:
    """Mix with the label: (1 - s) p + s onehot (arXiv 2412.09874, its one-hot variant at strength 0.5)."""
    label_log_p = log_p.gather(1, label)
    return _mixed_with_label(log_p, label, label_log_p.new_full(label_log_p.shape, strength))


def smooth(log_p: Tensor, label: Tensor, strength: float, smoothing: float) -> Tensor:
    """Mix with smoothed labels: (1 - s) p + s ((1 - smoothing) onehot + smoothing / C).

    At strength 1 the answer is replaced by them (Knowledge Adjustment, arXiv 1911.07471).
    """
    label_log_p = log_p.gather(1, label)
    smoothed = log_p.new_full(log_p.shape, smoothing / log_p.shape[1])
    smoothed = smoothed.scatter_add(1, label, label_log_p.new_full(label_log_p.shape, 1 - smoothing))
    log_smoothed = smoothed.log().clamp(min=LOG_OF_NOTHING)
    return (_log_kept(strength) + log_p).logaddexp(_log(strength) + log_smoothed)


def revision(log_p: Tensor, label: Tensor, rival: Tensor, eta: float) -> Tensor:
    """Label revision: beta p + (1 - beta) onehot with beta = eta / (p_rival - p_label + 1) (arXiv 2404.03693).

    The label overtakes the rival for every eta below 1.
    """
    return _mixed_with_label(log_p, label, 1 - eta / (_gap(log_p, label, rival) + 1))


def margin(log_p: Tensor, label: Tensor, rival: Tensor, lead: float) -> Tensor:
    """Mix with the label until it leads the rival by a margin: p'_label - p'_rival = lead (NVIDIA ModelOpt's MFT)."""
    gap = _gap(log_p, label, rival)
    return _mixed_with_label(log_p, label, (lead + gap) / (1 + gap))


def _gap(log_p: Tensor, label: Tensor, rival: Tensor) -> Tensor:
    """Return p_rival - p_label [B, 1]."""
    return log_p.gather(1, rival).exp() - log_p.gather(1, label).exp()


def _mixed_with_label(log_p: Tensor, label: Tensor, given: Tensor) -> Tensor:
    """Return the logarithm of (1 - given) p + given onehot, for a share [B, 1] of each row, which is in [0, 1]."""
    kept = (-given).log1p().clamp(min=LOG_OF_NOTHING) + log_p
    return kept.scatter(1, label, kept.gather(1, label).logaddexp(given.log()))


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _log_kept(strength: float) -> float:
    """Return log(1 - strength), finite at 1: it is a summand of log p', which must stay finite."""
    return max(math.log1p(-strength), LOG_OF_NOTHING) if strength < 1 else LOG_OF_NOTHING
