"""URLs of databases and servers: their files, their absolute paths, and their passwords."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from raykd.database_urls import hide_password, scheme, split_study, sqlite_file, with_absolute_path, without_password


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql+psycopg2://me@host/db", "postgresql"),
        ("sqlite:///file.db", "sqlite"),
        ("HTTPS://host:5000", "https"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks"),
    ],
)
def test_schemes(url: str, name: str) -> None:
    assert scheme(url) == name


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////a b/mlflow.db", Path("/a b/mlflow.db")),
        ("sqlite+pysqlite:////there/study.db?timeout=9", Path("/there/study.db")),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite://me:hush/db", None),
        ("postgresql://me@host/db", None),
        ("databricks", None),
    ],
)
def test_files_of_sqlite(url: str, file: Path | None) -> None:
    assert sqlite_file(url) == file


def test_a_relative_file_of_sqlite_is_in_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///study.db") == tmp_path / "study.db"


def test_relative_paths_are_taken_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert with_absolute_path("sqlite:///runs/mlflow.db?timeout=9", tmp_path) == (
        f"sqlite:///{tmp_path}/runs/mlflow.db?timeout=9"
    )
    assert with_absolute_path("sqlite:///~/mlflow.db", tmp_path) == "sqlite:////home/me/mlflow.db"
    for url in ("sqlite:////there/mlflow.db", "sqlite:///:memory:", "http://host:5000", "databricks"):
        assert with_absolute_path(url, tmp_path) == url


@given(st.text("abcXYZ019#:%/?&=_-", min_size=8), st.booleans(), st.booleans())
def test_urls_lose_their_password_and_nothing_else(password: str, port: bool, options: bool) -> None:
    tail = f"{':5432' if port else ''}/db{'?sslmode=require' if options else ''}"
    url = f"postgresql+psycopg2://me:{password}@host{tail}"
    assert without_password(f"{url}#study") == f"postgresql+psycopg2://me@host{tail}#study"
    assert split_study(f"{url}#study") == (url, "study")
    as_option = f"postgresql://me@host/db?password={quote(password)}"
    assert without_password(as_option) == "postgresql://me@host/db"
    assert without_password(without_password(url)) == without_password(url)
    assert make_url(without_password(url)).password is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql+pymysql://me:hush@host/db", "mysql+pymysql://me@host/db"),
        ("postgresql://me:hush/db", "postgresql://***"),
        ("https://me:hush@host:5000/sub", "https://me:***@host:5000/sub"),
        ("databricks", "databricks"),
        ("sqlite:////there/study.db#name", "sqlite:////there/study.db#name"),
        ("/there/study.journal", "/there/study.journal"),
    ],
)
def test_no_password_is_written(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_no_password_is_shown_in_a_message() -> None:
    message = "cannot connect to postgresql://me:hush@host/db or http://you:quiet@there"
    assert hide_password(message) == "cannot connect to postgresql://me:***@host/db or http://you:***@there"
