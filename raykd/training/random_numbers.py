"""The random numbers that a training step draws."""

from __future__ import annotations

import torch


def seed_step(device: torch.device, seed: int) -> None:
    """Seed the generators that a step may draw from, as `torch.manual_seed` does.

    That would also keep a stack trace for each GPU that is not in use yet, which takes longer than many a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
