"""The parts of the student's loss and their weights."""

from __future__ import annotations

from raykd.settings import CountOrZero, NonNegative, Settings, Share, divided


class ObjectiveSettings(Settings):
    """Weights of the parts of the student's loss: ce_weight * cross-entropy + kd_weight * distillation."""

    ce_weight: NonNegative = 0.5
    """Weight of the cross-entropy with the labels."""
    kd_weight: NonNegative = 0.5
    """Weight of the distillation loss. 0 trains the student without a teacher."""
    kd_share: Share | None = None
    """Share of ce_weight + kd_weight that goes to distillation; cross-entropy gets the rest. A search over it changes
    what is learned from, and not the size of the loss and so of the steps. None: as the two weights say."""
    warmup_epochs: CountOrZero = 0
    """Epochs over which the weight of the distillation rises linearly from 0 (DKD uses 20 of 240)."""
    warmup_share: Share | None = None
    """The same as a share of all epochs, rounded to whole ones. None: `warmup_epochs`."""

    def warmup(self, epochs: int) -> int:
        """Epochs of the warm-up in a training of so many."""
        return self.warmup_epochs if self.warmup_share is None else round(self.warmup_share * epochs)

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of cross-entropy and distillation."""
        return divided(self.ce_weight, self.kd_weight, self.kd_share)

    @property
    def distils(self) -> bool:
        """Whether distillation has any weight."""
        return self.weights[1] > 0
