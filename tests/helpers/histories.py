"""What the trials of a study have learnt so far, while it runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from raykd.training.checkpoint import stored_checkpoint


def histories(study: Path) -> dict[str, list[dict[str, Any]]]:
    """The metrics of each trial's epochs, as its checkpoint has them; read as raykd does, also between two writes."""
    found = {trial.name: history(str(trial)) for trial in sorted((study / "trials").glob("*"))}
    return {name: epochs for name, epochs in found.items() if epochs is not None}


def history(student: str) -> list[dict[str, Any]] | None:
    """The metrics of a student's epochs, by its folder, on disk or in a store; None: it has no checkpoint."""
    stored = stored_checkpoint(student)
    return None if stored is None else [epoch["metrics"] for epoch in torch.load(io.BytesIO(stored))["history"]]
