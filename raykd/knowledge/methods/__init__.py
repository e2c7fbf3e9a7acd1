"""Host methods: how far a student's tempered logits are from a teacher's, per sample."""

from typing import Protocol

from torch import Tensor

from raykd.knowledge.methods.dkd import dkd, non_target_kd, target_kd
from raykd.knowledge.methods.kd import kd

__all__ = ["LogitMethod", "dkd", "kd", "non_target_kd", "target_kd"]


class LogitMethod(Protocol):
    """A host method on tempered logits.

    The teacher's may be raw logits over T or the logarithm of a repaired distribution, so a method must not depend
    on a row's offset. Weights of its own are bound beforehand, e.g. by `functools.partial`.
    """

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, /) -> Tensor:
        """Return the loss [B], without any T^2, of logits [B, C] and labels int64 [B]."""
        ...
