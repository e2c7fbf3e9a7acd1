"""How a study's best settings are confirmed on the test split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raykd.settings import Count, Name, Settings


class ConfirmSettings(Settings):
    """How a study's best settings are confirmed on the test split."""

    name: Name = "confirm"
    """Name of the confirm: its folder below the study's, and its MLflow run."""
    top: Count = 1
    """How many of the study's trials are confirmed, best first. The first of them is the winner that is judged."""
    seeds: Annotated[int, Field(ge=2)] = 5
    """Students of each trial and each baseline. Their seeds are those after `training.seed`, which the search used."""
