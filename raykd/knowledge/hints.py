"""Hints: the features of a network's layers, captured by layer name from any model.

A layer is named as in ``network.named_modules()``: ``layer2`` is what the layer gives, ``fc:input`` what enters it.
A method's default layers are determined by a trial run, for any convolutional network.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from raykd.errors import RaykdError, unknown_name
from raykd.knowledge.methods.base import Where

INPUT = ":input"
"""Suffix of a layer's name that stands for the layer's input."""

Shape = tuple[int, ...]

NAME_LAYERS = "name layers in method.student_layers and method.teacher_layers"


@contextmanager
def captured(network: nn.Module, layers: Sequence[str], where: str = "") -> Iterator[dict[str, Tensor]]:
    """Collect what the layers give in forward passes inside the context, a layer's last call winning.

    Yields the features by layer name, filled as the passes happen. They keep their gradient and precision, and are
    copies: an in-place ReLU after a layer does not reach them.

    Args:
        network: The network.
        layers: Names of its layers.
        where: The setting that holds the names, for errors.

    Raises:
        RaykdError: The network has no such layer, or one gives something else than a tensor.
    """
    features: dict[str, Tensor] = {}

    def keep(name: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise RaykdError(f"hint layer {name!r}{_in(where)} gives a {type(value).__name__}, not a tensor")
        features[name] = value.clone()

    def add_hook(name: str) -> Any:
        layer = _layer(network, name, where)
        if name.endswith(INPUT):
            return layer.register_forward_pre_hook(
                lambda _, inputs, named: keep(name, next(iter((*inputs, *named.values())), None)), with_kwargs=True
            )
        return layer.register_forward_hook(lambda _, inputs, output: keep(name, output))

    with ExitStack() as hooks:
        for name in dict.fromkeys(layers):
            hooks.callback(add_hook(name).remove)
        yield features


def hint_shapes(network: nn.Module, layers: Sequence[str], image: Shape, where: str = "") -> tuple[Shape, ...]:
    """Shapes, without the batch, of what the layers give for an image of shape (channels, height, width).

    Raises:
        RaykdError: The network has no such layer, does not use it, or it gives no features of each sample.
    """
    with captured(network, layers, where) as features:
        images = _run_on_zeros(network, image)[0]
    for name in layers:
        if name not in features:
            raise RaykdError(f"hint layer {name!r}{_in(where)} is never used by the network: name another layer")
        shape = tuple(features[name].shape)
        if len(shape) < 2 or shape[0] != len(images):
            raise RaykdError(
                f"hint layer {name!r}{_in(where)} gives {list(shape)} for {len(images)} images, not features of each: "
                "name another layer"
            )
    return tuple(tuple(features[name].shape[1:]) for name in layers)


def default_layers(network: nn.Module, where: Where, image: Shape) -> tuple[str, ...]:
    """The layers for a method, shallow to deep.

    Args:
        network: The network.
        where: Where the method takes its hints.
        image: Shape of an image: channels, height, width.

    Raises:
        RaykdError: The network has no feature maps, or no linear head.
    """
    if where == "embedding":
        return (embedding_layer(network, image),)
    stages = stage_layers(network, image)
    match where:
        case "stages":
            return stages
        case "stages and embedding":
            return (*stages, embedding_layer(network, image))
        case "last":
            return stages[-1:]
        case "middle":
            return (stages[(len(stages) - 1) // 2],)


def stage_layers(network: nn.Module, image: Shape) -> tuple[str, ...]:
    """The last layer of each stage, shallow to deep: a stage is where convolutions give maps of one resolution.

    The stem, a single convolution at the highest resolution, is no stage if there are others, and cutting the image
    into patches is none either. Layers inside a block that ends at the next resolution belong to that stage.

    Raises:
        RaykdError: The network has no stages.
    """
    calls = _calls(network, image)[0]
    sizes = sorted({call.gives for call in calls if call.gives and call.convolves}, key=math.prod, reverse=True)
    if not sizes:
        raise RaykdError(f"the network has no convolutional stages to take hints from: {NAME_LAYERS}")
    smaller = dict(pairwise(sizes))
    stages = []
    for size in sizes:
        blocks = tuple(
            f"{call.name}."
            for call in calls
            if (call.takes, call.gives) == (size, smaller.get(size)) and not isinstance(call.module, nn.Sequential)
        )
        stages.append([call for call in calls if call.gives == size and not call.name.startswith(blocks)])
    if len(stages) > 1 and sum(call.convolves for call in stages[0]) == 1:
        del stages[0]
    times = Counter(call.name for call in calls)
    # A layer that is called again elsewhere would be captured there.
    return tuple([call.name for call in stage if times[call.name] == 1][-1] for stage in stages)


def embedding_layer(network: nn.Module, image: Shape) -> str:
    """What enters the network's head: the last linear layer, which gives the answer.

    Raises:
        RaykdError: The network has no linear head.
    """
    calls, answer = _calls(network, image)
    linear = [call for call in calls if isinstance(call.module, nn.Linear)]
    if not linear or not isinstance(answer, Tensor) or linear[-1].shape != tuple(answer.shape):
        raise RaykdError(f"the network has no linear head whose input could be the hint: {NAME_LAYERS}")
    return f"{linear[-1].name}{INPUT}"


@dataclass(frozen=True)
class _Call:
    """A call of a layer: the shape of its output, and height and width of the maps that it takes and gives, if any."""

    name: str
    module: nn.Module
    takes: Shape | None
    gives: Shape | None
    shape: Shape | None

    @property
    def convolves(self) -> bool:
        module = self.module
        if not isinstance(module, nn.Conv2d):
            return False
        cuts_patches = max(module.kernel_size) > 1 and module.stride == module.kernel_size
        return not cuts_patches


def _calls(network: nn.Module, image: Shape) -> tuple[list[_Call], Any]:
    """All calls of the network's layers for an image in the order in which they end, and the network's answer."""
    calls: list[_Call] = []

    def remember(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        calls.append(_Call(name, module, _size(inputs[0] if inputs else None), _size(output), shape))

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(
                    module.register_forward_hook(
                        lambda layer, inputs, output, name=name: remember(name, layer, inputs, output)
                    ).remove
                )
        answer = _run_on_zeros(network, image)[1]
    return calls, answer


def _size(value: Any) -> Shape | None:
    """Height and width of feature maps; None of anything else, and of what is pooled to a single pixel."""
    if isinstance(value, Tensor) and value.dim() == 4 and math.prod(value.shape[2:]) > 1:
        return tuple(value.shape[2:])
    return None


@torch.no_grad()
def _run_on_zeros(network: nn.Module, image: Shape) -> tuple[Tensor, Any]:
    """Run the network on black images of shape (channels, height, width) without changing its state.

    Returns the images [2, ...] and the network's output for them.
    """
    images = torch.zeros(2, *image, device=next(network.parameters()).device)
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        return images, network(images)
    finally:
        for module, mode in training.items():
            module.training = mode


def _layer(network: nn.Module, name: str, where: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
    path = name.removesuffix(INPUT)
    if path not in modules or not path:
        raise unknown_name("hint layer", path, [known for known in modules if known], where)
    return modules[path]


def _in(where: str) -> str:
    return f" in {where}" if where else ""
