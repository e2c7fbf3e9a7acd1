"""How much of an outbox is delivered, in a small file beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from raykd.storage import replacing


@dataclass
class Delivered:
    """All numbers are bytes of the outbox.

    - cursor: all events before it are delivered
    - ahead: of these runs, all events before these bytes as well
    - later: but for these events, which are kept for later
    """

    cursor: int = 0
    ahead: dict[str, int] = field(default_factory=dict)
    later: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path, size: int) -> Self:
        """What a file has of it; nothing is delivered where the file cannot be believed: all is sent again then.

        Args:
            file: Of `write`, or of an earlier release; it may be missing.
            size: Of the outbox.
        """
        try:
            content = json.loads(file.read_text())
            # Earlier releases wrote the cursor alone.
            stored = cls(content) if isinstance(content, int) else cls(**content)
            places = (stored.cursor, *stored.ahead.values(), *stored.later)
            believed = all(0 <= place <= size for place in places)
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return cls()
        return stored if believed else cls()

    def write(self, file: Path) -> None:
        """Store it in one move, which is not forced onto the disk.

        Raises:
            OSError: It cannot be stored.
        """
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(vars(self)))

    def has(self, run: str, place: int) -> bool:
        """Whether the event of a run at this place is delivered, or kept for later."""
        return place < max(self.cursor, self.ahead.get(run, 0))

    def advance(self, cursor: int) -> None:
        """All events before this byte are delivered."""
        self.cursor = cursor
        self.ahead = {run: end for run, end in self.ahead.items() if end > cursor}
