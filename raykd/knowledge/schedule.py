"""Dynamic weight: how much right knowledge weighs against rectified knowledge as training proceeds.

Progress is epoch / epochs, in [0, 1]. A schedule has no state: a resumed run asks it again and gets the same answer.
The cosine is that of arXiv 2412.09874 (AAAI 2025); the others and `shape` are this project's.
"""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """The weight of right knowledge over progress; rectified knowledge gets the rest."""

    def right_weight(self, progress: float) -> float:
        """Return the weight, in [0, 1], at a progress in [0, 1]; ValueError outside."""
        ...


@dataclass(frozen=True)
class CosineSchedule:
    """cos^2(pi/2 progress^shape): from 1 to 0, half-way at 0.5 with shape 1; a larger shape falls later.

    Raises ValueError unless `shape` is positive and finite.
    """

    shape: float = 1.0

    def __post_init__(self) -> None:
        _check_shape(self.shape)

    def right_weight(self, progress: float) -> float:
        """Return the weight, in [0, 1], at a progress in [0, 1]; ValueError outside."""
        return math.pow(math.cos(math.pi / 2 * math.pow(_share("progress", progress), self.shape)), 2)


@dataclass(frozen=True)
class LinearSchedule:
    """1 - progress^shape: from 1 to 0; a larger shape falls later.

    Raises ValueError unless `shape` is positive and finite.
    """

    shape: float = 1.0

    def __post_init__(self) -> None:
        _check_shape(self.shape)

    def right_weight(self, progress: float) -> float:
        """Return the weight, in [0, 1], at a progress in [0, 1]; ValueError outside."""
        return 1 - math.pow(_share("progress", progress), self.shape)


@dataclass(frozen=True)
class ConstantSchedule:
    """The same weight all the time. Raises ValueError unless `weight` is in [0, 1]."""

    weight: float

    def __post_init__(self) -> None:
        _share("weight", self.weight)

    def right_weight(self, progress: float) -> float:
        """Return the weight, in [0, 1], at a progress in [0, 1]; ValueError outside."""
        _share("progress", progress)
        return self.weight


@dataclass(frozen=True)
class StepSchedule:
    """Right knowledge alone before progress `at`, rectified alone from it on. ValueError unless `at` is in [0, 1]."""

    at: float

    def __post_init__(self) -> None:
        _share("at", self.at)

    def right_weight(self, progress: float) -> float:
        """Return 1 before `at` and 0 from it on, at a progress in [0, 1]; ValueError outside."""
        return 1.0 if _share("progress", progress) < self.at else 0.0


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], not {value}")
    return value


def _check_shape(shape: float) -> None:
    if not (math.isfinite(shape) and shape > 0):
        raise ValueError(f"shape must be positive and finite, not {shape}")
