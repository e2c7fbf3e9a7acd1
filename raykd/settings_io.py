"""Reads and overrides settings by their dotted names, and explains in plain words what is wrong with them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from raykd.config import Experiment
from raykd.errors import RaykdError, shortened, unknown_name
from raykd.settings import Settings
from raykd.storage import local_path
from raykd.yaml_text import read_text

RETIRED = {
    "tracking.registered_name": None,
    "tracking.registered_alias": "champion",
}
"""Settings of earlier releases with their defaults: files that were written then hold them."""
RETIRED_ADVICE = "a study registers nothing any more: use `raykd register STUDY --name NAME --alias ALIAS` after it"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds an empty one.

    Raises:
        RaykdError: the file cannot be read, is not valid YAML, or holds something else.
    """
    try:
        text = local_path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RaykdError(f"cannot read {path}: it is no text in UTF-8") from None
    except OSError as error:
        raise RaykdError(f"cannot read {path}: {error.strerror or error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, path: str) -> dict[str, Any]:
    """The mapping that YAML text holds; `path` is its source, for errors."""
    try:
        content = read_text(text)
    except ValueError as error:
        raise RaykdError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RaykdError(f"{path} must hold names with their values, such as 'study.trials: 32'")
    return content


def load_experiment(path: str | Path, base: Experiment) -> Experiment:
    """The settings of a YAML file laid over `base`.

    Names may be nested, dotted or both. A dictionary such as ``student.arguments`` replaces the one in `base`, since
    arguments belong to one model; ``student.arguments.width`` sets a single one.

    Args:
        path: The YAML file.
        base: Gives every setting that the file does not name.

    Raises:
        RaykdError: the file cannot be read, or a setting in it is unknown, wrong or given twice.
    """
    values = _dotted(read_yaml(path), str(path))
    return override(without_leftovers(base, values), values, str(path))


def experiment_from_yaml(text: str, base: Experiment, where: str) -> Experiment:
    """The settings of YAML text laid over `base`, as `load_experiment` does; `where` is its source, for errors."""
    return override(base, _dotted(parse_yaml(text, where), where), where)


NAMED = ("data", "student", "teacher.model")
"""Sections that a name stands for: a data set, or a network."""


def without_leftovers(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The experiment without what it says of data or networks that are replaced by others.

    Another data set is another one: the number of training images, for instance, was chosen for the former. So are the
    arguments and weights of another network. Where data is kept on this machine stays.

    Args:
        experiment: Stays as it is.
        values: What will be laid over it, by dotted name.
    """
    dropped: dict[str, Any] = {}
    for section in NAMED:
        name = f"{section}.name"
        if name in values and values[name] != setting_value(experiment, name):
            settings = [each for each in setting_names() if each.startswith(f"{section}.")]
            dropped |= {each: _settings()[each].get_default(call_default_factory=True) for each in settings}
    dropped.pop("data.cache", None)
    return override(experiment, dropped) if dropped else experiment


def override(experiment: Experiment, values: Mapping[str, Any], where: str = "") -> Experiment:
    """A copy of the experiment with some settings changed, checked as a whole.

    Args:
        experiment: Stays as it is.
        values: Settings by dotted name; ``student.arguments.width`` reaches into a dictionary.
        where: Where the values come from, for errors.
    """
    settings = experiment.model_dump()
    for name, value in values.items():
        resolve_setting(name, where)
        *sections, last = name.split(".")
        node = settings
        for section in sections:
            node = node[section]
        # Where `student.arguments` was just set to something else than a dictionary, validation refuses it below.
        if isinstance(node, dict):
            node[last] = copy.deepcopy(value)
    try:
        return type(experiment).model_validate(settings)
    except ValidationError as error:
        raise friendly(error, where) from None


def setting_value(experiment: Experiment, name: str) -> Any:
    """The value of a setting by its dotted name; None for an absent key of a dictionary."""
    resolve_setting(name)
    value: Any = experiment
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    return value


def settings_in_use(experiment: Experiment, sections: tuple[str, ...]) -> dict[str, Any]:
    """The settings whose names begin with one of the sections, except those of methods that are not used."""
    idle = tuple(f"method.{name}." for name in experiment.method.idle)
    names = [name for name in setting_names() if name.startswith(sections) and not name.startswith(idle)]
    return {name: setting_value(experiment, name) for name in names}


def setting_names() -> list[str]:
    """The dotted names of all settings, in the order of `raykd.config`."""
    return list(_settings())


def resolve_setting(name: str, where: str = "") -> FieldInfo:
    """pydantic's description of a setting: its type, bounds, default and help.

    Args:
        name: Dotted name of a setting, or of a key of a dictionary (``student.arguments.width``).
        where: Where the name was found, for errors.
    """
    if name in _settings():
        return _settings()[name]
    location = f" in {where}" if where else ""
    if name in _sections():
        members = [known for known in setting_names() if known.startswith(f"{name}.")]
        examples = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")
        raise RaykdError(f"{name!r}{location} is a section, not a setting: name one of {examples}")
    owner, _, key = name.rpartition(".")
    info = _settings().get(owner)
    if info is not None and get_origin(info.annotation) is dict and key.isidentifier():
        return FieldInfo.from_annotation(get_args(info.annotation)[1])
    raise _unknown_setting(name, where)


def friendly(error: ValidationError, where: str = "", section: str = "") -> RaykdError:
    """pydantic's findings in the words of raykd, a line each.

    Args:
        error: What pydantic raised.
        where: The file or setting that holds the values.
        section: Dotted name of the settings that pydantic validated; empty for the whole experiment.
    """
    prefix = tuple(section.split(".")) if section else ()
    suffix = f" in {where}" if where else ""
    messages: dict[str, list[str]] = {}
    inputs: dict[str, Any] = {}
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        location = (*prefix, *problem["loc"])
        name = _name(location) if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(str(_unknown_setting(".".join(map(str, location)), where)))
        elif not name or name in _sections():
            # What is said of several settings together names them itself.
            lines.append(f"{message}{f' ({where})' if where else ''}")
        elif problem["type"] == "value_error":
            lines.append(f"{name}: {message}{suffix}")
        else:
            messages.setdefault(name, []).append(message)
            inputs[name] = problem["input"]
    for name, findings in messages.items():
        # A setting of several types has one finding for each of them.
        findings = [_in_plain_words(finding) for finding in findings]
        text = ", or ".join([findings[0], *(other.removeprefix("Input should be ") for other in findings[1:])])
        lines.append(f"{name}: {text} (got {shortened(repr(inputs[name]), 60)}){suffix}")
    more = f"; and {len(lines) - 2} more" if len(lines) > 2 else ""
    return RaykdError("\n".join(lines[:2]) + more)


def _in_plain_words(finding: str) -> str:
    """What pydantic says of a value, without the names of Python's types."""
    for theirs, ours in {
        "a valid tuple": "a list",
        "a valid dictionary": "names with values",
        "a valid string": "text",
        "Input is not a valid path for <class 'pathlib.Path'>": "Input should be a path",
    }.items():
        finding = finding.replace(theirs, ours)
    return finding


def _dotted(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings by dotted name; retired ones are passed over where they hold their old default."""
    values: dict[str, Any] = {}
    for name, value in _flattened(content, "", where):
        if name in values:
            raise RaykdError(f"{name} is given twice in {where}")
        if name not in RETIRED:
            values[name] = value
        elif value != RETIRED[name]:
            raise _retired(name, where)
    return values


def _retired(name: str, where: str) -> RaykdError:
    return RaykdError(f"{name}{f' in {where}' if where else ''}: {RETIRED_ADVICE}")


def _flattened(node: Mapping[str, Any], prefix: str, where: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name not in _sections():
            if name not in RETIRED:
                resolve_setting(name, where)
            yield name, value
        elif isinstance(value, dict):
            yield from _flattened(value, f"{name}.", where)
        elif value is not None:
            resolve_setting(name, where)


def _name(location: tuple[int | str, ...]) -> str:
    """The setting that pydantic's location lies in; pydantic appends the types that it has tried."""
    for length in range(len(location), 0, -1):
        name = ".".join(map(str, location[:length]))
        if name in _settings() and length < len(location):
            inner = location[length]
            if isinstance(inner, int):
                return f"{name}[{inner}]"
            return f"{name}.{inner}" if get_origin(_settings()[name].annotation) is dict else name
        if name in _settings() or name in _sections():
            return name
    return ".".join(map(str, location[:1]))


def _unknown_setting(name: str, where: str) -> RaykdError:
    if name in RETIRED:
        return _retired(name, where)
    section = name.rpartition(".")[0]
    siblings = [known for known in setting_names() if known.rpartition(".")[0] == section]
    if not siblings and not get_close_matches(name, setting_names(), n=1, cutoff=0.5):
        siblings = [known for known in _sections() if "." not in known]
    return unknown_name("setting", name, siblings or setting_names(), where)


@cache
def _settings() -> dict[str, FieldInfo]:
    return {name: info for name, info in _walk(Experiment, "") if not _is_section(info)}


@cache
def _sections() -> tuple[str, ...]:
    return tuple(name for name, info in _walk(Experiment, "") if _is_section(info))


def _walk(model: type[Settings], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}", info
        if _is_section(info):
            yield from _walk(info.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, Settings)
