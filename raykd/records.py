"""Small records kept as JSON: written whole or not at all; of a damaged one it is said what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from raykd.errors import DamagedError
from raykd.storage import read, write

T = TypeVar("T")


def write_json(file: Path, content: object) -> None:
    """Write a record, in one move.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    write(file.parent, file.name, (json.dumps(content, indent=1) + "\n").encode())


def read_json(file: Path, made_of: Callable[[Any], T], advice: str) -> T | None:
    """What a record holds; None if there is no such file.

    Args:
        file: What `write_json` wrote.
        made_of: Makes of the record's content what is returned. KeyError, TypeError and the like mean damage.
        advice: What to do if it is damaged, for the error.

    Raises:
        DamagedError: it is not what was written.
        StorageError: the disk refuses.
    """
    content = read(file.parent, file.name)
    if content is None:
        return None
    try:
        return made_of(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedError(f"{file} is damaged: it is not what was written\n{advice}") from error
