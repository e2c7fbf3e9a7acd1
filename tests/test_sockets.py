"""Where the folder for temporary files is too long for sockets, as that of a SLURM job, a shorter one is taken."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from raykd import sockets
from raykd.cluster.ray_folder import LONGEST_SOCKET, ray_folder
from raykd.errors import RaykdError
from raykd.sockets import FOLDERS, short_folder
from tests.helpers.genuine_data import write_images
from tests.helpers.paths import ROOT


def folder_of_length(length: int) -> Path:
    """A folder, which need not exist, whose path has so many bytes."""
    return Path("/tmp/" + "x" * (length - 5))


@pytest.mark.parametrize(("length", "fits"), [(20, True), (90, True), (91, True), (92, False), (150, False)])
def test_a_folder_is_taken_if_a_socket_can_be_opened_there(length: int, fits: bool, tmp_path: Path) -> None:
    name = "socket-of-name1"
    folder, trouble = short_folder(folder_of_length(length), name)
    assert (trouble is None) == fits
    if fits:
        assert folder == folder_of_length(length)
    else:
        assert folder == Path(FOLDERS[0])
        assert trouble == f"is too long for sockets ({length} bytes, 91 at most)"
    # As the kernel sees it: an address of another length is refused before it is looked up.
    with socket.socket(socket.AF_UNIX) as opened:
        with pytest.raises(OSError, match=r"AF_UNIX path too long|No such file") as refused:
            opened.connect(f"{folder_of_length(length)}/{name}")
        assert ("too long" in str(refused.value)) != fits


def test_letters_of_several_bytes_count_as_such() -> None:
    _, trouble = short_folder(Path("/tmp/" + "ü" * 50), "name")
    assert trouble == "is too long for sockets (105 bytes, 102 at most)"


def test_a_folder_that_cannot_be_written_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert short_folder(tmp_path / "file" / "x", "name") == (Path(FOLDERS[0]), "cannot be written")
    (tmp_path / "ray").touch()
    assert short_folder(tmp_path, "ray/socket") == (Path(FOLDERS[0]), "cannot be written")


def test_where_no_folder_will_do_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "FOLDERS", ("/proc/self/status",))
    with pytest.raises(RaykdError) as refused:
        short_folder(folder_of_length(120), "name")
    first, second = str(refused.value).splitlines()
    assert first.endswith(
        "is too long for sockets (120 bytes, 102 at most), and /proc/self/status cannot be used either"
    )
    assert second == "name a folder with TMPDIR, of at most 102 bytes, that this user may write"


def test_the_longest_socket_of_ray_is_known() -> None:
    folder = Path(ray.__file__).parent / "dashboard"
    text = "\n".join(file.read_text() for file in folder.rglob("*_head.py"))
    names = re.findall(r"class (\w+)\(SubprocessModule", text)
    assert len(names) > 5
    assert max(map(len, (*(f"dash_{name}" for name in names), "plasma_store", "raylet"))) == len("dash_TaskEventsHead")
    assert LONGEST_SOCKET.endswith("/dash_TaskEventsHead")


@pytest.mark.parametrize("setting", ["RAY_TMPDIR", "TMPDIR"])
def test_rays_folder(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    assert ray_folder() == (Path("/tmp/ray"), None)
    monkeypatch.setenv(setting, "/var/tmp")
    assert ray_folder() == (Path("/var/tmp/ray"), None)
    job = str(tmp_path / "scratch-of-a-job-with-a-long-name")
    monkeypatch.setenv(setting, job)
    folder, why = ray_folder()
    assert folder == Path("/tmp/ray")
    assert why is not None
    assert why.startswith(f"Ray's files lie in /tmp/ray: {setting} {job} is too long for sockets")


STREAM = """
import sys
from raykd.config import DataSettings
from raykd.data import evaluation_batches, load_data
data = load_data(DataSettings(name="folder", root=sys.argv[1], image_size=16, loader_processes=1))
print(sum(len(batch.indices) for batch in evaluation_batches(data, split="train", batch_size=10)))
"""


def test_images_are_decoded_by_processes_under_a_long_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    job = tmp_path / "/".join(["scratch-of-a-job"] * 8)
    job.mkdir(parents=True)
    environment = os.environ | {"TMPDIR": str(job), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STREAM, str(tmp_path / "images")]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert (shown.stdout, shown.stderr) == ("19\n", "")
