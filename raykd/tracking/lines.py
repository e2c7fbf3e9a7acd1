"""Events as lines of a file: JSON with a checksum."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

_CHECKED = re.compile(rb'(.+), "crc32": (\d+)}\s*', re.DOTALL)


def line_of(event: Mapping[str, Any]) -> bytes:
    """An event as a line; its last value is the CRC-32 of the line without it.

    Raises:
        TypeError, ValueError: If the event is not made of JSON's types.
    """
    text = json.dumps(event).encode()
    return text[:-1] + b', "crc32": %d}\n' % zlib.crc32(text)


def event_of(line: bytes) -> dict[str, Any] | None:
    """The event of a line, or None if the line is damaged; lines of earlier releases have no checksum."""
    checked = _CHECKED.fullmatch(line)
    if checked is not None:
        line = checked[1] + b"}"
        if zlib.crc32(line) != int(checked[2]):
            return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
