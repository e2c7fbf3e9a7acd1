"""Learning curves drawn at random, where a simulated scheduler must judge trials. They have a say in nothing else."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

FINAL_MEAN, FINAL_SPREAD = 0.7, 0.04
"""Accuracy at the end: normal over the trials."""
PACE_MEDIAN, PACE_SPREAD = 0.2, 0.3
"""Share of the training in which a trial comes nearer to its end by a factor e: log-normal over the trials."""
NOISE = 0.005
"""Of each epoch: half a point."""


@dataclass(frozen=True)
class Curves:
    """Validation accuracies of the trials of a study, the same for the same seed.

    A trial rises as ``final * (1 - exp(-progress / pace))``, with noise on each epoch.
    """

    seed: int
    epochs: int

    def accuracy(self, trial: int, epoch: int) -> float:
        """Of a trial (from 0) after an epoch (from 1)."""
        traits = random.Random(f"{self.seed}/{trial}")
        final = traits.gauss(FINAL_MEAN, FINAL_SPREAD)
        pace = PACE_MEDIAN * math.exp(traits.gauss(0.0, PACE_SPREAD))
        noise = random.Random(f"{self.seed}/{trial}/{epoch}").gauss(0.0, NOISE)
        return min(max(final * (1 - math.exp(-epoch / self.epochs / pace)) + noise, 0.0), 1.0)
