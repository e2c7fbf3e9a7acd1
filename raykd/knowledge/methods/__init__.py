"""The methods of distillation by name: every file of this folder that defines one is found by itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from raykd.knowledge.methods.base import Method


def _found() -> Iterator[type[Method]]:
    for module in iter_modules(__path__):
        members = vars(import_module(f"{__name__}.{module.name}")).values()
        for member in members:
            if inspect.isclass(member) and issubclass(member, Method) and "name" in vars(member):
                yield member


METHODS: dict[str, type[Method]] = {method.name: method for method in sorted(_found(), key=lambda found: found.name)}
"""All built-in methods."""
