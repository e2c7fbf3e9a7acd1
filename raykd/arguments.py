"""Keyword arguments as a setting: a dictionary of plain values, written NAME=VALUE on the command line."""

from __future__ import annotations

from typing import Annotated

import tyro

from raykd.yaml_text import read_text

Value = bool | int | float | str


def _parsed(words: list[str]) -> dict[str, Value]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise ValueError(f"expected NAME=VALUE, such as width=0.5, not {name!r}")
    arguments: dict[str, Value] = {}
    for name, _, value in pairs:
        if name in arguments:
            raise ValueError(f"{name} is given twice")
        try:
            arguments[name] = read_text(value)
        except ValueError as error:
            raise ValueError(f"{name}={value} cannot be read: {error}") from error
    return arguments


KeywordArguments = Annotated[
    dict[str, Value],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=VALUE [NAME=VALUE ...]]",
        instance_from_str=_parsed,
        is_instance=lambda instance: isinstance(instance, dict),
        str_from_instance=lambda instance: [f"{name}={value}" for name, value in instance.items()],
    ),
]
"""None given leaves the default; the flag alone means no arguments."""
