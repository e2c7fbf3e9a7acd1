"""A student's folder: what lies in it and under which names. Readable without torch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from raykd.errors import RaykdError
from raykd.storage import read, write

CHECKPOINT = "checkpoint.pt"
"""State after the last finished epoch, from which training goes on."""
WEIGHTS = "model.safetensors"
"""Weights of the finished model."""
MODULE = "module.pt"
"""The whole network instead of its weights, of a teacher whose network only its source knows how to build."""
DESCRIPTION = "model.json"
"""Settings, data and last report of the finished model. Written last: where it is, the model is complete."""
FAILURE = "failure.txt"
"""Traceback of what went wrong."""


def description(folder: str | Path) -> dict[str, Any] | None:
    """The description of the finished model in a folder, or None if there is none yet."""
    content = read(folder, DESCRIPTION)
    return None if content is None else cast(dict[str, Any], json.loads(content))


def write_description(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Write the description, which declares the model in a folder finished."""
    write(folder, DESCRIPTION, (json.dumps(content, indent=2) + "\n").encode())


def keep_model(folder: str | Path, target: Path) -> None:
    """Copy a finished model out of its student's folder; what the target held is replaced.

    Raises:
        RaykdError: there is no finished model.
    """
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name in (WEIGHTS, DESCRIPTION):
        content = read(folder, name)
        if content is None:
            raise RaykdError(f"no finished model in {folder}: {name} is missing")
        (temporary / name).write_bytes(content)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
