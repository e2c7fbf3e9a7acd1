"""The explanation of a method: its formula, source, settings and published settings, read from its class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raykd.errors import unknown_name
from raykd.imports import import_object, parameters_of
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import FeatureMethod, Method
from raykd.knowledge.methods.own import OwnFunction, own_method
from raykd.report.combinations import LAYERS, Kind, combinations, kind_of
from raykd.report.setting_words import as_text, help_of, range_of

PASSED = 3
"""How many arguments raykd passes to a user's own function: student, teacher, labels."""
NEEDED = "needed"
"""Takes the place of a default where an argument has none."""


@dataclass(frozen=True)
class SettingExplanation:
    """The explanation of one setting of a method.

    - name: dotted, or the name of an argument in ``method.arguments``
    - default, range: as text; the range is empty for arguments of a user's own function
    - help: what it does
    """

    name: str
    default: str
    range: str
    help: str


@dataclass(frozen=True)
class Explanation:
    """The explanation of a method.

    - name: the value of ``--method``
    - kind: what it compares
    - summary, details: first paragraph of its docstring, and the rest
    - formula, source: empty if its author gives none
    - settings: its own settings
    - layers: description of its default hint layers; empty unless it is a feature method
    - combinations: sentences on what it combines with
    - published: whether its author gives values for settings of other sections
    - command: words of the shell command that runs it with these values
    """

    name: str
    kind: Kind
    summary: str
    details: str
    formula: str
    source: str
    settings: tuple[SettingExplanation, ...]
    layers: str
    combinations: tuple[str, ...]
    published: bool
    command: tuple[str, ...]


def explain(name: str) -> Explanation:
    """Explain a method.

    Args:
        name: Of a built-in method, or the import path of a user's own.

    Raises:
        RaykdError: There is no such method, or the import path cannot be imported.
    """
    method: Method | OwnFunction
    if ":" in name:
        imported = import_object(name, "method")
        method = OwnFunction(name, imported) if inspect.isroutine(imported) else own_method(name, {}, "method")
    elif name in METHODS:
        method = METHODS[name]()
    else:
        raise unknown_name("method", name, METHODS)
    summary, details = docstring_parts(method.function if isinstance(method, OwnFunction) else type(method))
    built_in = isinstance(method, Method) and ":" not in name
    published = getattr(method, "published", {})
    return Explanation(
        name=name,
        kind=kind_of(method),
        summary=summary,
        details=details,
        formula=getattr(method, "formula", ""),
        source=getattr(method, "source", ""),
        settings=_settings(method, f"method.{name}." if built_in else ""),
        layers=LAYERS[method.where] if isinstance(method, FeatureMethod) else "",
        combinations=tuple(combinations(method)),
        published=bool(published),
        command=("raykd", "distill", "--method", name, *_flags(published)),
    )


def docstring_parts(documented: Any) -> tuple[str, str]:
    """First paragraph of a docstring and its other paragraphs, each paragraph in one line, without backticks."""
    # Not `inspect.getdoc`: a class without docstring would show that of its base.
    text = inspect.cleandoc(documented.__doc__ or "")
    first, *rest = (" ".join(paragraph.split()).replace("`", "") for paragraph in text.split("\n\n"))
    return first or "No docstring.", "\n\n".join(rest)


def _settings(method: Method | OwnFunction, prefix: str) -> tuple[SettingExplanation, ...]:
    if isinstance(method, OwnFunction):
        arguments = list(parameters_of(method.function).values())[PASSED:]
        return tuple(SettingExplanation(argument.name, _default(argument), "", "") for argument in arguments)
    return tuple(
        SettingExplanation(f"{prefix}{name}", as_text(field.default), range_of(field), help_of(field))
        for name, field in type(method).model_fields.items()
    )


def _default(parameter: inspect.Parameter) -> str:
    return NEEDED if parameter.default is parameter.empty else as_text(parameter.default)


def _flags(published: Mapping[str, Any]) -> list[str]:
    return [word for name, value in published.items() for word in (f"--{name}", as_text(value))]
