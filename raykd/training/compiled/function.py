"""A function that torch compiles, and that is called as it was written from when that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

CUDA_GRAPHS = {"triton.cudagraphs": True}
"""What `mode="reduce-overhead"` of `torch.compile` sets; it takes a mode or options, not both."""


class CompiledFunction:
    """A forward pass, compiled anew for each shape that it sees; on a GPU it is recorded as CUDA graphs.

    What it returns, and the gradients of it, may be overwritten by the next call of any such function.

    Args:
        function: Without closure, of a network and tensors: it returns logits. It is compiled whole or not at all.
        whose: Whose pass it is, for the line that says why it is not compiled.
        device: Where it runs.

    Attributes:
        reason: Why it is not compiled, or no longer; empty where the function fails by itself. None: it is compiled.
        rehearsed: Whether it is known to work; until then, whatever compilation raises is raised.
    """

    def __init__(self, function: Callable[..., Tensor], whose: str, device: torch.device) -> None:
        self.reason: str | None = None
        self.rehearsed = False
        self.whose = whose
        self._function = function
        self._graphs = device.type == "cuda"

    @property
    def works(self) -> bool:
        """Whether it is compiled, as far as is known."""
        return self.reason is None

    def __call__(self, *inputs: Any) -> Tensor:
        """The function's result; compiled, unless that fails now or has failed before."""
        if self.reason is None:
            # Dynamo is slow to import, and imported by now if anything has been compiled.
            from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

            try:
                return self._run(*inputs)
            except (TorchDynamoException, FailOnRecompileLimitHit) as error:
                if not self.rehearsed:
                    raise
                # Compiled whole, nothing has been run yet: the inputs are as they were.
                self.reason = first_line(error)
                logger.warning("%s are no longer compiled: %s", self.whose, self.reason)
        return self._function(*inputs)

    def _run(self, *inputs: Any) -> Tensor:
        if self._graphs:
            # Outputs of earlier calls are no longer needed, though their gradients may not have been asked for.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._compiled(*inputs)

    @cached_property
    def _compiled(self) -> Callable[..., Tensor]:
        # Dropout draws the same numbers as without, so that both ways can be compared.
        options: dict[str, Any] = {"fallback_random": True} | (CUDA_GRAPHS if self._graphs else {})
        # Numbers of a dynamic shape would differ with the shapes that came before.
        return torch.compile(_with_own_cache(self._function), fullgraph=True, dynamic=False, options=options)


def _with_own_cache(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function with code of its own: compiled code is kept, up to 8 times, with the code it was made from."""
    assert isinstance(function, FunctionType) and function.__closure__ is None
    return FunctionType(function.__code__.replace(), function.__globals__, function.__name__)


def first_line(error: Exception) -> str:
    """An error of compilation in one line."""
    from torch._dynamo.exc import FailOnRecompileLimitHit

    # Of errors that only say where another came from, that other.
    inner = error.__cause__ if isinstance(error, FailOnRecompileLimitHit) else getattr(error, "inner_exception", error)
    lines = str(inner).strip().splitlines()
    return lines[0] if lines else type(inner).__name__
