"""Objects that users hand over by import path, ``package.module:name``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from raykd.errors import RaykdError, shortened, unknown_name


def import_object(path: str, where: str) -> Any:
    """The object that an import path names. The current folder is importable, as in a script that lies there.

    Args:
        path: ``package.module:name``.
        where: What holds the path, such as ``data.name``; errors begin with it.

    Raises:
        RaykdError: The path has another form, the module is missing or fails while it is imported, or it holds no such
            name.
    """
    label = f"{where} {path!r}"
    module_name, _, name = path.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise RaykdError(f"{label}: an import path looks like `package.module:function`")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            advice = f"run from the folder that holds it (now {folder}) or install it"
            raise RaykdError(f"{label}: no module named {missing!r}: {advice}") from error
        raise RaykdError(f"{label}: {module_name} needs the module {missing!r}: install it") from error
    except (Exception, SystemExit) as error:
        # Whatever a user's module raises while it runs has to be mended by the user, so every exception is reported.
        raise RaykdError(f"{label}: importing {module_name} failed: {told(error)}") from error
    if not hasattr(module, name):
        known = [known for known in vars(module) if not known.startswith("_")]
        raise unknown_name("name", name, known, where=f"{module_name} ({label})")
    return getattr(module, name)


def told(error: BaseException) -> str:
    """What a user's code raised, on one line."""
    return f"{type(error).__name__}: {shortened(error)}"


def work_in(folder: str) -> None:
    """Have relative paths mean here what they mean to the driver: in loaders and builders of the user's own.

    Args:
        folder: The driver's present folder. Nothing changes where there is none of this name.
    """
    with suppress(OSError):
        os.chdir(folder)


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters of a function or class by name; a bare ``**keywords`` for the few built-ins without a signature."""
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:
        return {"keywords": inspect.Parameter("keywords", inspect.Parameter.VAR_KEYWORD)}


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function can be given this keyword argument."""
    parameters = parameters_of(function)
    by_name = name in parameters and parameters[name].kind in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return by_name or any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
