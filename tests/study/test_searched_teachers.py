"""A search over given teachers: what is fetched, found again, and refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raykd.config import Experiment
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.places import GIVEN_TEACHERS
from raykd.planning.command import _teacher_notes
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space
from raykd.search.start_points import StartPoint
from raykd.settings_io import override
from raykd.storage import name_of
from raykd.study.external_teacher import (
    given_folders,
    remember_external_teachers,
    searched_teachers,
    with_external_teachers,
    with_searched_teacher,
)
from raykd.study.preflight import preflight, rehearse
from raykd.study.start_points import start_points
from raykd.training.folder import description
from raykd.training.saved import load_model
from raykd.training.teacher_cache import teachers

BASE = {
    "data.train_images": 100,
    "teacher.model.name": "tests.helpers.networks:Plain",
    "student.name": "tests.helpers.networks:Plain",
    "training.epochs": 2,
}


def experiment(folder: Path, changes: dict[str, Any] | None = None) -> Experiment:
    places = {"teacher.cache": folder / "cache", "study.output": folder / "outputs"}
    return override(Experiment(), BASE | places | (changes or {}))


def checkpoint(given: Experiment, file: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save(build_model(given.teacher.model, num_classes=10, in_channels=1).state_dict(), file)


def space(folder: Path, text: str, base: Experiment) -> SearchSpace:
    file = folder / "space.yaml"
    file.write_text(text)
    return load_space(str(file), base)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Checkpoints of two teachers, in the present folder."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.pth", "b.pth")):
        checkpoint(experiment(tmp_path), tmp_path / name, seed)
    return [str(tmp_path / name) for name in ("a.pth", "b.pth")]


def test_every_choice_is_fetched_and_found_again_whatever_it_holds_by_then(tmp_path: Path, files: list[str]) -> None:
    base = experiment(tmp_path)
    searched = space(tmp_path, "teacher.source: {choices: [a.pth, b.pth]}", base)
    assert searched.choices("teacher.source") == tuple(files)  # named for processes elsewhere
    # An experiment without one of them gets the first.
    base = with_searched_teacher(base, searched)
    assert base.teacher.source == files[0]
    checked = preflight(base, ("teacher", "student"), others=searched_teachers(searched))
    rehearse(checked.experiment, checked.data, searched)
    folders = [
        teachers(override(checked.experiment, {"teacher.source": file}), checked.data.fingerprint)[-1].folder
        for file in files
    ]
    assert folders == given_folders(checked.experiment) and len(set(folders)) == 2
    for folder, file in zip(folders, files, strict=True):
        weights = load_model(folder).network.state_dict()
        assert all(torch.equal(weights[name], each) for name, each in torch.load(file).items())
        found = description(folder)
        assert found is not None and found["source"] == file

    # What a trial's record names is the folder.
    second = override(checked.experiment, {"teacher.source": files[1]}).with_given_teacher()
    assert second.teacher.source == folders[1] and not second.teacher.fetched
    assert teachers(second, checked.data.fingerprint)[-1].folder == folders[1]

    remember_external_teachers(checked.experiment)
    names = json.loads((base.folder / GIVEN_TEACHERS).read_text())
    assert list(names.values()) == [name_of(folder) for folder in folders]
    for file in files:
        checkpoint(base, Path(file), seed=7)
    again = override(base, {"study.resume": True})
    resumed = with_external_teachers(again, checked.data, searched_teachers(searched))
    assert given_folders(resumed) == folders
    anew = with_external_teachers(base, checked.data, searched_teachers(searched))
    assert not set(given_folders(anew)) & set(folders)
    (tmp_path / "cache/teachers").rename(tmp_path / "emptied")
    with pytest.raises(RaykdError, match=r"a.pth: teacher or data are others than those that .* was begun with"):
        with_external_teachers(again, checked.data, searched_teachers(searched))


def test_one_source_for_several_networks_is_fetched_for_each(tmp_path: Path, files: list[str]) -> None:
    other = "tests.helpers.networks:WithDropout"  # it has the same layers
    base = experiment(tmp_path, {"teacher.source": files[0]})
    searched = space(tmp_path, f"teacher.model.name: {{choices: ['{BASE['teacher.model.name']}', '{other}']}}", base)
    checked = preflight(base, ("teacher", "student"), others=searched_teachers(searched))
    rehearse(checked.experiment, checked.data, searched)
    own = override(checked.experiment, {"teacher.model.name": other})
    found = description(str(own.teacher.folder))
    assert found is not None and found["lesson"]["student"]["name"] == other
    assert len(given_folders(checked.experiment)) == 2
    assert _teacher_notes(base, searched) == ["note: 2 given teachers are fetched and judged before the search"]


def test_start_points_lie_in_a_space_of_teachers(tmp_path: Path, files: list[str]) -> None:
    base = experiment(tmp_path, {"teacher.source": files[1], "study.start": ("experiment", "kd", "small")})
    text = "teacher.source: {choices: [a.pth, b.pth]}\nstart:\n  small: {teacher.source: a.pth}\n"
    searched = space(tmp_path, text, base)
    with_teachers = with_external_teachers(base, load_data(base.data).info, searched_teachers(searched))
    points = {point.name: point for point in start_points(with_teachers, searched)}
    assert points["experiment"] == StartPoint("experiment", {"teacher.source": files[1]})
    assert points["small"].parameters == {"teacher.source": files[0]} and not points["small"].settings


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("teacher.source: {choices: [a.pth, missing.pth]}", {}, r"teacher.source .*missing.pth: no such file"),
        ("teacher.source: {choices: [a.pth, b.pth]}", {"teacher.model.name": "resnet8"}, r"do not fit"),
        (
            "teacher.source: {choices: [a.pth, b.pth]}\nteacher.training.epochs: {low: 1, high: 3}",
            {},
            r"teacher.training.epochs cannot be searched: teacher.source is taken as it is",
        ),
        (
            "teacher.source: {choices: [a.pth, b.pth]}\nteacher.model.arguments.hidden: {low: 8, high: 24}",
            {},
            r"teacher.model.arguments.hidden cannot be searched: .* fetched before the search: give choices",
        ),
        ("teacher.mean: {choices: [0.1, 0.2]}", {}, r"teacher.mean .*"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(
    tmp_path: Path, files: list[str], text: str, changes: dict[str, Any], message: str
) -> None:
    base = experiment(tmp_path, changes)

    def begin() -> None:
        searched = space(tmp_path, text, base)
        own = with_searched_teacher(base, searched)
        checked = preflight(own, ("teacher", "student"), others=searched_teachers(searched))
        rehearse(checked.experiment, checked.data, searched)

    with pytest.raises(RaykdError, match=message):
        begin()
    assert not base.folder.exists()


def test_a_folder_says_which_network_it_holds(tmp_path: Path, files: list[str]) -> None:
    base = experiment(tmp_path, {"teacher.source": files[0]})
    folder = with_external_teachers(base, load_data(base.data).info).teacher.folder
    own = override(base, {"teacher.source": folder})
    searched = space(tmp_path, "teacher.model.name: {choices: [resnet8, resnet20]}", own)
    checked = preflight(own, ("teacher", "student"), others=searched_teachers(searched))
    with pytest.raises(RaykdError, match=r"teacher.model.name cannot be searched: .* says which network it is"):
        rehearse(checked.experiment, checked.data, searched)
