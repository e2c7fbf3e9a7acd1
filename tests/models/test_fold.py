"""A folded teacher answers as before, with fewer layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raykd.config import ModelSettings
from raykd.models import build_model, folded


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def settled(network: nn.Module) -> nn.Module:
    """With running statistics as after training, and weights that are not all ones."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + 0.5)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet20", 0), ("resnet8x4", 0), ("mobilenet_v2", 0), ("ShuffleNetV1", 0), ("ShuffleNetV2", 0),
     ("torchvision/resnet18", 0), ("wrn_16_1", None)],
)  # fmt: skip
def test_networks_of_the_zoo_answer_as_before(name: str, left: int | None) -> None:
    torch.manual_seed(0)
    network = settled(build_model(ModelSettings(name=name), num_classes=10, in_channels=3).double())
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ours = folded(network)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), network(images))
    # Wide ResNets normalise before each convolution, most of which are after an addition.
    assert norms(ours) == left if left is not None else 0 < norms(ours) < norms(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Shared(nn.Module):
    """Normalises twice by the same layer, looks at a convolution twice, and keeps no statistics in one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.twice, self.once = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.of_batch = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, images: Tensor) -> Tensor:
        images = self.twice(self.second(self.twice(self.first(images))))
        looked_at = self.third(images)
        return self.of_batch(self.once(looked_at) + looked_at).mean((2, 3))


class Undecided(nn.Module):
    """Looks at values, so that it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) if images.sum() > 0 else images


def vgg() -> nn.Module:
    """Looks at the size of its images."""
    return build_model(ModelSettings(name="vgg8"), num_classes=10, in_channels=3)


@pytest.mark.parametrize("kind", [Shared, Undecided, vgg])
def test_what_cannot_be_folded_stays(kind: Callable[[], nn.Module]) -> None:
    network = settled(kind())
    assert folded(network) is network
