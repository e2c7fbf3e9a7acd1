"""The token of a local cluster is made by raykd, readable by its user only, and never where it would change a thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raykd.cluster.authentication import ELSEWHERE, TOKEN, make_private_token
from tests.helpers.paths import ROOT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a token, on a machine without a cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (*ELSEWHERE, "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_nobody_else_can_read_the_token_and_ray_takes_it(home: Path) -> None:
    make_private_token()
    file = home / TOKEN
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text()) == 64
    assert [each.name for each in file.parent.iterdir()] == ["auth_token"]
    known = "from ray._raylet import AuthenticationTokenLoader as Of; print(Of.instance().has_token(True))"
    loaded = subprocess.run([sys.executable, "-c", known], env=os.environ, capture_output=True, text=True, check=True)
    assert loaded.stdout == "True\n"
    before = file.read_text()
    make_private_token()
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "0" * 64), ("RAY_AUTH_TOKEN_PATH", "/token")]
)
def test_what_the_user_has_decided_stays(home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    make_private_token()
    assert list(home.iterdir()) == []


def test_without_a_home_folder_the_token_is_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    script = """
import os
from raykd.cluster.authentication import make_private_token
make_private_token()
print(len(os.environ["RAY_AUTH_TOKEN"]))
"""
    for place in ("/proc", str(file)):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": place}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("64\n", ""), place
