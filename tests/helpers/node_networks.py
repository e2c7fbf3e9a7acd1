"""Networks that tell where they were taught, and take their time, but not the processor's, until they may hurry."""

from __future__ import annotations

import os
import time
from pathlib import Path

from torch import Tensor, nn

from raykd.config import ModelSettings
from raykd.models import build_model

HURRY = "hurry"
"""The file that ends the slowness of networks."""


class Slow(nn.Module):
    """Lets each step in training take some seconds more, until a file exists."""

    def __init__(self, network: nn.Module, seconds: float, hurry: Path) -> None:
        super().__init__()
        self.network = network
        self._seconds = seconds
        self._hurry = hurry

    def forward(self, images: Tensor) -> Tensor:
        if self.training and images.device.type == "cpu" and not self._hurry.exists():
            time.sleep(self._seconds)
        logits: Tensor = self.network(images)
        return logits


def noted(num_classes: int, in_channels: int, folder: str, seconds: float = 0.0) -> nn.Module:
    """A small ResNet-8; a file in the folder names each machine and process that built it.

    A file `hurry` beside the folder ends its slowness.
    """
    machine = os.uname().nodename
    Path(folder, f"{machine}-{os.getpid()}").touch()
    settings = ModelSettings(name="resnet8", arguments={"width": 0.25})
    network = build_model(settings, num_classes=num_classes, in_channels=in_channels)
    return Slow(network, seconds, Path(folder).with_name(HURRY))
