"""A student's folder: what lies in it and under which names. Readable without torch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from raykd.errors import RaykdError
from raykd.storage import below, delete, read, write

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
"""State after the last finished epoch, from which training goes on."""
PREVIOUS = "checkpoint.previous.pt"
"""State after the epoch before, in case that the last one is damaged; kept until the model is finished."""
WEIGHTS = "model.safetensors"
"""Weights of the finished model."""
MODULE = "module.pt"
"""The whole network instead of its weights, of a teacher whose network only its source knows how to build."""
MEMBERS = "members"
"""Key of a description: names of the folders, beside its own, of the teachers that teach as one, fold by fold."""
SIZE = "input_size"
"""Key of a description: height and width that a teacher's images are resized to, if they come in another size."""
VIEW = "view"
"""Key of a description: the size, cropping and interpolation in which a given teacher sees the images, if not those of
the study that it was fetched for."""
DESCRIPTION = "model.json"
"""Settings, data and last report of the finished model. Written last: where it is, the model is complete."""
CHECKSUM = "checksum"
"""Key of a description in its file: a digest of all else in it."""
NECESSARY = frozenset({"lesson", "data", "metrics", "epochs"})
"""Keys that every description has."""
FAILURE = "failure.txt"
"""Traceback of what went wrong."""


def description(folder: str | Path) -> dict[str, Any] | None:
    """The description of the finished model in a folder, or None if there is none yet, or it is damaged."""
    file = read(folder, DESCRIPTION)
    if file is None:
        return None
    try:
        content = json.loads(file)
        checksum = content.pop(CHECKSUM, None)
        # Those of earlier releases have no checksum.
        if content.keys() >= NECESSARY if checksum is None else checksum == _checksum(content):
            return cast(dict[str, Any], content)
    except (ValueError, AttributeError, TypeError) as error:
        logger.debug("%s", error)
    # The checkpoint has all that the description is made of.
    logger.warning("%s is damaged: as if the model were not finished", below(folder, DESCRIPTION))
    return None


def write_description(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Write the description, which declares the model in a folder finished."""
    # As it will be read: the checksum must not depend on what JSON does to keys and tuples.
    written: dict[str, Any] = json.loads(json.dumps(content))
    written[CHECKSUM] = _checksum(written)
    write(folder, DESCRIPTION, (json.dumps(written, indent=2) + "\n").encode())


def _checksum(content: Mapping[str, Any]) -> str:
    """sha256 (hex) of a description, however it is laid out in its file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def disown(folder: str | Path) -> None:
    """Declare the model in a folder unfinished: its student makes it again, from its checkpoint if that is whole."""
    delete(folder, DESCRIPTION)


def forget_previous(folder: str | Path) -> None:
    """Delete the checkpoint of the epoch before the last one, if there is one."""
    with suppress(OSError):  # it costs room, and nothing else
        delete(folder, PREVIOUS)


def model_files(folder: str | Path) -> dict[str, bytes]:
    """The files of a finished model, by name.

    Raises:
        RaykdError: there is no finished model.
    """
    files = {}
    for name in (WEIGHTS, DESCRIPTION):
        content = read(folder, name)
        if content is None:
            raise RaykdError(f"no finished model in {folder}: {name} is missing")
        files[name] = content
    return files


def keep_model(folder: str | Path, target: Path) -> None:
    """Copy a finished model out of its student's folder; what the target held is replaced.

    Raises:
        RaykdError: there is no finished model.
        StorageError: the disk is full, or refuses.
    """
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for name, content in model_files(folder).items():
        write(temporary, name, content)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
