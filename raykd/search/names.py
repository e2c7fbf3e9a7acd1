"""The names under which trials, their results and their folders are known everywhere."""

from __future__ import annotations

METRIC = "validation_accuracy"
"""What a study maximises."""

TIME = "epoch"
"""What counts a trial's progress, from 1. Tune's own counter starts again after a restore."""

TRIAL = "trial"
"""The key beside the settings in a trial's config: its number in the Optuna study."""
