"""What a network must be able to do, tried on two black images: to answer, and to be trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from raykd.data import DataInfo
from raykd.errors import RaykdError, shortened

IMAGES = 2


def check_answers(network: nn.Module, info: DataInfo, name: str) -> None:
    """Give a network two black images, and refuse one that does not return finite logits of the data's classes.

    Args:
        network: On any device, "meta" too. It is left in evaluation mode.
        info: The data.
        name: Of the network; errors begin with it.

    Raises:
        RaykdError: It does not take such images, or returns something else.
    """
    try:
        with torch.no_grad():
            answers = network.eval()(_images(network, info))
    except Exception as error:
        # A user's network may raise anything about images that it does not take.
        raise RaykdError(f"{name}: does not take images of {_size(info)}: {shortened(error)}") from error
    _check_logits(answers, info, name)
    if not answers.is_meta and not answers.isfinite().all():
        raise RaykdError(f"{name}: its answers to black images are not finite: its weights are damaged, or diverged")


def check_training(network: nn.Module, info: DataInfo, name: str) -> None:
    """Pass two black images through a network in training mode, forward and backward, as a step of its training does.

    Args:
        network: On any device, "meta" too. It is left in evaluation mode; its running statistics change.
        info: The data.
        name: Of the network; errors begin with it.

    Raises:
        RaykdError: It cannot be trained on such images, or returns something else than it does in evaluation mode.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RaykdError(f"{name}: has no parameters to train")
    try:
        # Dropout must not change the random numbers of what comes after.
        with torch.random.fork_rng(devices=[]):
            answers = network.train()(_images(network, info))
    except Exception as error:
        raise RaykdError(f"{name}: cannot be trained on images of {_size(info)}: {shortened(error)}") from error
    finally:
        network.eval()
    _check_logits(answers, info, name, " in training mode")
    try:
        answers.float().sum().backward()
    except Exception as error:
        raise RaykdError(f"{name}: has no gradient in training mode: {shortened(error)}") from error
    network.zero_grad(set_to_none=True)


def _images(network: nn.Module, info: DataInfo) -> Tensor:
    device = next((tensor.device for tensor in network.state_dict().values()), None)
    return torch.zeros(IMAGES, info.channels, info.height, info.width, device=device)


def _size(info: DataInfo) -> str:
    return f"{info.channels} x {info.height} x {info.width}"


def _check_logits(answers: Any, info: DataInfo, name: str, when: str = "") -> None:
    if not isinstance(answers, Tensor):
        raise RaykdError(
            f"{name}: answers with a {type(answers).__name__}{when}, not with logits as a tensor\n"
            "let it return the logits alone: switch auxiliary heads off, or name a builder whose network drops the rest"
        )
    wanted = (IMAGES, info.num_classes)
    if answers.shape != wanted:
        raise RaykdError(
            f"{name}: answers{when} with shape {tuple(answers.shape)} where {wanted} are logits of the "
            f"{info.num_classes} classes of {info.name}"
        )
