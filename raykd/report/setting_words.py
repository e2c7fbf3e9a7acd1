"""Settings in words: their values, their choices, and when they have an effect, from types and docstrings."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo


def as_text(value: object) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, tuple):
        return " ".join(map(as_text, value)) or "nothing"
    if isinstance(value, dict):
        return " ".join(f"{name}={as_text(each)}" for name, each in value.items()) or "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def help_of(field: FieldInfo) -> str:
    """A setting's docstring on one line, without the marks of code."""
    return " ".join((field.description or "").split()).replace("`", "")


def range_of(field: FieldInfo) -> str:
    """The values that a setting may have."""
    return _range(field.annotation, field.metadata)


def choices_of(annotation: Any) -> tuple[str, ...]:
    """The values of a setting that is one of a few words, or a list or maybe none of them; empty for all others."""
    if get_origin(annotation) is Literal:
        return tuple(each for each in get_args(annotation) if isinstance(each, str))
    return next((found for part in get_args(annotation) if (found := choices_of(part))), ())


def choice_texts(field: FieldInfo) -> dict[str, str]:
    """What a setting's docstring says of each of its choices, written as `choice: text; choice: text`."""
    text, choices = help_of(field), choices_of(field.annotation)
    starts = sorted(
        (found.start(1), found.end(), choice)
        for choice in choices
        if (found := re.search(rf"(?:^|[;.:] )({re.escape(choice)}(?: \([^)]*\))?): ", text))
    )
    ends = [start for start, _, _ in starts[1:]] + [len(text)]
    said = {choice: text[begin:end].strip(" ;.") for (_, begin, choice), end in zip(starts, ends, strict=False)}
    return {choice: said.get(choice, "") for choice in choices}


def needed_choices(field: FieldInfo, choices: Sequence[str]) -> list[str]:
    """The choices of another setting under which this one has an effect: its docstring begins `choice, choice: `."""
    begin = re.match(r"([\w, ]+): ", help_of(field))
    named = begin[1].split(", ") if begin else []
    return named if named and set(named) <= set(choices) else []


def _range(annotation: Any, metadata: Sequence[Any]) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _range(parts[0], (*metadata, *_bounds_in(annotation.__metadata__)))
    if origin is Literal:
        return ", ".join(map(as_text, parts))
    if origin in (Union, types.UnionType):
        kinds = [_range(part, ()) for part in parts if part is not type(None)]
        kinds = list(dict.fromkeys(filter(None, kinds))) or ["a number"]
        return ", or ".join(kinds + (["None"] if type(None) in parts else []))
    if origin is tuple:
        inner = _range(parts[0], ())
        return f"a list: {inner}" if inner else "a list of numbers"
    if origin is dict:
        return "NAME=VALUE ..."
    kind = {int: "whole", bool: "yes or no", str: "text", Path: "path"}.get(annotation, "")
    return " ".join(filter(None, (kind, _limits(metadata))))


def _bounds_in(metadata: Sequence[Any]) -> Iterator[Any]:
    for each in metadata:
        # pydantic keeps bounds that are given together in one description of a field.
        yield from each.metadata if isinstance(each, FieldInfo) else (each,)


def _limits(metadata: Sequence[Any]) -> str:
    bounds: dict[str, Any] = {}
    for bound in metadata:
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
        return f"{as_text(bounds['>='])} to {as_text(bounds['<='])}"
    return ", ".join(f"{sign} {as_text(limit)}" for sign, limit in bounds.items())
