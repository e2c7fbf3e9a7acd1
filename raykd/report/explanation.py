"""A method explained: its formula, source, settings and published settings, as its class says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from raykd.errors import unknown_name
from raykd.imports import import_object, parameters_of
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import FeatureMethod, Method
from raykd.knowledge.methods.own import OwnFunction, own_method
from raykd.report.combinations import LAYERS, Kind, combinations, kind_of

GIVEN = 3
"""Parameters of a user's own function that raykd gives: student, teacher, labels."""
NEEDED = "needed"
"""Stands where an argument has no default."""


@dataclass(frozen=True)
class Explained:
    """One setting of a method.

    - name: dotted, or the name of an argument in ``method.arguments``
    - default, range: in words; a function of the user's own tells no range
    - help: what it does
    """

    name: str
    default: str
    range: str
    help: str


@dataclass(frozen=True)
class Explanation:
    """All that is to be said of a method.

    - name: what ``--method`` takes
    - kind: what it compares
    - summary, details: first sentence of its docstring, and the rest
    - formula, source: empty where its author gives none
    - settings: those of its own
    - layers: which it listens to by default; empty of a method of answers
    - combinations: sentences
    - published: whether its author says how the other settings should be
    - command: words that run it so, for a shell
    """

    name: str
    kind: Kind
    summary: str
    details: str
    formula: str
    source: str
    settings: tuple[Explained, ...]
    layers: str
    combinations: tuple[str, ...]
    published: bool
    command: tuple[str, ...]


def explain(name: str) -> Explanation:
    """A method by its name or import path, explained.

    Raises:
        RaykdError: There is no such method, or the import path leads nowhere.
    """
    method: Method | OwnFunction
    if ":" in name:
        imported = import_object(name, "method")
        method = OwnFunction(name, imported) if inspect.isroutine(imported) else own_method(name, {}, "method")
    elif name in METHODS:
        method = METHODS[name]()
    else:
        raise unknown_name("method", name, METHODS)
    summary, details = documented(method.function if isinstance(method, OwnFunction) else type(method))
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
        command=("python", "experiments/distill.py", "--method", name, *_flags(published)),
    )


def documented(thing: Any) -> tuple[str, str]:
    """The first paragraph of a docstring and all that follows it, each paragraph in one line, without backticks."""
    # Not `inspect.getdoc`: a class without docstring would show that of its base.
    text = inspect.cleandoc(thing.__doc__ or "")
    first, *rest = (" ".join(paragraph.split()).replace("`", "") for paragraph in text.split("\n\n"))
    return first or "No docstring.", "\n\n".join(rest)


def _settings(method: Method | OwnFunction, prefix: str) -> tuple[Explained, ...]:
    if isinstance(method, OwnFunction):
        arguments = list(parameters_of(method.function).values())[GIVEN:]
        return tuple(Explained(each.name, _default(each), "", "") for each in arguments)
    return tuple(
        Explained(f"{prefix}{name}", _in_words(field.default), _range(field), _help(field))
        for name, field in type(method).model_fields.items()
    )


def _default(parameter: inspect.Parameter) -> str:
    return NEEDED if parameter.default is parameter.empty else _in_words(parameter.default)


def _range(field: FieldInfo) -> str:
    """Which values a setting takes."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(_in_words, get_args(field.annotation)))
    bounds: dict[str, Any] = {}
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge():
                bounds[">="] = bound.ge
            case annotated_types.Gt():
                bounds[">"] = bound.gt
            case annotated_types.Le():
                bounds["<="] = bound.le
            case annotated_types.Lt():
                bounds["<"] = bound.lt
    if bounds.keys() == {">=", "<="}:
        limits = f"{_in_words(bounds['>='])} to {_in_words(bounds['<='])}"
    else:
        limits = ", ".join(f"{sign} {_in_words(limit)}" for sign, limit in bounds.items())
    kinds: dict[Any, str] = {int: "whole", bool: "yes or no", str: "text"}
    kind = kinds.get(field.annotation, "")
    return " ".join(filter(None, (kind, limits)))


def _help(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("`", "")


def _flags(published: Mapping[str, Any]) -> list[str]:
    return [word for name, value in published.items() for word in (f"--{name}", _in_words(value))]


def _in_words(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
