"""From a model's settings to its network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from raykd.config import ModelSettings, PreprocessingSettings
from raykd.errors import RaykdError, unknown_name
from raykd.imports import import_object, parameters_of, takes
from raykd.models import (
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    resnet_four_stages,
    shufflenet_v1,
    shufflenet_v2,
    timm_models,
    torchvision_models,
    vgg,
    wide_resnet,
)
from raykd.models.weights import check_file, load_weights

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    **resnet.FAMILY,
    **resnet_four_stages.FAMILY,
    **wide_resnet.FAMILY,
    **vgg.FAMILY,
    **mobilenet_v1.FAMILY,
    **mobilenet_v2.FAMILY,
    **shufflenet_v1.FAMILY,
    **shufflenet_v2.FAMILY,
}
"""Every family's builders by name. A new family is one file with a ``FAMILY`` like resnet's, added here."""
ALIASES = {"ShuffleV1": "ShuffleNetV1", "ShuffleV2": "ShuffleNetV2", "mobilenet_v2": "MobileNetV2"}
"""Other toolkits' names for the same networks."""
LIBRARIES = {"torchvision/": torchvision_models, "timm/": timm_models}

Claim = tuple[str, float]
"""The name under which a file tells the accuracy of its network, and the accuracy."""
GIVEN = ("num_classes", "in_channels")


def build_model(settings: ModelSettings, *, num_classes: int, in_channels: int) -> nn.Module:
    """The network that the settings name, on the CPU: fresh from torch's global generator, or with the weights named.

    It takes float32 images (N, in_channels, H, W) and returns logits (N, num_classes). A builder of the user's own is
    called as ``function(num_classes=..., in_channels=..., **arguments)``, ``in_channels`` only where it takes it.
    Weights for another number of classes leave the last layer fresh. Under ``torch.device("meta")`` nothing is read
    or downloaded, but names and files are checked.

    Raises:
        RaykdError: Unknown name, import path that cannot be imported, arguments that the builder does not take, a
            builder that returns no ``nn.Module``, or weights that cannot be loaded or do not fit.
    """
    file = settings.weights_file
    if file is not None:
        check_file(file, settings.digests.get(file))
    builder = _builder(settings.name, None if file else settings.weights)
    given: dict[str, Any] = {"num_classes": num_classes}
    if takes(builder, "in_channels"):
        given["in_channels"] = in_channels
    _check_arguments(settings, builder, given)
    network = builder(**given, **settings.arguments)
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise RaykdError(f"model {settings.name!r}: the builder must return a torch.nn.Module, not {kind}")
    if file is not None and torch.get_default_device().type != "meta":
        where, digest = f"{settings.name}: weights {file}", settings.digests.get(file)
        load_weights(network, file, where, exact=False, key=settings.weights_key, digest=digest)
    return network


def preprocessing(settings: ModelSettings) -> PreprocessingSettings:
    """How named pretrained weights want their images; nothing of it for any other model, which takes what its data has.

    Raises:
        RaykdError: Unknown torchvision or timm model, or unknown weights.
    """
    library, name = _library(settings.name)
    if library is None or settings.weights is None or settings.weights_file is not None:
        return PreprocessingSettings()
    wanted: PreprocessingSettings = LIBRARIES[library].preprocessing_of(name, settings.weights)
    return wanted


def published_accuracy(settings: ModelSettings) -> float | None:
    """The accuracy on ImageNet's validation images that named pretrained weights are known to have, as a share.

    Raises:
        RaykdError: Unknown torchvision or timm model, or unknown weights.
    """
    library, name = _library(settings.name)
    if library is None or settings.weights is None or settings.weights_file is not None:
        return None
    known: float | None = LIBRARIES[library].accuracy_of(name, settings.weights)
    return known


def build_pretrained(settings: ModelSettings, *, num_classes: int, in_channels: int) -> tuple[nn.Module, Claim | None]:
    """The network with all its weights as they are, to be used without training, and what its file tells of them.

    Raises:
        RaykdError: What `build_model` refuses, and weights for another number of classes.
    """
    file = settings.weights_file
    if file is None and settings.weights is not None:
        library, name = _library(settings.name)
        assert library is not None
        theirs = LIBRARIES[library].classes_of(name, settings.weights)
        if theirs != num_classes:
            raise RaykdError(
                f"{settings.name}: weights {settings.weights} are for {theirs} classes, but the data has "
                f"{num_classes}: start from them with teacher.model.weights instead, and train"
            )
    network = build_model(
        settings if file is None else settings.model_copy(update={"weights": None}),
        num_classes=num_classes,
        in_channels=in_channels,
    )
    if file is None:
        return network, None
    where = f"{settings.name}: weights {file}"
    return network, load_weights(network, file, where, exact=True, key=settings.weights_key).accuracy


def model_names() -> list[str]:
    """Names of the built-in families' models, sorted; libraries' models and import paths are not among them."""
    return sorted(BUILDERS)


def model_descriptions() -> dict[str, str]:
    """A line for each of `model_names`, family by family: what it is, and its size for 100 classes of colour images."""
    return {name: model_description(name) for name in BUILDERS}


def model_description(name: str) -> str:
    """The line for one of `model_names`."""
    with torch.device("meta"):
        network = BUILDERS[name](num_classes=100)
    words = (inspect.getdoc(network) or "").partition(":")[0]
    return f"{words}, {parameter_count(network):,} parameters with 100 classes"


def parameter_count(module: nn.Module) -> int:
    """Number of the module's parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def _library(name: str) -> tuple[str | None, str]:
    """The prefix of the library that a model comes from, or None, and the model's name in it."""
    library = next((prefix for prefix in LIBRARIES if name.startswith(prefix)), None)
    return library, name.removeprefix(library or "")


def _builder(name: str, weights: str | None) -> Callable[..., Any]:
    library, own_name = _library(name)
    if library == "torchvision/":
        return partial(torchvision_models.build_torchvision, own_name, weights)
    if library == "timm/":
        return partial(timm_models.build_timm, own_name, weights)
    if ALIASES.get(name, name) in BUILDERS:
        return BUILDERS[ALIASES.get(name, name)]
    if ":" not in name:
        same_letters = [known for known in BUILDERS if known.lower() == name.lower()]
        libraries = [f"{prefix}NAME" for prefix in LIBRARIES]
        known = libraries if "/" in name else [*BUILDERS, *libraries, "package.module:function"]
        raise unknown_name("model", name, same_letters or known)
    builder: Callable[..., Any] = import_object(name, "model")
    if not callable(builder):
        raise RaykdError(f"model {name!r}: {type(builder).__name__} is not a function or class that builds a network")
    return builder


def _check_arguments(settings: ModelSettings, builder: Callable[..., Any], given: dict[str, Any]) -> None:
    """Compare the arguments with the builder's signature, so that errors inside a builder stay what they are."""
    if doubled := sorted(set(GIVEN) & set(settings.arguments)):
        raise RaykdError(f"model {settings.name!r}: {' and '.join(doubled)} are set by the data: drop them")
    parameters = parameters_of(builder)
    signature = inspect.Signature(list(parameters.values()))
    try:
        signature.bind(**given, **settings.arguments)
    except TypeError as error:
        bare = {name: parameter.replace(annotation=parameter.empty) for name, parameter in parameters.items()}
        names = [str(parameter) for name, parameter in bare.items() if name not in GIVEN]
        listed = ", ".join(names) or "none"
        raise RaykdError(f"model {settings.name!r}: {error}; its arguments: {listed}") from error
