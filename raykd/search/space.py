"""Search spaces: which settings a study searches, read from YAML and checked before anything starts.

One entry a setting, by its dotted name::

    temperature.multiplier: {low: 0.5, high: 8.0, log: true, default: 1.0}
    bias.form: {choices: [pair, one_hot, swap]}
    bias.strength: {low: 0.0, high: 1.0, when: {bias.form: [pair, one_hot]}}
    training.batch_size: {low: 32, high: 128, step: 32}

- A value has its setting's own type: a range on an int setting gives ints, and both ends belong to it.
- ``when`` names entries above, or settings that are not searched, which the experiment then decides. The entry is
  sampled if each of them has the value, or one of the values. An entry that was itself left out has none.
- ``default`` is where the search starts. Without it that is the experiment's own value, or the nearest one inside the
  range. Where there is no nearest (None, or not among the choices): the middle of the range, or the first choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from optuna.trial import BaseTrial

from raykd.config import Experiment
from raykd.errors import RaykdError, unknown_name
from raykd.search.parameter import Parameter, Value, shown
from raykd.search.space_file import EntryReader
from raykd.settings_io import read_yaml, setting_value
from raykd.shipped import shipped


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
    """

    def __init__(self, source: str, parameters: tuple[Parameter, ...], base: Experiment) -> None:
        self.source = source
        self.parameters = parameters
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

    def describe(self) -> list[Row]:
        """One row for each searched setting: its name, its range in words, and its default."""
        return [Row(p.name, p.range, shown(p.default)) for p in self.parameters]

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


def load_space(name_or_path: str, base: Experiment) -> SearchSpace:
    """Read and check a search space.

    Args:
        name_or_path: The name of a file in search_spaces/ of the current folder or of raykd, or a path to a YAML file.
        base: The experiment that is tuned; it gives missing defaults, and every value is checked against it.
    """
    path = _find(name_or_path)
    entries = read_yaml(path)
    if not entries:
        raise RaykdError(f"{path} names no setting to search, such as 'bias.strength: {{low: 0.0, high: 1.0}}'")
    parameters: dict[str, Parameter] = {}
    for name, content in entries.items():
        parameters[name] = EntryReader(name, str(path), base).parameter(content, parameters, set(entries))
    return SearchSpace(str(path), tuple(parameters.values()), base)


def space_names() -> list[str]:
    """The search spaces that can be loaded by name."""
    return list(shipped("spaces"))


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path).expanduser()
    is_path = len(path.parts) > 1
    if path.is_file() and (is_path or path.suffix):
        return path
    if is_path:
        raise RaykdError(f"no search space at {name_or_path} (study.space)")
    spaces = shipped("spaces")
    if name_or_path not in spaces:
        raise unknown_name("search space", name_or_path, spaces, "study.space")
    return spaces[name_or_path]
