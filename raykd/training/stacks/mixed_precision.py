"""Autocast under vmap: torch's own does not reach convolutions there, nor layers with a bias.

A stack would pass batches in float32, while the same network alone passes them in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

LOWERED: frozenset[Callable[..., Any]] = frozenset(
    {
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.conv_transpose2d,
        torch.conv_transpose3d,
        F.linear,
        F.bilinear,
        F.scaled_dot_product_attention,
        F.prelu,
        torch.matmul,
        torch.mm,
        torch.bmm,
        torch.mv,
        torch.addmm,
        torch.baddbmm,
        torch.einsum,
        Tensor.matmul,
        Tensor.__matmul__,
        Tensor.mm,
        Tensor.bmm,
    }
)
"""Of the operations that torch's autocast computes in the lower precision, those that image classifiers use."""


class _Lowered(TorchFunctionMode):
    """Calls these operations with tensors of a lower precision in place of float32."""

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self._precision = precision

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in LOWERED:
            args, kwargs = pytree.tree_map_only(Tensor, self._lower, (args, dict(kwargs or {})))
        return func(*args, **(kwargs or {}))

    def _lower(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._precision) if tensor.dtype == torch.float32 else tensor


def autocast_under_vmap(device: torch.device) -> AbstractContextManager[object]:
    """A context in which operations under vmap have the precision of the autocast that is enabled, if any is."""
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return _Lowered(torch.get_autocast_dtype(device.type))
