"""What is wrong with settings, in plain words: one text for Python, files and the command line.

What pydantic finds becomes a `SettingsError`, which is a `RaykdError`, and a ValueError as pydantic's own is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from raykd.errors import RaykdError, nearest, shortened, unknown_name

RETIRED = {
    "tracking.registered_name": None,
    "tracking.registered_alias": "champion",
}
"""Settings of earlier releases with their defaults: files that were written then hold them."""
RETIRED_ADVICE = "a study registers nothing any more: use `raykd register STUDY --name NAME --alias ALIAS` after it"


class SettingsError(RaykdError, ValueError):
    """Settings that are unknown or wrong.

    Args:
        message: Says so in a line or two.
        problems: What pydantic has found, to be told again in other words. It stays behind where the error is sent to
            another process, as it may hold anything.
    """

    def __init__(self, message: str, problems: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self._problems = problems

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel], where: str | None = None) -> SettingsError:
        """What pydantic has found in settings of a class.

        Args:
            error: Raised by pydantic.
            model: The class.
            where: The file or setting that holds the values. None: they were given in Python, and the class is named.
        """
        problems = error.errors(include_url=False)
        return cls(explained(problems, model, model.__name__ if where is None else where), problems)

    def told(self, model: type[BaseModel], where: str = "", section: str = "") -> RaykdError:
        """The same error, told to somebody who gave the settings in another way; see `explained`."""
        if not self._problems:
            return self
        return SettingsError(explained(self._problems, model, where, section), self._problems)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),), {"exit_code": self.exit_code}


def explained(problems: Sequence[Mapping[str, Any]], model: type[BaseModel], where: str = "", section: str = "") -> str:
    """pydantic's findings in the words of raykd, in two lines at the most.

    Args:
        problems: What pydantic has found.
        model: The class of the settings by whose names they are told.
        where: The file, setting or class that holds the values.
        section: Dotted name of the section of `model` that pydantic validated; empty for the whole.
    """
    prefix = tuple(section.split(".")) if section else ()
    suffix = f" in {where}" if where else ""
    findings: dict[str, list[str]] = {}
    inputs: dict[str, Any] = {}
    choices: dict[str, list[str]] = {}
    lines: list[str] = []
    for problem in problems:
        location = (*prefix, *problem["loc"])
        name = _name(location, model) if location else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(str(unknown_setting(".".join(map(str, location)), model, where)))
        elif problem["type"] == "frozen_instance":
            lines.append(
                f"{name}{suffix} cannot be changed, as settings are fixed once they are made: "
                f"make others, such as settings.model_copy(update={{{name!r}: ...}})"
            )
        elif problem["type"] == "value_error" and (not problem["loc"] or name in sections(model)):
            # What is said of several settings together names them itself.
            lines.append(f"{message}{f' ({where})' if where else ''}")
        elif problem["type"] == "value_error":
            # A question stands last.
            lines.append(f"{name}{suffix}: {message}" if message.endswith("?") else f"{name}: {message}{suffix}")
        else:
            findings.setdefault(name, []).append(message)
            inputs[name] = problem["input"]
            if problem["type"] == "literal_error":
                choices.setdefault(name, []).extend(_choices(problem))
    for name, messages in findings.items():
        # A setting of several types has one finding for each of them.
        messages = [_in_plain_words(message) for message in messages]
        text = ", or ".join([messages[0], *(other.removeprefix("Input should be ") for other in messages[1:])])
        near = nearest(str(inputs[name]), choices.get(name, ()))
        hint = f": did you mean {near!r}?" if near else ""
        title = f"{name}: " if name else ""
        lines.append(f"{title}{text} (got {shortened(repr(inputs[name]), 60)}){suffix}{hint}")
    more = f"; and {len(lines) - 2} more" if len(lines) > 2 else ""
    return "\n".join(lines[:2]) + more


def unknown_setting(name: str, model: type[BaseModel], where: str = "") -> RaykdError:
    """An error for a misspelt setting that offers the nearest valid one.

    Args:
        name: Dotted name as given.
        model: The class of the settings that should have it.
        where: The file, setting or class that holds the name.
    """
    if name in RETIRED:
        return retired(name, where)
    section = name.rpartition(".")[0]
    siblings = [known for known in (*leaves(model), *sections(model)) if known.rpartition(".")[0] == section]
    if siblings and section:
        return unknown_name("setting", name, siblings, where)
    # What is in a section may have been given without it.
    near = nearest(name, [*siblings, *leaves(model)])
    tops = [known for known in (*leaves(model), *sections(model)) if "." not in known]
    return unknown_name("setting", name, [near] if near else tops, where)


def retired(name: str, where: str) -> RaykdError:
    """An error for a setting that there was in earlier releases."""
    return RaykdError(f"{name}{f' in {where}' if where else ''}: {RETIRED_ADVICE}")


@cache
def leaves(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """pydantic's descriptions of all settings of a class by dotted name, in the order of their declaration."""
    return {name: info for name, info in _walk(model, "") if not _is_section(info)}


@cache
def sections(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """pydantic's descriptions of all sections of a class by dotted name."""
    return {name: info for name, info in _walk(model, "") if _is_section(info)}


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}", info
        if _is_section(info):
            yield from _walk(info.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def _name(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """The setting that pydantic's location lies in; pydantic appends the types that it has tried."""
    settings = leaves(model)
    for length in range(len(location), 0, -1):
        name = ".".join(map(str, location[:length]))
        if name in settings and length < len(location):
            inner = location[length]
            if isinstance(inner, int):
                return f"{name}[{inner}]"
            return f"{name}.{inner}" if get_origin(settings[name].annotation) is dict else name
        if name in settings or name in sections(model):
            return name
    return ".".join(map(str, location[:1]))


def _choices(problem: Mapping[str, Any]) -> list[str]:
    """The values that pydantic says there are, of which it lists the last one apart."""
    return [word.strip("'") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(", ")]


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
