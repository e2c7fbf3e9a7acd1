"""The methods of distillation by name: every class of this folder that has a ``name`` is one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pkgutil import iter_modules

from raykd.knowledge.methods.base import Method


def _defined() -> Iterator[type[Method]]:
    for module in iter_modules(__path__):
        members = vars(import_module(f"{__name__}.{module.name}")).values()
        for member in members:
            if inspect.isclass(member) and issubclass(member, Method) and "name" in vars(member):
                yield member


METHODS: dict[str, type[Method]] = {method.name: method for method in sorted(_defined(), key=attrgetter("name"))}
"""All built-in methods."""
