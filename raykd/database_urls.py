"""URLs of databases and servers, read by SQLAlchemy. Passwords in them are used, and neither shown nor written.

SQLAlchemy is imported where a URL is read, as it is heavy.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import URL

SERVERS = ("postgresql", "mysql", "mssql")
DATABASES = ("sqlite", *SERVERS)
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def scheme(url: str) -> str:
    """`postgresql` of `postgresql+psycopg2://...`; of what is no URL, the text itself."""
    return url.partition("://")[0].partition("+")[0].lower()


def sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; None for any other URL, and for a database in memory."""
    if scheme(url) != "sqlite":
        return None
    parsed = _parsed(url)
    database = parsed.database if parsed is not None else None
    return Path(database).absolute() if database and database != ":memory:" else None


def with_absolute_path(url: str, root: Path) -> str:
    """A SQLite URL with the path of its file made absolute; any other URL as it is.

    Args:
        url: The URL.
        root: The folder that a relative path starts from.
    """
    if sqlite_file(url) is None:
        return url
    # As text: studies keep their URL and are resumed by the same one only, while SQLAlchemy may write it otherwise.
    path, mark, options = url.partition(":///")[2].partition("?")
    return f"sqlite:///{root / Path(path).expanduser()}{mark}{options}"


def hide_password(text: str) -> str:
    """The text, which may be an error message, with `user:password@` in URLs reduced to `user:***@`."""
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", text)


def without_password(url: str) -> str:
    """The URL of a database, also in front of a study's name, without the password that it may hold.

    What SQLAlchemy cannot read may be a password as a whole, and only its scheme remains. The passwords of other URLs
    are hidden, and any other text stays as it is.
    """
    if scheme(url) not in SERVERS:
        return hide_password(url)
    address, study = split_study(url)
    parsed = _parsed(address)
    if parsed is None:
        return f"{scheme(url)}://***"
    # The URL's own `set` takes a password of None for no change.
    without = parsed.difference_update_query(["password"])._replace(password=None)
    return without.render_as_string(hide_password=False) + (f"#{study}" if study else "")


def is_readable(url: str) -> bool:
    """Whether SQLAlchemy can read a text as the URL of a database."""
    return _parsed(url) is not None


def split_study(text: str) -> tuple[str, str]:
    """The database and the study's name of ``STORAGE#NAME``; the name is empty where there is none."""
    # Before the last @ stands the password, which may hold anything.
    account, at, rest = text.rpartition("@")
    address, _, study = rest.partition("#")
    return f"{account}{at}{address}", study


def is_same_database(one: str | Path, other: str | Path) -> bool:
    """Whether two URLs or files are one database, however they are written; hosts count as one by their names alone."""
    files = [each if isinstance(each, Path) else sqlite_file(each) for each in (one, other)]
    if files[0] is not None and files[1] is not None:
        # By a link as well: to a folder or to the file, or one of its two names.
        same = files[0].exists() and files[1].exists() and files[0].samefile(files[1])
        return same or files[0].resolve() == files[1].resolve()
    ones = [None if isinstance(each, Path) else _server_and_database(each) for each in (one, other)]
    return ones[0] is not None and ones[0] == ones[1]


def _server_and_database(url: str) -> tuple[str, str, int, str] | None:
    """What a URL of a database server names; None of any other URL."""
    parsed = _parsed(url) if scheme(url) in SERVERS else None
    if parsed is None:
        return None
    host = (parsed.host or "localhost").lower()
    port = parsed.port or _PORTS[scheme(url)]
    return scheme(url), "localhost" if host in ("127.0.0.1", "::1") else host, port, parsed.database or ""


def _parsed(url: str) -> URL | None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None
