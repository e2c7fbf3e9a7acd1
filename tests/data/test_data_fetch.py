"""Data from URLs and from torchvision's addresses: fetched once a node, whole or not at all."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision

from raykd.command_line import parse
from raykd.config import DataSettings, Experiment
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.saved_settings import save_experiment
from raykd.settings_io import load_experiment, override
from raykd.storage import below, write
from tests.helpers.genuine_data import write_cifar, write_images

PATIENCE = 60.0


class Web:
    """A web server of a folder.

    Attributes:
        fetched: Paths of all requests for contents.
        sent_half: Set when half of a file was sent, where `stalls` or `cuts` is set.
        stalls: Whether the other half waits until the test ends.
        cuts: Whether the other half never comes.
        refuses_head: Whether HEAD is answered by 403, as it is for signed addresses.
    """

    def __init__(self, folder: Path) -> None:
        web = self
        self.folder = folder
        self.fetched: list[str] = []
        self.sent_half = threading.Event()
        self.ended = threading.Event()
        self.stalls = self.cuts = self.refuses_head = False

        class Handler(SimpleHTTPRequestHandler):
            def do_HEAD(self) -> None:
                if web.refuses_head:
                    self.send_error(403)
                else:
                    super().do_HEAD()

            def do_GET(self) -> None:
                web.fetched.append(self.path)
                super().do_GET()

            def copyfile(self, source, outputfile) -> None:
                content = source.read()
                if web.stalls or web.cuts:
                    outputfile.write(content[: len(content) // 2])
                    outputfile.flush()
                    web.sent_half.set()
                    if web.stalls:
                        web.ended.wait(PATIENCE)
                    return
                outputfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def end(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "web").mkdir()
    web = Web(tmp_path / "web")
    yield web
    web.end()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_images(tmp_path / "source" / "photos")
    return tmp_path / "source" / "photos"


def fingerprint(root: str | Path, cache: Path, name: str = "folder") -> str:
    return load_data(DataSettings(name=name, root=root, cache=cache)).info.fingerprint


def packed(folder: Path, target: Path, kind: str, *, around: bool = False) -> str:
    """Pack a folder, with or without itself around its files; the archive's name."""
    root, base = (folder.parent, folder.name) if around else (folder, None)
    return Path(shutil.make_archive(str(target / "photos"), kind, root, base)).name


def rest(cache: Path) -> list[str]:
    """What lies in the cache, but for locks."""
    return [path.name for path in cache.glob("*") if path.suffix != ".lock"]


@pytest.mark.parametrize("around", [False, True], ids=["bare", "in-a-folder"])
@pytest.mark.parametrize("kind", ["tar", "gztar", "zip"])
def test_an_archive_on_a_web_server_is_the_folder_that_was_packed(web, photos, tmp_path, kind, around):
    url = web.url(packed(photos, web.folder, kind, around=around))
    assert fingerprint(url, tmp_path / "cache") == fingerprint(photos, tmp_path / "unused")
    assert fingerprint(url, tmp_path / "cache") == fingerprint(photos, tmp_path / "unused")
    assert len(web.fetched) == 1
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("split", ["train", "Train", "Training", "seg_train"])
def test_an_archive_of_a_training_split_alone(web, tmp_path, split):
    """As macOS packs it, with its own folder beside it."""
    folder = tmp_path / "source"
    write_images(folder / split)
    write_images(folder / "__MACOSX" / split)
    assert load_data(DataSettings(name="folder", root=folder)).info.class_names == ("cat", "dog", "owl")
    url = web.url(packed(folder, web.folder, "zip"))
    assert fingerprint(url, tmp_path / "cache") == fingerprint(folder, tmp_path / "unused")


def test_cifar_comes_from_an_archive_too(web, tmp_path):
    folder = write_cifar(tmp_path / "source", 10)
    name = packed(folder, web.folder, "gztar", around=True)
    assert fingerprint(web.url(name), tmp_path / "cache", "cifar10") == fingerprint(folder, tmp_path, "cifar10")


def test_a_signed_address_that_allows_get_alone_is_fetched(web, photos, tmp_path):
    web.refuses_head = True
    url = web.url(packed(photos, web.folder, "zip") + "?signature=1")
    assert fingerprint(url, tmp_path / "cache") == fingerprint(photos, tmp_path)


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_a_file_url_is_copied_through_pyarrow(photos, tmp_path, archive):
    source = photos.parent / packed(photos, photos.parent, "gztar") if archive else photos
    expected = fingerprint(photos, tmp_path)
    assert fingerprint(f"file://{source}", tmp_path / "cache") == expected
    # What is used is the copy.
    (copy,) = rest(tmp_path / "cache")
    shutil.rmtree(photos) if not archive else source.unlink()
    assert fingerprint(f"file://{source}", tmp_path / "cache") == expected
    assert rest(tmp_path / "cache") == [copy]


def test_a_folder_of_an_object_store_is_copied(object_store, photos, tmp_path):
    url = object_store.folder()
    for path in photos.rglob("*.*"):
        write(below(url, "photos", path.parent.name), path.name, path.read_bytes())
    assert fingerprint(below(url, "photos"), tmp_path / "cache") == fingerprint(photos, tmp_path)


def test_many_processes_at_once_fetch_once(web, photos, tmp_path):
    url = web.url(packed(photos, web.folder, "tar"))
    with multiprocessing.get_context("fork").Pool(6) as pool:
        found = pool.starmap(fingerprint, [(url, tmp_path / "cache")] * 12, chunksize=1)
    assert set(found) == {fingerprint(photos, tmp_path)}
    assert len(web.fetched) == 1


def test_a_download_that_is_killed_half_way_leaves_nothing_half(web, photos, tmp_path):
    url, cache = web.url(packed(photos, web.folder, "tar")), tmp_path / "cache"
    web.stalls = True
    child = multiprocessing.get_context("fork").Process(target=fingerprint, args=(url, cache))
    child.start()
    assert web.sent_half.wait(PATIENCE)
    while not any(path.suffix == ".archive" for path in cache.iterdir()):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    web.stalls = False
    assert fingerprint(url, cache) == fingerprint(photos, tmp_path)
    assert len(rest(cache)) == 1


def test_a_changed_source_is_noticed_and_a_silent_one_is_not_missed(web, photos, tmp_path):
    url, cache = web.url(packed(photos, web.folder, "tar")), tmp_path / "cache"
    first = fingerprint(url, cache)
    write_images(photos, classes=("yak",))
    packed(photos, web.folder, "tar")
    second = fingerprint(url, cache)
    assert second == fingerprint(photos, tmp_path) != first
    web.end()
    assert fingerprint(url, cache) == second


def test_what_is_cut_short_is_refused_and_leaves_nothing(web, photos, tmp_path):
    web.cuts = True
    with pytest.raises(RaykdError, match=r"cannot be fetched: \d+ of \d+ bytes arrived"):
        fingerprint(web.url(packed(photos, web.folder, "tar")), tmp_path / "cache")
    assert rest(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        ("WEB/none.zip", "^data.root .* cannot be fetched: the server answers 404"),
        ("WEB/text.zip", "^data.root .* is damaged, or no archive in spite of its name"),
        ("WEB/text.tar.gz", "^data.root .* is damaged, or no archive in spite of its name"),
        ("WEB/photos", "^data.root .* is no archive"),
        ("http://127.0.0.1:9/photos.zip", "^data.root .* cannot be fetched: .*refused"),
        ("file:///nowhere/photos", "^data.root .* cannot be fetched: nothing is there"),
        ("ftp://host/photos", "unknown store 'ftp'"),
        ("http://name:secret@host/photos.zip", "^data.root: host is given with a password"),
    ],
)
def test_what_cannot_be_fetched_is_told_in_two_lines_and_leaves_nothing(web, tmp_path, root, problem):
    for name in ("text.zip", "text.tar.gz"):
        (web.folder / name).write_text("no archive")
    with pytest.raises(RaykdError, match=problem) as raised:
        fingerprint(root.replace("WEB", web.url("")[:-1]), tmp_path / "cache")
    assert len(str(raised.value).splitlines()) <= 2
    assert "secret" not in str(raised.value)
    assert rest(tmp_path / "cache") == []


def test_a_full_disk_is_told(web, tmp_path):
    write_images(tmp_path / "many", count=100)
    url, cache = web.url(packed(tmp_path / "many", web.folder, "tar")), tmp_path / "cache"
    cache.mkdir()
    code = f"""
from raykd.config import DataSettings
from raykd.data import load_data
load_data(DataSettings(name="folder", root={url!r}, cache={str(cache)!r}))
"""
    mount = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(cache), sys.executable, code]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    ended = subprocess.run(command, capture_output=True, text=True)
    assert f"does not fit into {cache}: set data.cache to a larger disk" in ended.stderr


def test_cifar_is_downloaded_once_where_torchvision_says(web, tmp_path, monkeypatch):
    folder = write_cifar(tmp_path / "source", 100)
    archive = web.folder / packed(folder, web.folder, "gztar", around=True)
    source = torchvision.datasets.CIFAR100
    monkeypatch.setattr(source, "url", web.url(archive.name))
    settings = DataSettings(name="cifar100", download=True, cache=tmp_path / "cache")
    with pytest.raises(RaykdError, match="does not have the checksum that torchvision expects"):
        load_data(settings)
    assert rest(tmp_path / "cache") == []
    monkeypatch.setattr(source, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    web.fetched.clear()
    assert load_data(settings).info.fingerprint == fingerprint(folder, tmp_path, "cifar100")
    assert set(web.fetched) == {f"/{archive.name}"}
    web.fetched.clear()
    assert load_data(settings).info.fingerprint == fingerprint(folder, tmp_path, "cifar100")
    assert not web.fetched
    # What is there already is not fetched.
    elsewhere = settings.model_copy(update={"root": folder, "cache": tmp_path / "other"})
    assert load_data(elsewhere).info.fingerprint == fingerprint(folder, tmp_path, "cifar100")
    assert not (tmp_path / "other").exists()


def test_only_what_torchvision_knows_can_be_downloaded():
    with pytest.raises(RaykdError, match=r"data\.download fetches cifar10, cifar100, fashion_mnist, not digits"):
        override(Experiment(), {"data.download": True})


def test_urls_stay_as_they_are_and_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root, expected in [("s3://bucket//photos", "s3://bucket//photos"), ("photos", tmp_path / "photos")]:
        experiment = parse(Experiment(), arguments=["--data.root", root]).with_absolute_paths()
        assert experiment.data.root == expected
        save_experiment(experiment, tmp_path / "experiment.yaml")
        assert load_experiment(tmp_path / "experiment.yaml", Experiment()) == experiment


def test_where_data_comes_from_says_nothing_about_a_lesson():
    other = {"data.root": "s3://bucket/photos", "data.download": True, "data.cache": "/cache"}
    cifar = override(Experiment(), {"data.name": "cifar10"})
    assert override(cifar, other).training_spec().identity() == cifar.training_spec().identity()
