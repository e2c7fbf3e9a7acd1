"""torchvision's image classifiers, fresh or pretrained, for any number of classes and of image channels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from raykd.config import PreprocessingSettings
from raykd.errors import RaykdError, shortened, unknown_name

WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


def build_torchvision(
    name: str, weights: str | None = None, /, *, num_classes: int, in_channels: int, **arguments: Any
) -> nn.Module:
    """A torchvision classifier.

    Args:
        name: torchvision's name for it, such as ``mobilenet_v3_small``.
        weights: torchvision's name for pretrained weights, such as ``IMAGENET1K_V1`` or ``DEFAULT``. None: fresh. On
            the meta device the name is checked and nothing is loaded.
        num_classes: Number of classes; the head is fresh where the weights are for another number.
        in_channels: Channels of the images. Where it is not 3, the first convolution is replaced: by a fresh one, or,
            for grey images and with weights, by the sum over the three channels, which answers as if they were equal.
        **arguments: Passed on to torchvision's model.

    Raises:
        RaykdError: Unknown name or weights, arguments that the model refuses, no first convolution to adapt,
            pretrained weights for images of neither 1 nor 3 channels, or a download that failed.
    """
    # Here and not above: importing torchvision takes a second, which the other families need not pay.
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    if weights is not None:
        if in_channels not in (1, 3):
            raise RaykdError(f"torchvision/{name}: {weights} are for 1 or 3 image channels, not {in_channels}")
        chosen = _member(name, weights)
        if torch.get_default_device().type != "meta":
            return _pretrained(name, chosen, num_classes, in_channels, arguments)
    network = _fresh(name, num_classes, arguments)
    if in_channels != 3:
        adapt_first_convolution(network, in_channels, f"torchvision/{name}")
    return network


def preprocessing_of(name: str, weights: str) -> PreprocessingSettings:
    """How pretrained weights want their images: torchvision's transforms for them.

    Raises:
        RaykdError: Unknown model or weights.
    """
    preset = _member(name, weights).transforms()
    return PreprocessingSettings(
        image_size=preset.crop_size[0],
        resize=preset.resize_size[0],
        crop="center",
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def accuracy_of(name: str, weights: str) -> float | None:
    """The accuracy on ImageNet's validation images that torchvision publishes of pretrained weights, as a share.

    Raises:
        RaykdError: Unknown model or weights.
    """
    percent = _member(name, weights).meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return None if percent is None else percent / 100


def classes_of(name: str, weights: str) -> int:
    """The number of classes of pretrained weights.

    Raises:
        RaykdError: Unknown model or weights.
    """
    return len(_member(name, weights).meta["categories"])


def _member(name: str, weights: str) -> Any:
    """The member of torchvision's enumeration of weights with this name."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    members = torchvision.models.get_model_weights(name).__members__
    if weights not in members:
        raise unknown_name("weights", weights, members, where=f"torchvision/{name}")
    return members[weights]


def _fresh(name: str, num_classes: int, arguments: dict[str, Any]) -> nn.Module:
    import torchvision

    if name in WITH_AUXILIARY_HEADS:
        # Their auxiliary heads would make the answer a tuple instead of logits.
        arguments = {"aux_logits": False, "init_weights": True, **arguments}
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **arguments)
    except (TypeError, ValueError) as error:
        raise RaykdError(f"torchvision/{name} refuses the arguments {arguments}: {error}") from error
    return network


def _pretrained(name: str, chosen: Any, num_classes: int, in_channels: int, arguments: dict[str, Any]) -> nn.Module:
    import torchvision

    own_classes = len(chosen.meta["categories"])
    options = dict(arguments)
    if name in WITH_AUXILIARY_HEADS and in_channels != 3:
        # They rescale three channels by themselves.
        options["transform_input"] = False
    try:
        with _weights_only():
            network: nn.Module = torchvision.models.get_model(name, weights=chosen, progress=False, **options)
    except (TypeError, ValueError) as error:
        raise RaykdError(f"torchvision/{name} with {chosen.name} refuses the arguments {arguments}: {error}") from error
    except OSError as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise RaykdError(
            f"torchvision/{name}: the weights {chosen.name} could not be loaded: {shortened(error)}\n"
            f"download {chosen.url} into {folder} where the internet can be reached"
        ) from error
    except (RuntimeError, UnpicklingError, EOFError, LookupError) as error:
        file = f"{torch.hub.get_dir()}/checkpoints/{chosen.url.rpartition('/')[2]}"
        raise RaykdError(
            f"torchvision/{name}: weights {chosen.name} do not load: {shortened(error)}\n"
            f"drop arguments that change its layers, or delete {file} if it is damaged"
        ) from error
    if name in WITH_AUXILIARY_HEADS:
        network.aux_logits = False  # type: ignore[assignment]
        for head in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, head):
                setattr(network, head, None)
    if num_classes != own_classes:
        _replace_head(network, _fresh(name, num_classes, arguments), num_classes, own_classes)
    if in_channels != 3:
        adapt_first_convolution(network, in_channels, f"torchvision/{name}", keep=True)
    return network


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let torch unpickle nothing but weights meanwhile: torchvision does not ask it for that."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _replace_head(network: nn.Module, fresh: nn.Module, num_classes: int, own_classes: int) -> None:
    """Replace the classifying layers by those of a fresh network, in place."""
    own = dict(network.named_modules())
    for path, module in fresh.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and path in own:
            there = own[path].weight
            if isinstance(there, nn.Parameter) and (len(there), len(module.weight)) == (own_classes, num_classes):
                network.set_submodule(path, module)


def adapt_first_convolution(network: nn.Module, in_channels: int, name: str, *, keep: bool = False) -> None:
    """Replace the convolution that takes 3-channel images by one for ``in_channels``, in place.

    Args:
        network: The network.
        in_channels: Channels of the images.
        name: The network's name, for errors.
        keep: Sum the weights over the three channels, for grey images. Otherwise the convolution is fresh.

    Raises:
        RaykdError: The network's first convolution does not take 3 channels, or it has none.
    """
    convolutions = ((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    path, first = next(convolutions, ("", None))
    if first is None or first.in_channels != 3:
        raise RaykdError(
            f"{name}: it has no convolution for 3-channel images to adapt to {in_channels} channels: "
            "use another model, or hand over a builder of your own as `package.module:function`"
        )
    fresh = nn.Conv2d(
        in_channels,
        first.out_channels,
        kernel_size=first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    if keep:
        fresh.load_state_dict({**first.state_dict(), "weight": first.weight.detach().sum(dim=1, keepdim=True)})
    else:
        nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
        if fresh.bias is not None:
            nn.init.zeros_(fresh.bias)
    network.set_submodule(path, fresh)
