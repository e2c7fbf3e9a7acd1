"""Where students and teachers lie, with and without `cluster.storage`."""

from __future__ import annotations

from pathlib import Path

import pytest

from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.places import check_storage, shared_folder, teachers_folder
from raykd.search.trial import trial_folder
from raykd.settings_io import override
from raykd.storage import write
from raykd.study.folder import begin_folder, check_folder
from raykd.training.teacher_cache import teachers
from tests.helpers.object_store import ObjectStore

URL = "s3://bucket/raykd?endpoint_override=host:9000"


def experiment(storage: str | None, output: Path = Path("/out")) -> Experiment:
    changes = {"study.output": output, "study.name": "digits", "teacher.cache": Path("/cache")}
    return override(Experiment(), changes | {"cluster.storage": storage})


@pytest.mark.parametrize(
    ("storage", "shared", "taught"),
    [
        (None, "/out/digits{}", "/cache/teachers{}"),
        ("/shared", "/shared/studies/digits{}", "/shared/teachers{}"),
        (URL, URL.replace("?", "/studies/digits{}?"), URL.replace("?", "/teachers{}?")),
    ],
)
def test_folders_of_students_and_teachers(storage: str | None, shared: str, taught: str) -> None:
    settings = experiment(storage)
    assert shared_folder(settings) == shared.format("")
    assert teachers_folder(settings) == taught.format("")
    assert trial_folder(settings, 7) == shared.format("/trials/trial-0007")
    (teacher,) = teachers(settings, "fingerprint")
    assert teacher.folder == taught.format("/" + teacher.student.removeprefix("teacher-"))


def test_a_folder_becomes_absolute_and_a_url_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert experiment("shared").with_absolute_paths().cluster.storage == str(tmp_path / "shared")
    assert experiment("~/shared").with_absolute_paths().cluster.storage == str(Path("~/shared").expanduser())
    for storage in (None, URL, "file:///shared"):
        assert experiment(storage).with_absolute_paths().cluster.storage == storage


@pytest.mark.parametrize("kind", ["disk", "S3"])
def test_students_of_another_record_are_left_alone(kind: str, tmp_path: Path, object_store: ObjectStore) -> None:
    storage = str(tmp_path) if kind == "disk" else object_store.folder()
    settings = experiment(storage, tmp_path / "out")
    check_storage(settings)
    write(trial_folder(settings, 0), "checkpoint.pt", b"somebody's")
    with pytest.raises(RaykdError, match=r"holds a study whose record is not in .*/out/digits:\nresume it where"):
        check_storage(settings)
    begin_folder(settings)
    check_storage(settings)


def test_a_resumed_study_keeps_its_storage_and_may_change_the_rest_of_its_cluster(tmp_path: Path) -> None:
    settings = experiment(URL, tmp_path)
    begin_folder(settings)
    check_folder(override(settings, {"study.resume": True, "cluster.workers": 2}))
    for other in (None, "/shared", "s3://other/raykd"):
        with pytest.raises(
            RaykdError, match=r"^cluster\.storage is .*, but the study was begun with s3://bucket/raykd"
        ):
            check_folder(override(settings, {"study.resume": True, "cluster.storage": other}))
