"""timm's image classifiers, fresh or pretrained, for any number of classes and of image channels."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, get_args

import torch
from torch import nn

from raykd.config import Interpolation, PreprocessingSettings
from raykd.errors import RaykdError, shortened, unknown_name

DEFAULT = "DEFAULT"


def build_timm(
    name: str, weights: str | None = None, /, *, num_classes: int, in_channels: int, **arguments: Any
) -> nn.Module:
    """A timm classifier.

    Args:
        name: timm's name for it, such as ``resnet18`` or ``resnet18.a1_in1k``.
        weights: timm's tag of pretrained weights, such as ``a1_in1k``, or ``DEFAULT``: timm's own choice for the name.
            None: fresh. On the meta device the tag is checked and nothing is loaded.
        num_classes: Number of classes; the head is fresh where the weights are for another number.
        in_channels: Channels of the images; timm sums or repeats pretrained weights of the first convolution.
        **arguments: Passed on to timm's model.

    Raises:
        RaykdError: timm is missing, unknown name or weights, arguments that the model refuses, or a download that
            failed.
    """
    timm = _timm()
    full_name = _full_name(timm, name, weights)
    loading = weights is not None and torch.get_default_device().type != "meta"
    try:
        network: nn.Module = timm.create_model(
            full_name, pretrained=loading, num_classes=num_classes, in_chans=in_channels, **arguments
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise RaykdError(f"timm/{name} refuses the arguments {arguments}: {error}") from error
    except Exception as error:
        if not loading:
            raise
        # The hub's client raises whatever its HTTP library does.
        raise RaykdError(
            f"timm/{name}: the weights {weights} could not be loaded: {shortened(error)}\n"
            "run this once where huggingface.co can be reached, then with the same HF_HOME"
        ) from error
    return network


def preprocessing_of(name: str, weights: str) -> PreprocessingSettings:
    """How pretrained weights want their images: timm's `pretrained_cfg`.

    Raises:
        RaykdError: timm is missing, or unknown model or weights.
    """
    timm = _timm()
    wanted = timm.models.get_pretrained_cfg(_full_name(timm, name, weights))
    _, height, width = wanted.input_size
    # raykd's images are square, and cropped at the centre; timm's rare others are shown as the study's own.
    square = height == width and wanted.crop_mode in ("center", "squash")
    return PreprocessingSettings(
        image_size=height if square else None,
        resize=math.floor(height / wanted.crop_pct) if square else None,
        crop=wanted.crop_mode if square else None,
        interpolation=wanted.interpolation if wanted.interpolation in get_args(Interpolation) else None,
        mean=tuple(wanted.mean),
        std=tuple(wanted.std),
    )


def accuracy_of(name: str, weights: str) -> float | None:
    """None: timm's package does not hold the accuracy of its weights."""
    return None


def classes_of(name: str, weights: str) -> int:
    """The number of classes of pretrained weights.

    Raises:
        RaykdError: timm is missing, or unknown model or weights.
    """
    timm = _timm()
    return int(timm.models.get_pretrained_cfg(_full_name(timm, name, weights)).num_classes)


def _timm() -> ModuleType:
    """timm, imported only where it is used: that takes two seconds, and it need not be installed."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise RaykdError("timm/NAME needs timm: pip install 'raykd[timm]'") from error
    return timm


def _full_name(timm: ModuleType, name: str, weights: str | None) -> str:
    """The name with its tag, as timm knows it."""
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        raise unknown_name("timm model", architecture, known)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if weights not in (None, DEFAULT):
        if tag and tag != weights:
            raise RaykdError(f"timm/{name}: its name already holds the tag {tag}: drop that, or the weights {weights}")
        tag = weights
    if tag and tag not in tags:
        raise unknown_name("weights", tag, [*tags, DEFAULT], where=f"timm/{architecture}")
    if weights is not None and not timm.models.is_model_pretrained(f"{architecture}.{tag}" if tag else architecture):
        raise RaykdError(f"timm/{architecture} has no pretrained weights: drop them, or choose another model")
    return f"{architecture}.{tag}" if tag else architecture
