"""From a model's settings to its network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from raykd.config import ModelSettings
from raykd.errors import RaykdError, unknown_name
from raykd.imports import import_object, parameters_of, takes
from raykd.models import resnet
from raykd.models.torchvision_models import build_torchvision

BUILDERS: dict[str, Callable[..., nn.Module]] = {**resnet.FAMILY}
"""Every family's builders by name. A new family is one file with a ``FAMILY`` like resnet's, joined here."""

TORCHVISION = "torchvision/"
GIVEN = ("num_classes", "in_channels")


def build_model(settings: ModelSettings, *, num_classes: int, in_channels: int) -> nn.Module:
    """The network that the settings name, freshly initialised from torch's global generator, on the CPU.

    It takes float32 images (N, in_channels, H, W) and returns logits (N, num_classes). A builder of the user's own is
    called as ``function(num_classes=..., in_channels=..., **arguments)``, ``in_channels`` only where it takes it.

    Raises:
        RaykdError: Unknown name, import path that leads nowhere, arguments that the builder does not take, or a builder
            that returns no ``nn.Module``.
    """
    builder = _builder(settings.name)
    given: dict[str, Any] = {"num_classes": num_classes}
    if takes(builder, "in_channels"):
        given["in_channels"] = in_channels
    _check_arguments(settings, builder, given)
    network = builder(**given, **settings.arguments)
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise RaykdError(f"model {settings.name!r}: the builder must return a torch.nn.Module, not {kind}")
    return network


def model_names() -> list[str]:
    """Names of the built-in families' models, sorted; ``torchvision/NAME`` and import paths come on top."""
    return sorted(BUILDERS)


def parameter_count(module: nn.Module) -> int:
    """Number of the module's parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def _builder(name: str) -> Callable[..., Any]:
    if name in BUILDERS:
        return BUILDERS[name]
    if name.startswith(TORCHVISION):
        return partial(build_torchvision, name.removeprefix(TORCHVISION))
    if ":" not in name:
        raise unknown_name("model", name, [*BUILDERS, "torchvision/NAME", "package.module:function"])
    builder: Callable[..., Any] = import_object(name, "model")
    if not callable(builder):
        raise RaykdError(f"model {name!r}: {type(builder).__name__} is not a function or class that builds a network")
    return builder


def _check_arguments(settings: ModelSettings, builder: Callable[..., Any], given: dict[str, Any]) -> None:
    """Compare the arguments with the builder's signature, so that errors inside a builder stay what they are."""
    if doubled := sorted(set(GIVEN) & set(settings.arguments)):
        raise RaykdError(f"model {settings.name!r}: {' and '.join(doubled)} come from the data: drop them")
    parameters = parameters_of(builder)
    signature = inspect.Signature(list(parameters.values()))
    try:
        signature.bind(**given, **settings.arguments)
    except TypeError as error:
        bare = {name: parameter.replace(annotation=parameter.empty) for name, parameter in parameters.items()}
        names = [str(parameter) for name, parameter in bare.items() if name not in GIVEN]
        listed = ", ".join(names) or "none"
        raise RaykdError(f"model {settings.name!r}: {error}; its arguments: {listed}") from error
