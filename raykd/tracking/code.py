"""Which code a run came from: the script and its commit as MLflow's own tags, and the commit of raykd itself."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import raykd


class Commit(NamedTuple):
    """The state of a repository.

    - name: the file's path below the repository's root
    - sha: 40 hex digits
    - branch: None where HEAD is detached
    - dirty: a tracked file differs from the commit
    """

    name: str
    sha: str
    branch: str | None
    dirty: bool


def commit_of(file: Path) -> Commit | None:
    """The commit that a file belongs to; None where git is missing, or does not know the file."""
    try:
        import git
    except ImportError:  # there is no git executable
        return None
    try:
        with git.Repo(file.parent, search_parent_directories=True) as repository:
            repository.git.ls_files("--error-unmatch", str(file))  # an environment may lie inside another repository
            branch = None if repository.head.is_detached else repository.active_branch.name
            name = file.relative_to(Path(repository.working_dir).resolve()).as_posix()
            return Commit(name, repository.head.commit.hexsha, branch, repository.is_dirty())
    except (git.GitError, ValueError, OSError):  # ValueError: nothing has been committed yet
        return None


def source_tags() -> dict[str, str]:
    """MLflow's tags of this process's script, its commit where it has one, and its user."""
    script = Path(sys.argv[0] or "python").resolve()
    commit = commit_of(script)
    tags = {
        "mlflow.source.name": commit.name if commit else script.name,
        "mlflow.source.type": "JOB" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "LOCAL",
    }
    with suppress(OSError, KeyError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    if commit is not None:
        tags["mlflow.source.git.commit"] = commit.sha
        tags["mlflow.source.git.dirty"] = str(commit.dirty).lower()
        if commit.branch is not None:
            tags["mlflow.source.git.branch"] = commit.branch
    return tags


def raykd_code() -> str:
    """The commit of raykd's own code, with `-dirty` behind it if it was changed since; else raykd's version."""
    commit = commit_of(Path(raykd.__file__).resolve())
    if commit is None:
        return f"raykd {installed('raykd')}"
    return f"{commit.sha}-dirty" if commit.dirty else commit.sha


def installed(package: str) -> str:
    """The version of an installed package, or `not installed`, as of raykd itself in a job's working directory."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
