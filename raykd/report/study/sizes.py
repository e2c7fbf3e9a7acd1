"""How large a finished model is, from its description alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.training.folder import SIZE


class NetworkSize(NamedTuple):
    """Parameters of a network, and operations (multiplications and additions) of its answer to one image."""

    parameters: int
    operations: int


def network_size(model: Mapping[str, Any]) -> NetworkSize | None:
    """The size of the network that a description names; None if it cannot be built here, as that of a given module.

    Args:
        model: See `raykd.training.folder`.
    """
    import torch

    from raykd.models import build_model, parameter_count
    from raykd.planning.costs import operations

    settings, data = model["lesson"]["student"], model["data"]
    if settings is None:
        return None
    network = ModelSettings.model_validate(settings)
    height, width = model.get(SIZE, (data["height"], data["width"]))
    classes, shape = data["num_classes"], (data["channels"], height, width)
    try:
        with torch.device("meta"):
            parameters = parameter_count(build_model(network, num_classes=classes, in_channels=shape[0]))
        return NetworkSize(parameters, operations(network, classes, shape))
    except (RaykdError, RuntimeError):
        # The network may be the user's own, and no longer be importable, or not count on the meta device.
        return None
