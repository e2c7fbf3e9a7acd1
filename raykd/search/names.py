"""The names under which trials, their results and their folders are known everywhere."""

from __future__ import annotations

METRIC = "validation_accuracy"
"""What a study maximises."""

TIME = "epoch"
"""What counts a trial's progress, from 1. Tune's own counter starts again after a restore."""

TRIAL = "trial"
"""The key beside the settings in a trial's config: its number in the Optuna study."""

START = "start"
"""Attribute of an Optuna trial: the name of the start point that it is."""
START_SETTINGS = "start_settings"
"""Attribute of a start point's trial: its settings that are not in the search space, by dotted name."""
RETRY_OF = "retry_of"
"""Attribute of an Optuna trial: the number of the failed trial whose settings it tries again."""
OUTSIDE = "outside"
"""Attribute of a start point's trial: it has no place in the search space, so the sampler does not learn from it."""
