"""What there is to choose from: methods, models, data sets, search spaces and recipes, a line each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from raykd.errors import unknown_name
from raykd.shipped import purpose, shipped

GAP = 2
"""Columns between a name and what is said of it."""
NARROWEST = 20
"""Columns that are left to what is said, however long the names."""


def catalogue(kind: str) -> dict[str, str]:
    """Names of a kind, each with a line about it.

    Raises:
        RaykdError: There is no such kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    return KINDS[kind]()


def aligned(lines: dict[str, str], width: int | None) -> str:
    """Names and what is said of them in two columns.

    Args:
        lines: By name.
        width: Columns of the terminal, in which longer lines are wrapped. None: a line each, however long.
    """
    indent = max(map(len, lines), default=0) + GAP
    shown = [f"{name:<{indent}}{line}".rstrip() for name, line in lines.items()]
    if width is not None:
        rest = " " * indent
        shown = [
            textwrap.fill(line, max(width, indent + NARROWEST), subsequent_indent=rest, break_on_hyphens=False)
            for line in shown
        ]
    return "\n".join(shown)


def _methods() -> dict[str, str]:
    from raykd.knowledge.methods import METHODS
    from raykd.report.explanation import documented

    own = {"package.module:name": "A function (student, teacher, labels) or a Method class of your own."}
    return {name: documented(method)[0] for name, method in METHODS.items()} | own


def _models() -> dict[str, str]:
    from raykd.models.build import model_descriptions

    return model_descriptions() | {
        "torchvision/NAME": "Any classifier of torchvision, such as torchvision/resnet18.",
        "timm/NAME": "Any classifier of timm (pip install raykd[timm]).",
        "package.module:function": "Your own: function(num_classes, in_channels, ...) -> torch.nn.Module.",
    }


def _datasets() -> dict[str, str]:
    from raykd.data.load import SOURCES
    from raykd.report.explanation import documented

    own = {"package.module:function": "Your own: function() -> (uint8 images, labels)."}
    return {name: documented(reader)[0] for name, reader in SOURCES.items()} | own


def _spaces() -> dict[str, str]:
    return {name: purpose(path) for name, path in shipped("spaces").items()}


def _recipes() -> dict[str, str]:
    return {name: purpose(path) for name, path in shipped("recipes").items()}


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "methods": _methods,
    "models": _models,
    "datasets": _datasets,
    "spaces": _spaces,
    "recipes": _recipes,
}
"""What can be listed. Each imports what it lists only when it is asked: most cost neither torch nor Ray."""
