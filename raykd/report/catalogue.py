"""What there is to choose from: methods, models, data sets, search spaces, recipes, ideas and settings, a line each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial

from raykd.errors import unknown_name
from raykd.report.ideas import CHOICES, PARTS, SAMPLERS
from raykd.shipped import purpose, shipped

GAP = 2
"""Columns between a name and its description."""
NARROWEST = 20
"""Least columns of a description, however long the names are."""


def catalogue(kind: str) -> dict[str, str]:
    """All names of a kind, each with a description of one line.

    Args:
        kind: A name in `CATALOGUES`.

    Raises:
        RaykdError: There is no such kind.
    """
    if kind not in CATALOGUES:
        raise unknown_name("kind", kind, CATALOGUES)
    return CATALOGUES[kind]()


def two_columns(descriptions: dict[str, str], width: int | None) -> str:
    """Names and their descriptions in two columns.

    Args:
        descriptions: By name.
        width: Columns of the terminal, to which longer lines are wrapped. None: one line for each name.
    """
    indent = max(map(len, descriptions), default=0) + GAP
    lines = [f"{name:<{indent}}{description}".rstrip() for name, description in descriptions.items()]
    if width is not None:
        columns = max(width, indent + NARROWEST)
        lines = [textwrap.fill(line, columns, subsequent_indent=" " * indent, break_on_hyphens=False) for line in lines]
    return "\n".join(lines)


def _methods() -> dict[str, str]:
    from raykd.knowledge.methods import METHODS
    from raykd.report.explanation import docstring_parts

    own = {"package.module:name": "A function (student, teacher, labels) or a Method class of your own."}
    return {name: docstring_parts(method)[0] for name, method in METHODS.items()} | own


def _models() -> dict[str, str]:
    from raykd.models.build import model_descriptions

    return model_descriptions() | {
        "torchvision/NAME": "Any classifier of torchvision, such as torchvision/resnet18.",
        "timm/NAME": "Any classifier of timm (pip install raykd[timm]).",
        "package.module:function": "Your own: function(num_classes, in_channels, ...) -> torch.nn.Module.",
    }


def _datasets() -> dict[str, str]:
    from raykd.data.load import SOURCES
    from raykd.report.explanation import docstring_parts

    own = {"package.module:function": "Your own: function() -> (uint8 images, labels)."}
    return {name: docstring_parts(reader)[0] for name, reader in SOURCES.items()} | own


def _spaces() -> dict[str, str]:
    return {name: purpose(path) for name, path in shipped("spaces").items()}


def _recipes() -> dict[str, str]:
    return {name: purpose(path) for name, path in shipped("recipes").items()}


def _choices(kind: str) -> dict[str, str]:
    from raykd.report.topics import choice_lines

    return choice_lines(kind)


def _samplers() -> dict[str, str]:
    return {name: part.summary for name, part in SAMPLERS.items()}


def _ideas() -> dict[str, str]:
    return {name: part.summary for name, part in PARTS.items()}


def _settings() -> dict[str, str]:
    from raykd.report.topics import setting_lines

    return setting_lines()


CATALOGUES: dict[str, Callable[[], dict[str, str]]] = {
    "methods": _methods,
    "models": _models,
    "datasets": _datasets,
    "spaces": _spaces,
    "recipes": _recipes,
    **{kind: partial(_choices, kind) for kind in CHOICES},
    "samplers": _samplers,
    "ideas": _ideas,
    "settings": _settings,
}
"""Functions that list each kind. Each imports only what it lists, so most import neither torch nor Ray."""
