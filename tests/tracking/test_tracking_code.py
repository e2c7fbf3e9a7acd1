"""Which code a run says that it came from, in real repositories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raykd.tracking.code import commit_of, source_tags


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.check_output(["git", *who, *arguments], cwd=folder, text=True).strip()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A committed script below a repository's root."""
    file = tmp_path / "jobs" / "tune.py"
    file.parent.mkdir()
    file.write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return file


def test_a_commit_its_branch_and_changes_since(script: Path) -> None:
    sha = git(script.parent, "rev-parse", "HEAD")
    assert commit_of(script) == ("jobs/tune.py", sha, "main", False)
    (script.parent / "new.py").write_text("not committed")
    assert commit_of(script) == ("jobs/tune.py", sha, "main", False)
    script.write_text("2\n")
    assert commit_of(script) == ("jobs/tune.py", sha, "main", True)
    git(script.parent, "checkout", "--detach")
    assert commit_of(script) == ("jobs/tune.py", sha, None, True)


def test_files_that_git_does_not_know_have_no_commit(script: Path, tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "lib.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert commit_of(installed) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init")
    (empty / "new.py").write_text("")
    assert commit_of(empty / "new.py") is None
    assert commit_of(Path("/nowhere/at/all.py")) is None


def test_tags_name_the_script_and_its_commit_where_there_is_one(
    script: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script)])
    tags = source_tags()
    assert tags["mlflow.source.name"] == "jobs/tune.py"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["mlflow.source.git.commit"] == git(script.parent, "rev-parse", "HEAD")
    assert (tags["mlflow.source.git.branch"], tags["mlflow.source.git.dirty"]) == ("main", "false")
    alone = tmp_path_factory.mktemp("alone") / "tune.py"
    monkeypatch.setattr(sys, "argv", [str(alone)])
    tags = source_tags()
    assert tags["mlflow.source.name"] == "tune.py"
    assert not [name for name in tags if name.startswith("mlflow.source.git")]
