"""Weights to start from are known by their content: paths may be relative, move, or hold other weights tomorrow."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from raykd import fingerprints
from raykd.config import Experiment
from raykd.errors import DamagedError, RaykdError, StorageError
from raykd.imports import work_in
from raykd.models import build_model
from raykd.saved_settings import save_experiment
from raykd.search.space_file import load_space
from raykd.settings_io import load_experiment, override
from raykd.study.folder import begin_folder, check_folder, with_lasting_paths
from raykd.study.start_weights import with_weights_digests
from raykd.training.teacher_cache import teachers
from tests.helpers.small_study import small_experiment


def save(experiment: Experiment, file: Path, seed: int) -> None:
    """Weights of the experiment's teacher, which are its student's as well."""
    torch.manual_seed(seed)
    fresh = experiment.teacher.model.model_copy(update={"weights": None})
    torch.save(build_model(fresh, num_classes=10, in_channels=1).state_dict(), file)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment whose start weights are named as seen from the present folder."""
    monkeypatch.chdir(tmp_path)
    experiment = small_experiment(tmp_path)
    save(experiment, tmp_path / "start.pt", seed=0)
    weights = {f"{section}.weights": "start.pt" for section in ("student", "teacher.model")}
    return override(experiment, weights | {"student.arguments.width": 0.5})


def begun(experiment: Experiment) -> Experiment:
    return with_weights_digests(with_lasting_paths(experiment))


def teacher_of(experiment: Experiment) -> str:
    return teachers(begun(experiment), "fingerprint")[-1].folder


def test_relative_paths_mean_the_same_elsewhere(given: Experiment, tmp_path: Path) -> None:
    lasting = with_lasting_paths(override(given, {"data.root": "images", "data.name": "own:loader"}))
    assert lasting.student.weights == lasting.teacher.model.weights == str(tmp_path / "start.pt")
    assert lasting.data.root == tmp_path / "images"
    by_name = override(given, {"student.name": "torchvision/resnet18", "student.weights": "IMAGENET1K_V1"})
    assert begun(by_name).student.weights == "IMAGENET1K_V1"
    assert begun(by_name).student.digests == {}


def test_a_worker_sees_relative_paths_as_the_driver_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    work_in(str(tmp_path / "absent"))
    assert Path.cwd() == tmp_path / "elsewhere"
    work_in(str(tmp_path))
    assert Path.cwd() == tmp_path


def test_replaced_weights_are_another_teacher(given: Experiment, tmp_path: Path) -> None:
    first = teacher_of(given)
    assert teacher_of(given) == first
    save(given, tmp_path / "start.pt", seed=1)
    assert teacher_of(given) != first
    save(given, tmp_path / "start.pt", seed=0)
    (tmp_path / "start.pt").rename(tmp_path / "moved.pt")
    assert teacher_of(override(given, {"teacher.model.weights": str(tmp_path / "moved.pt")})) == first


def test_students_are_those_of_their_weights(given: Experiment, tmp_path: Path) -> None:
    first = begun(given).training_spec().identity()
    shutil.copy(tmp_path / "start.pt", tmp_path / "copy.pt")
    assert begun(override(given, {"student.weights": "copy.pt"})).training_spec().identity() == first
    save(given, tmp_path / "start.pt", seed=1)
    assert begun(given).training_spec().identity() != first


def test_a_run_is_not_resumed_with_other_weights(given: Experiment, tmp_path: Path) -> None:
    resumed = override(given, {"study.resume": True})
    begin_folder(begun(given))
    check_folder(begun(resumed))
    shutil.copy(tmp_path / "start.pt", tmp_path / "copy.pt")
    check_folder(begun(override(resumed, {"student.weights": "copy.pt"})))
    save(given, tmp_path / "start.pt", seed=1)
    with pytest.raises(RaykdError, match=r"^student.weights is sha256:\w+, but the study was begun with sha256:"):
        check_folder(begun(resumed))


def test_a_recorded_run_refuses_a_file_that_was_replaced(given: Experiment, tmp_path: Path) -> None:
    save_experiment(begun(given), tmp_path / "experiment.yaml")
    recorded = load_experiment(tmp_path / "experiment.yaml", Experiment())
    assert recorded == begun(given)
    assert begun(recorded) == recorded
    save(given, tmp_path / "start.pt", seed=1)
    with pytest.raises(RaykdError, match=r"^student.weights .*start.pt is another file than .*\n"):
        begun(recorded)


def test_a_worker_takes_no_other_file_of_that_name(given: Experiment, tmp_path: Path) -> None:
    settings = begun(given).student
    assert build_model(settings, num_classes=10, in_channels=1)
    save(given, tmp_path / "start.pt", seed=1)
    with pytest.raises(DamagedError, match=r"start.pt: the file here is not the one that the run was begun with"):
        build_model(settings, num_classes=10, in_channels=1)
    (tmp_path / "start.pt").unlink()
    with pytest.raises(StorageError, match=r"start.pt: no such file, .* begun with it"):
        build_model(settings, num_classes=10, in_channels=1)


def test_files_that_a_search_chooses_are_known_by_content_too(given: Experiment, tmp_path: Path) -> None:
    save(given, tmp_path / "other.pt", seed=1)
    space = tmp_path / "weights.yaml"
    space.write_text(f"teacher.model.weights: {{choices: [{tmp_path}/start.pt, {tmp_path}/other.pt]}}\n")
    lasting = with_lasting_paths(given)
    searched = with_weights_digests(lasting, load_space(str(space), lasting))
    assert len(set(searched.teacher.model.digests.values())) == 2

    def chosen(file: str, experiment: Experiment) -> str:
        return teachers(override(experiment, {"teacher.model.weights": str(tmp_path / file)}), "fingerprint")[-1].folder

    assert chosen("start.pt", searched) == teacher_of(given) != chosen("other.pt", searched)
    before = chosen("other.pt", searched)
    save(given, tmp_path / "other.pt", seed=2)
    assert chosen("other.pt", with_weights_digests(lasting, load_space(str(space), lasting))) != before
    space.write_text("student.weights: {choices: [start.pt, other.pt]}\n")
    with pytest.raises(RaykdError, match=rf"student.weights start.pt means another file .*: write {tmp_path}/start.pt"):
        with_weights_digests(override(lasting, {"student.weights": None}), load_space(str(space), lasting))


def test_a_file_is_read_once_as_long_as_it_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(bytes(1000))
    first = fingerprints.file_digest(file)
    reads = fingerprints._digest.cache_info().misses
    assert fingerprints.file_digest(file) == first
    assert fingerprints._digest.cache_info().misses == reads
    # As large and as old as before: the time of change of the inode tells.
    about = file.stat()
    time.sleep(0.02)
    file.write_bytes(bytes(999) + b"1")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert fingerprints.file_digest(file) != first
