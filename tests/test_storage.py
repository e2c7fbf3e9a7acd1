"""Files are read and written by name, on disk and in an object store, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import FileSystem

from raykd.errors import RaykdError, StorageError
from raykd.storage import (
    below,
    check_writable,
    delete_below,
    files_below,
    is_empty,
    name_of,
    read,
    write,
)
from tests.helpers.object_store import ObjectStore, Request
from tests.helpers.paths import ROOT
from tests.helpers.scripts import failed_script

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=6).filter(lambda name: name.strip("."))
FILES = st.lists(st.tuples(st.lists(NAMES, max_size=2).map(tuple), NAMES.map("{}.txt".format), st.binary(max_size=99)))


@pytest.fixture(params=["disk", "file URL", "S3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, object_store: ObjectStore) -> str:
    folders = {"disk": str(tmp_path), "file URL": f"file://{tmp_path}", "S3": object_store.folder()}
    return folders[request.param]


@pytest.fixture(params=["disk", "S3"], scope="module")
def anywhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, object_store: ObjectStore
) -> str:
    return str(tmp_path_factory.mktemp("files")) if request.param == "disk" else object_store.folder()


@given(files=FILES)
@settings(max_examples=20)
def test_what_was_written_last_is_read(anywhere: str, files: list[tuple[tuple[str, ...], str, bytes]]) -> None:
    fresh = below(anywhere, os.urandom(8).hex())
    assert is_empty(fresh)
    expected = {}
    for names, name, content in files:
        assert read(below(fresh, *names), name) == expected.get((names, name))
        write(below(fresh, *names), name, content)
        expected[names, name] = content
    for (names, name), content in expected.items():
        assert read(below(fresh, *names), name) == content
    assert is_empty(fresh) == (not files)


def test_files_are_listed_with_their_sizes_and_deleted_together(folder: str) -> None:
    assert files_below(below(folder, "study")) == {}
    delete_below(below(folder, "study"))
    files = {"model.json": b"1", "bank/one/part": b"four", "bank/two/part": b"", "bank-like": b"22"}
    for name, content in files.items():
        write(below(folder, "study"), name, content)
    assert files_below(below(folder, "study")) == {name: len(content) for name, content in files.items()}
    assert files_below(below(folder, "study", "bank")) == {"one/part": 4, "two/part": 0}
    delete_below(below(folder, "study", "bank"))
    assert files_below(below(folder, "study")) == {"model.json": 1, "bank-like": 2}


def test_large_files_and_those_that_are_not_there(folder: str) -> None:
    large = os.urandom(12_000_000)
    for content in (b"before", large, b""):
        write(folder, "weights", content)
        assert read(folder, "weights") == content
    assert read(folder, "nothing") is None
    assert read(below(folder, "nowhere"), "nothing") is None
    assert read(below(folder, "weights"), "nothing") is None
    assert is_empty(below(folder, "nowhere"))
    assert not is_empty(folder)


def test_a_file_that_is_replaced_meanwhile_is_read_whole(folder: str) -> None:
    versions = [bytes([digit]) * length for digit, length in ((1, 10), (2, 300_000), (3, 90_000))]
    write(folder, "checkpoint", versions[0])
    stopped = threading.Event()

    def replace() -> None:
        while not stopped.is_set():
            for content in versions:
                write(folder, "checkpoint", content)
                stopped.wait(0.05)

    writing = threading.Thread(target=replace)
    writing.start()
    try:
        found = [read(folder, "checkpoint") for _ in range(60)]
    finally:
        stopped.set()
        writing.join()
    assert set(found) <= set(versions)


def test_a_probed_folder_is_left_as_it_was(folder: str) -> None:
    check_writable(folder, "cluster.storage")
    assert is_empty(folder)


def test_paths_below_a_url_are_those_that_ray_makes_of_it(object_store: ObjectStore) -> None:
    url = object_store.folder().replace("?", "/with%20space/?")
    inner = below(url, "studies", "digits")
    write(inner, "file", b"x")
    assert urlsplit(inner).query == urlsplit(url).query
    assert name_of(inner) == "digits"
    filesystem, path = FileSystem.from_uri(inner)
    assert path.endswith("/with space/studies/digits")
    assert f"{path}/file".removeprefix("bucket/") in object_store.contents()
    assert filesystem.open_input_stream(f"{path}/file").read() == b"x"
    assert below("/shared", "studies", "digits") == "/shared/studies/digits"
    assert name_of("/shared/studies/digits/") == "digits"


def test_a_broken_upload_leaves_the_file_as_it_was(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raykd.object_store.PATIENCE_SECONDS", 0.0)
    folder = object_store.folder()
    write(folder, "weights", b"before")
    with object_store.cut(lambda request: "partNumber=2" in request["QUERY_STRING"]), pytest.raises(StorageError):
        write(folder, "weights", os.urandom(25_000_000))
    assert read(folder, "weights") == b"before"


def test_a_store_that_has_answered_is_waited_for(object_store: ObjectStore) -> None:
    folder = object_store.folder()
    write(folder, "checkpoint", b"1")
    asked = threading.Event()

    def away(request: Request) -> bool:
        asked.set()
        return True

    second = threading.Thread(target=write, args=(folder, "checkpoint", b"2"))
    with object_store.cut(away):
        second.start()
        assert asked.wait(10)
        second.join(8)  # pyarrow by itself has given up by then
        assert second.is_alive()
    second.join(30)
    assert read(folder, "checkpoint") == b"2"


def test_a_store_that_has_never_answered_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"^s3://never/x cannot be used: AWS Error NETWORK_CONNECTION"):
        read("s3://never/x", "file")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "unknown store 'ftp' in ftp://host"),
        ("s3://bucket/x?foo=1", "Unexpected query parameter in S3 URI: 'foo'"),
        ("s3://key:secret@bucket/x", "no passwords in URLs"),
        ("/nowhere/at/all", "no such folder"),
        ("file:///nowhere/at/all", "no such folder"),
    ],
)
def test_what_cannot_be_a_storage_is_refused(url: str, message: str) -> None:
    with pytest.raises(RaykdError, match=r"^cluster\.storage") as refused:
        check_writable(url, "cluster.storage")
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert str(refused.value).count("\n") <= 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://nobucket/x?endpoint_override={endpoint}&scheme=http", ["NO_SUCH_BUCKET", "check address and bucket"]),
        ("s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http", ["NETWORK_CONNECTION", "check address and bucket"]),
    ],
)
def test_a_wrong_bucket_or_address_ends_before_anything_starts(
    url: str,
    words: list[str],
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    url = url.format(endpoint=object_store.endpoint)
    script = ROOT / "experiments/tune_dkd.py"
    arguments = ["--teacher.cache", "cache", "--cluster.storage", url]
    message = failed_script(script, arguments, tmp_path, monkeypatch, capfd, caplog, recwarn)
    first, *rest = message.splitlines()
    assert first.startswith(f"error: cluster.storage {url} cannot be used: AWS Error")
    assert len(rest) == 1
    for word in words:
        assert word in message
    assert list(tmp_path.iterdir()) == []


def test_folders_on_disk_cost_no_pyarrow() -> None:
    code = "import sys; from raykd.training import folder; folder.description('.'); print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
