"""Errors that users can cause: a line or two on what is wrong, where, and what to do; never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RaykdError(Exception):
    """Base of the errors whose message is all that a user needs."""


class SaidError(RaykdError):
    """An error that was printed when it happened, as the process might not have lived to print it later."""


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> RaykdError:
    """An error for a misspelt name that offers the nearest valid one.

    Args:
        kind: What the name should have named, such as ``model``.
        name: The name as given.
        known: All valid names.
        where: The setting or file that holds the name.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}."
    location = f" in {where}" if where else ""
    return RaykdError(f"unknown {kind} {name!r}{location}: {hint}")
