"""Search spaces are read from YAML, and checked before anything starts.

One entry a setting, by its dotted name::

    temperature.multiplier: {low: 0.5, high: 8.0, log: true, default: 1.0}
    bias.form: {choices: [pair, one_hot, swap]}
    bias.strength: {low: 0.0, high: 1.0, when: {bias.form: [pair, one_hot]}}
    training.batch_size: {low: 32, high: 128, step: 32}

- A value has its setting's own type: a range on an int setting gives ints, and both ends belong to it.
- ``when`` names entries above, or settings that are not searched, which the experiment then decides. The entry is
  sampled if each of them has the value, or one of the values. An entry that was itself left out has none.
- Among ``choices``, ``$own`` stands for the experiment's own value, such as the method that was chosen. Entries
  that wait for a value which it is not are left out.
- ``default`` is where the search starts. Without it that is the experiment's own value, or the nearest one inside the
  range. Where there is no nearest (None, or not among the choices): the middle of the range, or the first choice.

Beside the entries, ``start`` may name further start points, which every study runs first and to the last epoch::

    start:
      strong_repair: {bias.form: pair, bias.strength: 0.9}
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, StrictFloat, StrictInt, ValidationError
from pydantic.fields import FieldInfo

from raykd.config import AugmentSettings, Experiment, PreprocessingSettings
from raykd.config.teacher import lasting_source
from raykd.config.training_spec import WEIGHTS_SUFFIXES
from raykd.errors import RaykdError, unknown_name
from raykd.search.space import (
    Distribution,
    Parameter,
    SearchSpace,
    Value,
    nearest,
    takes,
    value_in_use,
    yaml_text,
)
from raykd.settings_io import friendly, override, read_yaml, resolve_setting, setting_value
from raykd.shipped import shipped
from raykd.storage import local_path

Number: TypeAlias = StrictInt | StrictFloat
D = TypeVar("D", bound=Distribution)

OWN = "$own"
"""Among the choices of an entry: the experiment's own value."""
START = "start"
"""The key of the further start points."""

SAME_FOR_ALL = {
    "study.": "it steers the search itself and is the same for all trials",
    "cluster.": "it says where trials run, which must not change what they give",
    "tracking.": "it says where trials are logged, which must not change what they give",
    "teacher.cache": "it is a folder, shared by all trials",
    **{
        f"teacher.{name}": "it belongs to teacher.source, which is fetched once, before the search"
        for name in (*PreprocessingSettings.model_fields, "expected_accuracy", "fetched")
    },
}
"""Settings that say nothing about a student, so neither trials nor conditions may depend on them; and the reason."""

NOT_COMPARABLE = {
    "data.": "trials on different data, splits or views would not be comparable",
    "training.epochs": "trials of different length would not be comparable, and schedulers count epochs",
}
"""Settings that say what is measured, so no trial may change them, but conditions may name them; and the reason."""

AUGMENTATIONS = frozenset(
    {
        "data.crop_padding",
        "data.horizontal_flip",
        "data.mixup",
        "data.cutmix",
        *(f"data.augment.{name}" for name in AugmentSettings.model_fields),
    }
)
"""The settings of the data that touch training images only, and may be searched."""


def load_space(name_or_path: str, base: Experiment) -> SearchSpace:
    """Read and check a search space.

    Args:
        name_or_path: The name of a file in search_spaces/ of the current folder or of raykd, or a path to a YAML file.
        base: The experiment that is tuned; it gives missing defaults, and every value is checked against it.
    """
    path = _find(name_or_path)
    entries = read_yaml(path)
    start = entries.pop(START, None)
    if not entries:
        raise RaykdError(f"{path} names no setting to search, such as 'bias.strength: {{low: 0.0, high: 1.0}}'")
    parameters: dict[str, Parameter] = {}
    for name, content in entries.items():
        parameter = EntryReader(name, str(path), base).parameter(content, parameters, entries)
        if all(parameter.when.values()):
            parameters[name] = parameter
    return SearchSpace(str(path), tuple(parameters.values()), base, _start_points(start, str(path), base))


def _start_points(content: Any, file: str, base: Experiment) -> dict[str, dict[str, Value]]:
    """The further start points of a file, each checked by laying it over the experiment."""
    points = {} if content is None else content
    if not isinstance(points, dict) or not all(
        isinstance(name, str) and isinstance(values, dict) and values and all(isinstance(each, str) for each in values)
        for name, values in points.items()
    ):
        example = "{strong_repair: {bias.form: pair, bias.strength: 0.9}}"
        raise RaykdError(f"{file}: {START} must name settings for each start point, such as {example}")
    for name, values in points.items():
        for setting in values:
            _check_searchable(setting, file)
        override(base, values, f"{file}, {START}, {name}")
    return {
        name: {setting: lasting_value(setting, value) for setting, value in values.items()}
        for name, values in points.items()
    }


def _check_searchable(name: str, file: str) -> None:
    """Refuse a setting that must be the same for all trials."""
    resolve_setting(name, file)
    for prefix, reason in (SAME_FOR_ALL | NOT_COMPARABLE).items():
        if name.startswith(prefix) and name not in AUGMENTATIONS:
            raise RaykdError(f"{file}: {name} cannot be searched: {reason}")


def lasting_value(name: str, value: Value) -> Value:
    """The same value for processes elsewhere, and for later launches: the path of a given teacher is a whole one."""
    if name != "teacher.source" or not isinstance(value, str):
        return value
    # A file that is not there any more lies in the cache.
    is_path = ":/" not in value and ("/" in value or value.endswith(WEIGHTS_SUFFIXES))
    return str(Path(value).expanduser().absolute()) if is_path else lasting_source(value)


def space_names() -> list[str]:
    """The search spaces that can be loaded by name."""
    return list(shipped("spaces"))


def _find(name_or_path: str) -> Path:
    path = local_path(name_or_path)
    is_path = "/" in name_or_path or path.suffix in (".yaml", ".yml")
    if path.is_file() and (is_path or path.suffix):
        return path
    if is_path:
        raise RaykdError(f"no search space at {name_or_path} (study.space)")
    spaces = shipped("spaces")
    if name_or_path not in spaces:
        raise unknown_name("search space", name_or_path, spaces, "study.space")
    return spaces[name_or_path]


class Entry(BaseModel):
    """One entry of a search space as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: bool = False
    choices: tuple[Value, ...] | None = None
    when: dict[str, Value | tuple[Value, ...]] = {}
    default: Value = None


class EntryReader:
    """Turns one entry of a file into a parameter, or says what is wrong with it."""

    def __init__(self, name: str, file: str, base: Experiment) -> None:
        self.name = name
        self.file = file
        self.base = base

    def parameter(self, content: Any, earlier: Mapping[str, Parameter], entries: Mapping[str, Any]) -> Parameter:
        """The checked parameter. A condition without values waits for a choice that this experiment does not have.

        Args:
            content: Of the entry.
            earlier: The parameters above it.
            entries: All entries of the file.
        """
        _check_searchable(self.name, self.file)
        kinds = self._kinds(self.name, resolve_setting(self.name, self.file))
        entry = self._entry(content)
        distribution = self._choices(entry, kinds) if entry.choices is not None else self._range(entry, kinds)
        when = {name: self._condition(name, wanted, earlier, entries) for name, wanted in entry.when.items()}
        return Parameter(self.name, distribution, self._default(entry, distribution, kinds), when)

    def _refuse(self, text: str) -> RaykdError:
        return RaykdError(f"{self.file}: {self.name}: {text}")

    def _entry(self, content: Any) -> Entry:
        if not isinstance(content, dict):
            raise self._refuse(f"expected {{low: ..., high: ...}} or {{choices: [...]}}, got {content!r}")
        for key in content:
            if key not in Entry.model_fields:
                raise unknown_name("key", str(key), Entry.model_fields, f"{self.file}, {self.name}")
        try:
            entry = Entry.model_validate(content)
        except ValidationError as error:
            raise friendly(error, f"{self.file}, {self.name}") from None
        given = set(content)
        if entry.choices is not None and given & {"low", "high", "step", "log"}:
            raise self._refuse("give either choices or a range (low, high), not both")
        if entry.choices is None and (entry.low is None or entry.high is None):
            missing = "low and high" if not given & {"low", "high"} else "low" if entry.low is None else "high"
            raise self._refuse(f"{missing} missing; an entry has low and high, or choices")
        return entry

    def _choices(self, entry: Entry, kinds: frozenset[type]) -> CategoricalDistribution:
        choices: list[Value] = []
        for choice in entry.choices or ():
            own = choice == OWN
            value = setting_value(self.base, self.name) if own else self._checked(self.name, choice, kinds, "choices")
            if own and value in choices:
                continue
            if value in choices:
                raise self._refuse(f"choice {yaml_text(value)} is given twice")
            choices.append(value)
        return self._built(lambda: CategoricalDistribution(choices))

    def _range(self, entry: Entry, kinds: frozenset[type]) -> FloatDistribution | IntDistribution:
        if not kinds & {int, float}:
            example = "{choices: [true, false]}" if bool in kinds else "{choices: [...]}"
            raise self._refuse(f"its values are no numbers, so a range means nothing; give {example}")
        low, high, step = entry.low, entry.high, entry.step
        assert low is not None  # `_entry` has checked it
        assert high is not None
        numbers = [number for number in (low, high, step) if number is not None]
        whole = all(isinstance(number, int) for number in numbers)
        if float not in kinds and not whole:
            raise self._refuse("it is a whole number, so low, high and step must be whole numbers too")
        # Optuna accepts both of these.
        if not all(map(math.isfinite, numbers)):
            raise self._refuse("low, high and step must be finite")
        if low >= high:
            raise self._refuse(f"low {low} must be below high {high}")
        distribution: FloatDistribution | IntDistribution
        if whole and int in kinds:
            whole_step = 1 if step is None else int(step)
            distribution = self._built(lambda: IntDistribution(int(low), int(high), entry.log, whole_step))
        else:
            distribution = self._built(lambda: FloatDistribution(low, high, entry.log, step))
        if distribution.high != high:
            last = distribution.high
            raise self._refuse(f"steps of {step} from {low} do not meet high {high}; the last before it is {last}")
        self._checked(self.name, low, kinds, "low")
        self._checked(self.name, high, kinds, "high")
        return distribution

    def _built(self, build: Callable[[], D]) -> D:
        """A distribution, or the reason why Optuna refuses it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it would warn of steps that do not meet high, which `_range` refuses
                return build()
        except ValueError as error:
            raise self._refuse(str(error).rstrip(".")) from None

    def _default(self, entry: Entry, distribution: Distribution, kinds: frozenset[type]) -> Value:
        if "default" in entry.model_fields_set:
            value = self._checked(self.name, entry.default, kinds, "default")
            if not takes(distribution, value):
                text = Parameter(self.name, distribution, value).range
                raise self._refuse(f"default {yaml_text(value)} is not in its range: {text}")
            return value
        value = value_in_use(self.base, self.name)
        return value if takes(distribution, value) else nearest(distribution, value)

    def _condition(
        self,
        name: str,
        wanted: Value | tuple[Value, ...],
        earlier: Mapping[str, Parameter],
        entries: Mapping[str, Any],
    ) -> tuple[Value, ...]:
        setting = resolve_setting(name, f"{self.file}, {self.name}")
        for prefix, reason in SAME_FOR_ALL.items():
            if name.startswith(prefix):
                raise self._refuse(f"when cannot name {name}: {reason}")
        kinds = self._kinds(name, setting)
        if name == self.name or name in list(entries)[list(entries).index(self.name) :]:
            raise self._refuse(f"when names {name}, which must stand above it in the file")
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        if not values:
            raise self._refuse(f"when: {name} has no value to wait for")
        checked = tuple(self._checked(name, value, kinds, "when") for value in values)
        if name in entries and OWN in (entries[name].get("choices") or ()):
            return tuple(value for value in checked if name in earlier and takes(earlier[name].distribution, value))
        for value in checked:
            if name in earlier and not takes(earlier[name].distribution, value):
                text = Parameter(name, earlier[name].distribution, value).range
                raise self._refuse(f"when waits for {name} {yaml_text(value)}, which it never takes: {text}")
        return checked

    def _checked(self, name: str, value: Value, kinds: frozenset[type], key: str) -> Value:
        """The value as the setting itself takes it."""
        where = f"{self.file}, {self.name}, {key}"
        # pydantic would read `true` as 1 and `.nan` as a float.
        if (isinstance(value, bool) and bool not in kinds) or (isinstance(value, float) and not math.isfinite(value)):
            raise RaykdError(f"{name} cannot be {yaml_text(value)} in {where}")
        taken: Value = setting_value(override(self.base, {name: value}, where), name)
        return lasting_value(name, taken)

    def _kinds(self, name: str, setting: FieldInfo) -> frozenset[type]:
        kinds = _scalar_types(setting.annotation)
        if not kinds:
            raise self._refuse(f"{name} is not a single value, which is all that a space can handle")
        return kinds


def _scalar_types(annotation: Any) -> frozenset[type]:
    """The plain types that a setting takes; none if it takes anything else as well."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _scalar_types(get_args(annotation)[0])
    if origin is Literal:
        return frozenset(map(type, get_args(annotation)))
    if origin in (Union, UnionType):
        parts = [_scalar_types(part) for part in get_args(annotation)]
        return frozenset().union(*parts) if all(parts) else frozenset()
    return frozenset({annotation}) if annotation in (bool, int, float, str, type(None)) else frozenset()
