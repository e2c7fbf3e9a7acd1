"""Where a study's Optuna storage is, as text: a journal file, SQLite or PostgreSQL.

Passwords in addresses are used, and neither shown nor written: what is written is the address without it, which
libpq completes from PGPASSWORD or ~/.pgpass.
"""

from __future__ import annotations

from pathlib import Path

from raykd.errors import RaykdError
from raykd.tracking.address import hide_password, scheme

UNREADABLE = "postgresql://***"
FORMS = "a path ending in .journal, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def storage_address(text: str, root: Path | None = None) -> Path | str:
    """A journal file, or the address of a database with its file's path made absolute.

    Args:
        text: As in `study.storage`.
        root: What relative paths are taken from. None: the present folder.

    Raises:
        RaykdError: it is neither.
    """
    root = root or Path.cwd()
    if text.startswith("journal://") or ("://" not in text and text.endswith(".journal")):
        return root / Path(text.removeprefix("journal://")).expanduser()
    kind = scheme(text)
    if kind == "postgresql":
        if without_password(text) == UNREADABLE:  # what cannot be read may be a password
            raise RaykdError(
                f"study.storage {UNREADABLE} cannot be read as an address: give postgresql://USER@HOST/DATABASE"
            )
        return text
    path, mark, options = text.partition(":///")[2].partition("?")
    if kind == "sqlite" and path not in ("", ":memory:"):
        return f"sqlite:///{root / Path(path).expanduser()}{mark}{options}"
    raise RaykdError(f"study.storage {without_password(text)!r} is not a place that Optuna can use: give {FORMS}")


def split_study(text: str) -> tuple[str, str]:
    """The storage and the study's name of ``STORAGE#NAME``; the name is empty where there is none."""
    # Before the last @ stands the password, which may hold anything.
    account, at, rest = text.rpartition("@")
    place, _, study = rest.partition("#")
    return f"{account}{at}{place}", study


def without_password(text: str) -> str:
    """An address without the password that it may hold; anything else as it is."""
    if scheme(text) != "postgresql":
        return hide_password(text)
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    address, study = split_study(text)
    try:
        url = make_url(address).difference_update_query(["password"])
    except (ArgumentError, ValueError):
        return UNREADABLE
    # The URL's own `set` takes a password of None for no change.
    return url._replace(password=None).render_as_string(hide_password=False) + (f"#{study}" if study else "")


def shown(place: Path | str) -> str:
    """A storage as it is shown and written."""
    return str(place) if isinstance(place, Path) else without_password(place)
