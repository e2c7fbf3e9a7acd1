"""Small records kept as JSON, written in one move; one that is damaged is said to be, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from raykd.storage import DamagedError, replacing

T = TypeVar("T")


def write_json(file: Path, content: Any) -> None:
    """Replace a file by this content."""
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(file: Path, made_of: Callable[[Any], T], advice: str) -> T | None:
    """What a file holds; None if there is no such file.

    Args:
        file: The file.
        made_of: Makes of the file's content what is returned. KeyError, TypeError and the like mean damage.
        advice: What to do if the file is damaged.

    Raises:
        DamagedError: It is not what was written.
    """
    try:
        return made_of(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedError(f"{file} is damaged: it is not what was written\n{advice}") from error
