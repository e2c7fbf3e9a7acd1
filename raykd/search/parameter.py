"""One searched setting: what values it may take, where the search starts, and on what it hangs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

Value: TypeAlias = bool | int | float | str | None
Distribution: TypeAlias = FloatDistribution | IntDistribution | CategoricalDistribution


@dataclass(frozen=True)
class Parameter:
    """One searched setting.

    Args:
        name: Dotted name of the setting.
        distribution: What values it may take.
        default: Where the search starts.
        when: The values that other settings must have, by name.
    """

    name: str
    distribution: Distribution
    default: Value
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def suggest(self, trial: BaseTrial) -> Value:
        """Let Optuna choose a value, which also records it."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return trial.suggest_categorical(self.name, d.choices)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.name, d.low, d.high, step=d.step, log=d.log)
        return trial.suggest_float(self.name, d.low, d.high, step=d.step, log=d.log)

    @property
    def range(self) -> str:
        """The values and the condition in words."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            text = " | ".join(map(shown, d.choices))
        else:
            stepped = d.step is not None and not (isinstance(d, IntDistribution) and d.step == 1)
            text = f"{d.low} to {d.high}" + (", log" if d.log else "") + (f", step {d.step}" if stepped else "")
        conditions = [f"{name} is {' or '.join(map(shown, values))}" for name, values in self.when.items()]
        return f"{text} (if {' and '.join(conditions)})" if conditions else text


def takes(distribution: Distribution, value: Value) -> bool:
    """Whether a value can come out of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if not distribution.low <= value <= distribution.high:
        return False
    return distribution.step is None or on_grid(value, distribution.low, distribution.high, distribution.step) == value


def nearest(distribution: Distribution, value: Value) -> Value:
    """The value of a distribution nearest to one; its middle or first choice where nothing is near."""
    if isinstance(distribution, CategoricalDistribution):
        first: Value = distribution.choices[0]
        return first
    low, high = distribution.low, distribution.high
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        value = math.sqrt(low * high) if distribution.log else (low + high) / 2
    value = min(max(value, low), high)
    return value if distribution.step is None else on_grid(value, low, high, distribution.step)


def on_grid(value: float, low: float, high: float, step: float) -> float:
    """The nearest of low, low + step, ... up to high; in decimals, as 0.1 + 0.2 should be 0.3."""
    start, size = Decimal(str(low)), Decimal(str(step))
    count = ((Decimal(str(value)) - start) / size).to_integral_value(ROUND_HALF_EVEN)
    count = min(count, (Decimal(str(high)) - start) // size)
    point = start + count * size
    return int(point) if isinstance(low, int) and isinstance(step, int) else float(point)


def shown(value: Value) -> str:
    """A value as it stands in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
