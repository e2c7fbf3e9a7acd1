"""Records in folders, as JSON: written whole or not at all, and damage is found when they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raykd.storage import DamagedError, read, write


def write_json(file: Path, content: object) -> None:
    """Write a record, in one move.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    write(file.parent, file.name, (json.dumps(content, indent=1) + "\n").encode())


def read_json(file: Path, advice: str) -> Any:
    """The content of a record; None if there is no such file.

    Args:
        file: What `write_json` wrote.
        advice: What to do about a damaged one, for the error.

    Raises:
        DamagedError: the file holds no JSON.
    """
    content = read(file.parent, file.name)
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        raise DamagedError(f"{file} is damaged: it is not what was written\n{advice}") from None
