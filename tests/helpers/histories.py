"""What the trials of a study have learnt so far, while it runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from raykd.training.checkpoint import stored_checkpoint


def histories(study: Path) -> dict[str, list[dict[str, Any]]]:
    """The metrics of each trial's epochs, as its checkpoint has them; read as raykd does, also between two writes."""
    found = {}
    for trial in sorted((study / "trials").glob("*")):
        stored = stored_checkpoint(str(trial))
        if stored is not None:
            found[trial.name] = [epoch["metrics"] for epoch in torch.load(io.BytesIO(stored))["history"]]
    return found
