"""How many more bytes a teacher's bank may take, without a list of its files for each part that is written."""

from __future__ import annotations

import time

from raykd.storage import files_below

SHARE = 1 / 8
"""Of the bytes that were free when the files were listed, so many may be written before they are listed again."""
FRESH_SECONDS = 30.0
"""How long a list counts: other processes may write or clear the same bank."""


class Room:
    """The room that is left in one bank.

    Processes that write at once see each other's parts in their lists alone. Each may so exceed the budget by what the
    others have written since its last list: by an eighth of what was free then, at the most, and within
    `FRESH_SECONDS`.

    Args:
        bank: The bank's folder, a path or URL.
    """

    def __init__(self, bank: str) -> None:
        self._bank = bank
        self._left = 0.0
        self._listed = 0.0

    def take(self, size: int, name: str, budget: float) -> bool:
        """Whether a file fits; if so, its bytes count as written.

        Args:
            size: Bytes of the file.
            name: Its name below the bank's folder; a file of this name is replaced.
            budget: Bytes that the whole bank may take.

        Raises:
            OSError: the bank cannot be listed.
            StorageError: the store does not answer, or refuses.
        """
        now = time.monotonic()
        if size > self._left or now - self._listed > FRESH_SECONDS:
            files = files_below(self._bank)
            free = budget - sum(others for other, others in files.items() if other != name)
            if size > free:
                return False
            self._left, self._listed = max(SHARE * free, size), now
        self._left -= size
        return True
