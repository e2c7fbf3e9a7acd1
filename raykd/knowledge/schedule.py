"""Dynamic weight: how much right knowledge weighs against rectified knowledge as training proceeds.

In the paper the weight that right knowledge loses goes to rectified knowledge, that is, to the few samples on which the
teacher is wrong; with a good teacher most of the distillation just fades. `hand_over` says where else it may go.

Progress is epoch / epochs, in [0, 1]. A schedule has no state: a resumed run asks it again and gets the same answer.
"""

from __future__ import annotations

import math
from typing import Literal

from raykd.knowledge.ideas import Idea
from raykd.settings import Positive, Settings, Share


class ScheduleSettings(Settings):
    """Dynamic weight b of right knowledge over training progress; rectified knowledge gets 1 - b.

    The cosine is that of arXiv 2412.09874 (AAAI 2025); the other forms, `shape` and `hand_over` are this project's.
    """

    form: Literal["cosine", "linear", "constant", "step", "rising"] = "cosine"
    """cosine: cos^2 from 1 to 0; linear: from 1 to 0; constant: `weight` throughout; step: 1 until `step_at`, then 0;
    rising: the cosine reversed, from 0 to 1."""
    shape: Positive = 1.0
    """cosine, linear, rising: exponent on the progress; above 1 the weight begins to change later."""
    weight: Share = 0.5
    """constant: b."""
    step_at: Share = 0.5
    """step: progress at which the weight moves."""
    hand_over: Literal["labels", "right", "rectified"] = "labels"
    """Where the weight goes that the schedule takes from an answer. labels: to the cross-entropy of the same samples,
    so that each keeps its whole weight; right: right knowledge keeps weight 1, and rectified knowledge rises with 1 - b
    beside it; rectified: only to rectified knowledge, as in the paper."""

    def right_weight(self, progress: float) -> float:
        """Return the weight of right knowledge, in [0, 1], at a progress in [0, 1]; ValueError outside."""
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must be in [0, 1], not {progress}")
        match self.form:
            case "cosine":
                return math.pow(math.cos(math.pi / 2 * math.pow(progress, self.shape)), 2)
            case "rising":
                return math.pow(math.sin(math.pi / 2 * math.pow(progress, self.shape)), 2)
            case "linear":
                return 1 - math.pow(progress, self.shape)
            case "constant":
                return self.weight
            case "step":
                return 1.0 if progress < self.step_at else 0.0


_PAPER = "arXiv 2412.09874 (AAAI 2025)"
FORMS = {
    "cosine": Idea(
        "b = cos(pi / 2 * progress**shape)**2",
        f"{_PAPER}, with shape 1",
        "The paper's: right answers teach first, repaired ones last. It was not shown to help in raykd's own study, "
        "and is worse than none where hand_over is rectified (docs/choosing.md).",
    ),
    "linear": Idea("b = 1 - progress**shape", "raykd", "As cosine, with the same change in every epoch."),
    "constant": Idea("b = weight", "raykd", "To see what a repair does without a schedule."),
    "step": Idea("b = 1 if progress < step_at else 0", "raykd", "To learn from right answers first, then from others."),
    "rising": Idea(
        "b = sin(pi / 2 * progress**shape)**2",
        "raykd: the cosine reversed",
        "To try whether the paper's order matters: repaired answers teach first.",
    ),
}
"""The forms of the schedule: b, the weight of right answers, at a progress = epoch / epochs."""
HAND_OVERS = {
    "labels": Idea(
        "L = b L_right + (1 - b) L_rectified + (1 - b) CE_right + b CE_wrong",
        "raykd",
        "The default: each image keeps its whole weight. No gain was shown, and one loss of 0.8 points.",
    ),
    "right": Idea(
        "L = L_right + (1 - b) L_rectified",
        "raykd",
        "Where right answers should teach to the end, and repaired ones join them.",
    ),
    "rectified": Idea(
        "L = b L_right + (1 - b) L_rectified",
        _PAPER,
        "To train as the paper does. A good teacher has few wrong answers, so most of the distillation fades: 1 to 3 "
        "points below plain distillation in raykd's own study (docs/choosing.md).",
    ),
}
"""Where the weight goes that the schedule takes away."""
