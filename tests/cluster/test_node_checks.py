"""What a node answers when it is asked whether it sees what workers share; real nodes are asked in tests/nodes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raykd.cluster import node_checks
from raykd.cluster.node_checks import FolderProblem, Needed, check_folders


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_checks, "FILE_SECONDS", 0.5)


def asked(folder: str | Path, data: Path | None = None) -> FolderProblem | None:
    needed = [] if data is None else [Needed("data.root", str(data))]
    return check_folders({str(folder): "study.output"}, needed, "token", b"content")


def test_a_node_that_sees_the_token_and_the_data_complains_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"content")
    assert asked(tmp_path, data=tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["token"], "it left something behind"


def test_a_file_that_shows_late_is_seen(tmp_path: Path) -> None:
    threading.Timer(0.3, (tmp_path / "token").write_bytes, [b"content"]).start()
    started = time.monotonic()
    assert asked(tmp_path) is None
    assert time.monotonic() - started > 0.25


@pytest.mark.parametrize("there", ["no folder", "an empty folder", "another token"])
def test_a_folder_without_the_token_is_another_folder(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "shared"
    if there != "no folder":
        folder.mkdir()
    if there == "another token":
        (folder / "token").write_bytes(b"other")
    assert asked(folder) == FolderProblem("study.output", str(folder), "is not seen")


def test_data_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"content")
    assert asked(tmp_path, data=tmp_path / "data") == FolderProblem("data.root", str(tmp_path / "data"), "is not seen")


def test_start_weights_that_are_missing_or_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"content")
    weights, digest = tmp_path / "weights.pt", hashlib.sha256(b"begun with").hexdigest()

    def told() -> str:
        needed = [Needed("student.weights", str(weights), digest)]
        return str(check_folders({str(tmp_path): "study.output"}, needed, "token", b"content"))

    assert told() == f"student.weights {weights} is not seen"
    weights.write_bytes(b"replaced")
    assert told() == f"student.weights {weights} is another file"
    weights.write_bytes(b"begun with")
    assert told() == "None"


def test_a_store_that_a_node_does_not_reach_is_told_with_the_reason() -> None:
    url = "s3://bucket/study?endpoint_override=127.0.0.1:9&scheme=http"
    problem = asked(url)
    assert problem is not None
    assert problem.folder == url
    assert problem.problem.startswith("cannot be used (")
    assert "\n" not in str(problem)


def test_a_folder_that_may_only_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"content")
    code = f"""
from raykd.cluster.node_checks import check_folders
print(check_folders({{{str(tmp_path)!r}: "study.output"}}, [], "token", b"content"))
"""
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, code]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == f"study.output {tmp_path} cannot be written\n"
