"""torchvision's image classifiers, untrained, for any number of image channels."""

from __future__ import annotations

from typing import Any

from torch import nn

from raykd.errors import RaykdError, unknown_name


def build_torchvision(name: str, *, num_classes: int, in_channels: int, **arguments: Any) -> nn.Module:
    """A torchvision classifier without pretrained weights.

    Args:
        name: torchvision's name for it, such as ``mobilenet_v3_small``.
        num_classes: Number of classes.
        in_channels: Channels of the images; the first convolution is replaced where it is not 3.
        **arguments: Passed on to torchvision's model.

    Raises:
        RaykdError: Unknown name, arguments that the model refuses, or no first convolution to adapt.
    """
    # Here and not above: importing torchvision takes a second, which the other families need not pay.
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    if name in ("googlenet", "inception_v3"):
        # Their auxiliary heads would make the answer a tuple instead of logits.
        arguments = {"aux_logits": False, "init_weights": True, **arguments}
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **arguments)
    except (TypeError, ValueError) as error:
        raise RaykdError(f"torchvision/{name} refuses the arguments {arguments}: {error}") from error
    if in_channels != 3:
        adapt_first_convolution(network, in_channels, f"torchvision/{name}")
    return network


def adapt_first_convolution(network: nn.Module, in_channels: int, name: str) -> None:
    """Replace the convolution that takes 3-channel images by a fresh one for ``in_channels``, in place.

    Raises:
        RaykdError: The network's first convolution does not take 3 channels, or it has none.
    """
    convolutions = ((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    path, first = next(convolutions, ("", None))
    if first is None or first.in_channels != 3:
        raise RaykdError(
            f"{name}: found no convolution for 3-channel images to adapt to {in_channels} channels: "
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
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    if fresh.bias is not None:
        nn.init.zeros_(fresh.bias)
    network.set_submodule(path, fresh)
