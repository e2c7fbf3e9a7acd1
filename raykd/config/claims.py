"""How much of the study of the papers' claims is run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raykd.settings import Count, Settings

Part = Literal["strong", "weak", "same", "noise", "recipe"]
"""Parts of the study of the papers' claims."""


class ClaimsSettings(Settings):
    """How much of the study of the papers' claims is run (`experiments/reproduce_claims.py`)."""

    parts: tuple[Part, ...] = ("strong", "weak", "same", "noise", "recipe")
    """strong, weak: a teacher trained to the end, and one stopped early; same: a teacher of the student's own
    architecture; noise: teachers, and teachers and students, of wrong labels; recipe: other batches, the paper's
    optimizer, more epochs. Noise and recipe use what strong has tuned."""
    seeds: Annotated[int, Field(ge=2)] = 5
    """Students of each contender, each with a teacher of its own: the seeds after `training.seed`."""
    tuning_trials: Count = 8
    """Settings of each method that are tried on the validation split under `training.seed`, the same for all."""
