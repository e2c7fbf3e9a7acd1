"""Whether all of a network takes part in its answers, as several workers need it to."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn

from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.knowledge import captured
from raykd.training.compiled.rehearsal import loss_of

NAMED = 3
"""How many layers an error names at the most."""


def check_all_used(network: nn.Module, layers: Sequence[str], info: DataInfo, name: str) -> None:
    """Refuse a network with trained parameters that neither its answers nor the features of these layers depend on.

    Workers exchange the gradients of all parameters, and `DistributedDataParallel` stops where one has none.
    (`find_unused_parameters` is no way out: it asks the logits alone, but losses reach learned parts and hints, too.)

    Args:
        network: On any device, "meta" too; it stays as it is.
        layers: Whose features a method compares.
        info: The data.
        name: Of the network; errors begin with it.

    Raises:
        RaykdError: There are such parameters.
    """
    unused = _unused(network, layers, info)
    if unused:
        more = f" and {len(unused) - NAMED} more" if len(unused) > NAMED else ""
        raise RaykdError(
            f"{name}: its answers do not depend on {', '.join(unused[:NAMED])}{more}, which several workers cannot "
            "train:\ntake them out of the network, set their requires_grad to False, or set cluster.workers 1"
        )


def _unused(network: nn.Module, layers: Sequence[str], info: DataInfo) -> list[str]:
    """The layers of such parameters, by name."""
    copy = deepcopy(network).train()
    device = next((parameter.device for parameter in copy.parameters()), None)
    images = torch.zeros(2, info.channels, info.height, info.width, device=device)
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        try:
            with captured(copy, layers) as features:
                logits = copy(images)
            loss_of([logits, *features.values()]).backward()  # type: ignore[no-untyped-call]
        except Exception:
            return []  # Not all operations work on the meta device; a fault of its own will show in training.
    missing = [name for name, each in copy.named_parameters() if each.requires_grad and each.grad is None]
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in missing))
