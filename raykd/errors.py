"""Errors that users can cause: a line or two on what is wrong, where, and what to do; never a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

REFUSED, FAILED = 2, 1
"""Exit codes: nothing was begun, so the same command ends the same way again; what was begun did not end well."""
MOST_CHARACTERS = 200
"""Of what another library says, and of a list of names, in an error."""


_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class RaykdError(Exception):
    """Base of the errors whose message is all that a user needs.

    Attributes:
        exit_code: Of a command that ends with it.
    """

    exit_code: int = REFUSED


def plain(text: object) -> str:
    """A text without the codes by which a terminal shows colours; Ray and torch have them in their messages."""
    return _COLOURS.sub("", str(text))


def shortened(text: object, most: int = MOST_CHARACTERS) -> str:
    """A text on one line of at most so many characters; it is cut between words, and by ``...`` where it is.

    Codes for colours are left out.
    """
    line = " ".join(plain(text).split())
    if len(line) <= most:
        return line
    # A single word that is too long has no better place to be cut at.
    kept = line[: most - 3].rpartition(" ")[0] or line[: most - 4]
    return f"{kept} ..."


def listed(names: Iterable[str], most: int = MOST_CHARACTERS) -> str:
    """Names with commas between them; of a long list the first ones, and how many more there are."""
    names = list(names)
    kept, length = 0, 0
    for name in names:
        length += len(name) + 2
        if length > most and kept:
            break
        kept += 1
    more = f" and {len(names) - kept} more" if kept < len(names) else ""
    return ", ".join(names[:kept]) + more


class StorageError(RaykdError):
    """A store or disk does not answer, is full, or refuses. This is no fault of a student."""


class DamagedError(StorageError):
    """What is stored is not what was written."""


class SaidError(RaykdError):
    """An error that was printed when it happened, as the process might not have lived to print it later."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The valid name that a misspelt one most probably means, whatever its capitals; None if none is near."""
    in_small_letters = {each.lower(): each for each in sorted(known, reverse=True)}
    near = get_close_matches(name.lower(), in_small_letters, n=1, cutoff=0.5)
    return in_small_letters[near[0]] if near else None


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> RaykdError:
    """An error for a misspelt name that offers the nearest valid one.

    Args:
        kind: What the name should have named, such as ``model``.
        name: The name as given.
        known: All valid names.
        where: The setting or file that holds the name.
    """
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"known: {listed(names)}."
    location = f" in {where}" if where else ""
    return RaykdError(f"unknown {kind} {shortened(repr(name), 80)}{location}: {hint}")
