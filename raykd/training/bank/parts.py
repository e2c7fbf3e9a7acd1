"""The bank's files: in a teacher's folder, one folder for each set of views, and in it one part for each view.

A part is a line with the digest of what follows, then safetensors. What cannot be read, or is not what it should be, is
as if it were not there: it can be computed again. Nothing here needs torch before a part is read or written.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from raykd.errors import StorageError
from raykd.storage import below, delete_below, files_below, name_of, read, write
from raykd.training.bank.room import Room

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
logger = logging.getLogger(__name__)

BANK = "bank"
"""Folder of the bank in a teacher's folder."""
ABOUT = "about.json"
"""What the logits in a folder are the answers to."""
PART = ".logits"
"""Ending of a part's name."""
LOGITS, ERROR = "logits", "largest_rounding"
"""Names in a part: the tensor, and what is said of it."""


@dataclass(frozen=True)
class StoredViews:
    """What one teacher's bank holds for one set of views.

    - teacher: the teacher's folder
    - key: name of the folder in its bank
    - about: what decides the answers
    - views: how many are stored
    - size: bytes
    - first: name of the first one's part; None if there is none
    """

    teacher: str
    key: str
    about: Mapping[str, Any]
    views: int
    size: int
    first: str | None

    @property
    def error(self) -> float | None:
        """By how much the largest rounding of the first view's logits changed one of them; None if it is damaged.

        The part is read for it.
        """
        content = self.first and read(below(self.teacher, BANK, self.key), self.first)
        payload = _payload(content or b"")
        return None if payload is None else float(_metadata(payload)[ERROR])


class Parts:
    """The parts of one teacher for one set of views.

    Args:
        teacher: The teacher's folder, a path or URL.
        about: All that decides the teacher's answers, as JSON data: other answers are never found.
    """

    def __init__(self, teacher: str, about: Mapping[str, Any]) -> None:
        self._bank = below(teacher, BANK)
        self._about = json.dumps(about, sort_keys=True)
        self._folder = below(self._bank, self.key)
        self._room = Room(self._bank)
        self._said: set[str] = set()

    @cached_property
    def key(self) -> str:
        """Name of their folder."""
        return hashlib.sha256(self._about.encode()).hexdigest()[:16]

    def read(self, view: int) -> Tensor | None:
        """The logits [N, classes] of a view's images, float32 or float16; None if they are not there or damaged."""
        import safetensors.torch

        content = self._tried("read", lambda: read(self._folder, _name(view)))
        if content is None:
            return None
        payload = _payload(content)
        if payload is None:
            logger.warning("%s is damaged: computed again", below(self._folder, _name(view)))
            return None
        return safetensors.torch.load(payload)[LOGITS]

    def write(self, view: int, logits: Tensor, error: float, budget: float) -> bool:
        """Store the logits [N, classes] of a view's images, and return whether they are stored.

        They are not if the teacher's bank would take more bytes than the budget, or cannot be written.

        Args:
            view: Number of the view.
            logits: Float32 or float16, on the CPU.
            error: By how much the largest rounding changed a logit.
            budget: Bytes.
        """
        import safetensors.torch

        def store() -> bool:
            payload = safetensors.torch.save({LOGITS: logits}, {ERROR: repr(error)})
            if not self._room.take(len(payload), f"{self.key}/{_name(view)}", budget):
                self._say(f"{self._bank} is full (bank.budget): the answers to further views are not stored")
                return False
            # Looked for each time: the bank may have been cleared since the last part.
            if read(self._folder, ABOUT) is None:
                write(self._folder, ABOUT, (self._about + "\n").encode())
            write(self._folder, _name(view), _digest(payload) + b"\n" + payload)
            return True

        return bool(self._tried("written", store))

    def _tried(self, what: str, operation: Callable[[], T]) -> T | None:
        """What an operation on the bank returns, or None if it fails: without the bank, answers are computed."""
        try:
            return operation()
        except StorageError as error:
            self._say(f"no answers are stored or read: {error}")
        except OSError as error:
            self._say(f"{self._bank} cannot be {what}: {error}")
        return None

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            logger.warning(line)


def stored_views(teacher: str) -> list[StoredViews]:
    """What a teacher's bank holds, in the order of the keys.

    Raises:
        StorageError: the store does not answer, or refuses.
    """
    bank = below(teacher, BANK)
    found: dict[str, dict[str, int]] = {}
    for name, size in files_below(bank).items():
        key, _, file = name.partition("/")
        found.setdefault(key, {})[file] = size
    return [_stored(teacher, below(bank, key), files) for key, files in sorted(found.items())]


def _stored(teacher: str, folder: str, files: Mapping[str, int]) -> StoredViews:
    parts = sorted(name for name in files if name.endswith(PART))
    try:
        about = json.loads(read(folder, ABOUT) or b"{}")
    except ValueError:
        about = {}  # damaged: it only says what the parts are of
    return StoredViews(teacher, name_of(folder), about, len(parts), sum(files.values()), next(iter(parts), None))


def _metadata(payload: bytes) -> dict[str, str]:
    """What is said of a safetensors file: eight bytes hold the length of the JSON that follows."""
    length = int.from_bytes(payload[:8], "little")
    said: dict[str, str] = json.loads(payload[8 : 8 + length])["__metadata__"]
    return said


def clear(teacher: str) -> None:
    """Delete a teacher's bank; whoever uses it at this moment computes again what is missing.

    Raises:
        StorageError: the store or disk does not answer, or refuses.
    """
    bank = below(teacher, BANK)
    try:
        delete_below(bank)
    except OSError as error:
        raise StorageError(f"{bank} cannot be deleted: {error.strerror or error}") from error


def _name(view: int) -> str:
    return f"view-{view:05d}{PART}"


def _payload(content: bytes) -> bytes | None:
    """What a part holds; None if it is damaged."""
    digest, _, payload = content.partition(b"\n")
    return payload if digest == _digest(payload) else None


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode()
