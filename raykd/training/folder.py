"""A student's folder: what lies in it and under which names. Readable without torch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

CHECKPOINT = "checkpoint.pt"
"""State after the last finished epoch, from which training goes on."""
WEIGHTS = "model.safetensors"
"""Weights of the finished model."""
MODULE = "module.pt"
"""The whole network instead of its weights, of a teacher whose network only its source knows how to build."""
DESCRIPTION = "model.json"
"""Settings, data and last report of the finished model. Written last: where it is, the model is whole."""
FAILURE = "failure.txt"
"""Traceback of what went wrong."""


def description(folder: str | Path) -> dict[str, Any] | None:
    """What is known of the finished model in a folder, or None if there is none yet."""
    path = Path(folder) / DESCRIPTION
    return cast(dict[str, Any], json.loads(path.read_text())) if path.exists() else None


def copy_model(source: Path, target: Path) -> None:
    """Copy a finished model, without the checkpoint that it was taught from.

    Args:
        source: Holds it.
        target: Is made.
    """
    target.mkdir(parents=True)
    for file in source.glob("model.*"):
        shutil.copy2(file, target)


def write_description(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Declare the model in a folder finished."""
    with replacing(Path(folder) / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file under; it takes the path's place in one move once it is whole.

    The name is nobody else's: two studies may teach the same teacher into one cache.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
