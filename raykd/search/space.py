"""Search spaces: the settings that a study searches, which values each may take, and which depend on which."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from functools import reduce
from itertools import product
from typing import Any, NamedTuple, TypeAlias, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FixedTrial

from raykd.config import Experiment
from raykd.settings_io import override, setting_value

Value: TypeAlias = bool | int | float | str | None
Distribution: TypeAlias = FloatDistribution | IntDistribution | CategoricalDistribution


SHARES = ("objective.kd_share", "method.dkd.non_target_share")
"""Settings that divide a weight in two; their sections have the `weights` of both parts."""
WARMUP_SHARE = "objective.warmup_share"


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
            text = " | ".join(map(yaml_text, d.choices))
        else:
            stepped = d.step is not None and not (isinstance(d, IntDistribution) and d.step == 1)
            text = f"{d.low} to {d.high}" + (", log" if d.log else "") + (f", step {d.step}" if stepped else "")
        conditions = [f"{name} is {' or '.join(map(yaml_text, values))}" for name, values in self.when.items()]
        return f"{text} (if {' and '.join(conditions)})" if conditions else text


class Row(NamedTuple):
    """One line of a table of the space."""

    name: str
    range: str
    default: str


class SearchSpace:
    """The settings that a study searches.

    Args:
        source: The file it comes from.
        parameters: In order; conditions name earlier ones.
        base: The experiment that gives all settings that are not searched.
        start: Further start points of a study, by name: settings that are laid over the experiment.
    """

    def __init__(
        self,
        source: str,
        parameters: tuple[Parameter, ...],
        base: Experiment,
        start: Mapping[str, Mapping[str, Value]] | None = None,
    ) -> None:
        self.source = source
        self.parameters = parameters
        self.start = dict(start or {})
        self._base = base

    @property
    def names(self) -> list[str]:
        """Dotted names of the searched settings, in order."""
        return [parameter.name for parameter in self.parameters]

    def sample(self, trial: BaseTrial) -> dict[str, Value]:
        """Values for one trial, recorded in it one by one; entries whose condition fails are left out."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if self._active(parameter, values):
                values[parameter.name] = parameter.suggest(trial)
        return values

    def defaults(self) -> dict[str, Value]:
        """Where the search starts: the default of each entry whose condition holds."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if self._active(parameter, values):
                values[parameter.name] = parameter.default
        return values

    def place_of(self, experiment: Experiment) -> dict[str, Value] | None:
        """The point of this space that has an experiment's values; None if there is none."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if self._active(parameter, values):
                value = value_in_use(experiment, parameter.name)
                if not takes(parameter.distribution, value):
                    return None
                values[parameter.name] = value
        return values

    def active(self, values: Mapping[str, Value]) -> list[str]:
        """Names of the settings that a trial with these values has, as the conditions have it."""
        given: dict[str, Value] = {}
        names = []
        for parameter in self.parameters:
            if self._active(parameter, given):
                names.append(parameter.name)
                if parameter.name in values:
                    given[parameter.name] = values[parameter.name]
        return names

    def combinations(
        self, names: Collection[str], others: Mapping[str, Value] | None = None
    ) -> Iterator[dict[str, Value]]:
        """The values of a trial for each combination of the choices of these settings.

        Args:
            names: Of the settings; those that are no choices stay as the others.
            others: Values of other settings, by name. Further ones have their default.
        """
        defaults = {parameter.name: parameter.default for parameter in self.parameters} | dict(others or {})
        choices = {name: self.choices(name) for name in names if self.choices(name)}
        for combination in product(*choices.values()):
            # The conditions of the entries count.
            yield self.sample(FixedTrial(defaults | dict(zip(choices, combination, strict=True))))

    def points(self, most: int) -> list[dict[str, Value]] | None:
        """All settings that a trial may have; None if they are endless, or more than `most`."""
        points: list[dict[str, Value]] = [{}]
        for parameter in self.parameters:
            values = _all_values(parameter.distribution, most)
            if values is None:
                return None
            active = [(point, self._active(parameter, point)) for point in points]
            points = [
                new
                for point, takes_part in active
                for new in ([{**point, parameter.name: value} for value in values] if takes_part else [point])
            ]
            if len(points) > most:
                return None
        return points

    def choices(self, name: str) -> tuple[Value, ...]:
        """The choices of a searched setting, by its dotted name; none of a range, or if it is not searched."""
        for parameter in self.parameters:
            if parameter.name == name and isinstance(parameter.distribution, CategoricalDistribution):
                return tuple(parameter.distribution.choices)
        return ()

    def highest(self, name: str) -> float | None:
        """The highest value that a searched setting may take, by its dotted name; None if it is not searched."""
        numbers = [number for number in self.choices(name) if isinstance(number, int | float)]
        for parameter in self.parameters:
            if parameter.name == name and not isinstance(parameter.distribution, CategoricalDistribution):
                numbers.append(parameter.distribution.high)
        return max(numbers, default=None)

    @property
    def longest_warmup(self) -> int:
        """Epochs of the longest warm-up of the distillation that a trial may have."""
        searched = {name: self.highest(name) for name in (WARMUP_SHARE, "objective.warmup_epochs")}
        longest = override(self._base, {name: value for name, value in searched.items() if value is not None})
        return longest.objective.warmup(longest.training.epochs)

    def describe(self) -> list[Row]:
        """One row for each searched setting: its name, its range in words, and its default."""
        return [Row(p.name, p.range, yaml_text(p.default)) for p in self.parameters]

    def __repr__(self) -> str:
        return f"SearchSpace({self.source}: {', '.join(self.names)})"

    def _active(self, parameter: Parameter, values: Mapping[str, Value]) -> bool:
        for name, accepted in parameter.when.items():
            if name in self.names:
                if name not in values or values[name] not in accepted:
                    return False
            elif setting_value(self._base, name) not in accepted:
                return False
        return True


def value_in_use(experiment: Experiment, name: str) -> Value:
    """The value of a setting by its dotted name; of a share that is not set, the one that the experiment has."""
    value: Value = setting_value(experiment, name)
    if value is None and name == WARMUP_SHARE:
        return experiment.objective.warmup_epochs / experiment.training.epochs
    if value is None and name in SHARES:
        first, second = reduce(getattr, name.split(".")[:-1], cast(Any, experiment)).weights
        return second / (first + second) if first + second > 0 else None
    return value


def _all_values(distribution: Distribution, most: int) -> Sequence[Value] | None:
    """All values that can come out of a distribution; None if they are endless, or more than `most`."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if distribution.single():
        return [distribution.low]
    if distribution.step is None:
        return None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    if count > most:
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    return [on_grid(low + number * step, low, high, step) for number in range(count)]


def takes(distribution: Distribution, value: Value) -> bool:
    """Whether a value can come out of a distribution."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number and not isinstance(distribution, CategoricalDistribution):
        return False  # Optuna would read `true` and text as numbers
    plain: BaseDistribution = distribution
    try:
        return plain._contains(plain.to_internal_repr(value))
    except ValueError:
        return False


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


def yaml_text(value: Value) -> str:
    """A value as it stands in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
