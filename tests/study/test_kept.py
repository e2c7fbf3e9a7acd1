"""A finished study whose files are damaged is whole again after a resume, which says what it has made again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import optuna
import pytest
import torch
from rich.console import Console

import raykd
from raykd.config import Experiment
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.places import JOURNAL
from raykd.results.load import load_study
from raykd.search.optuna_study import open_study
from raykd.search.space_file import load_space
from raykd.search.trial import trial_folder
from raykd.settings_io import override
from raykd.study.folder import begin_folder, with_lasting_paths
from raykd.study.folds import folds_of
from raykd.training.messages import TrainRequest
from raykd.training.saved import is_whole, load_model
from tests.helpers.small_study import small_experiment
from tests.helpers.specs import train

SPACE = "temperature.multiplier: {low: 0.5, high: 4.0, log: true}\n"
NOBODY = "127.0.0.1:1"
"""An address at which no cluster answers: all of this needs none."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    """A study of two trials that has ended."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_ADDRESS", NOBODY)
        experiment = with_lasting_paths(small_experiment(tmp_path_factory.mktemp("study"), SPACE, trials=2))
        experiment = override(experiment, {"training.epochs": 2, "training.stacking": "off", "study.resume": True})
        fingerprint = load_data(experiment.data).info.fingerprint
        (fold,) = folds_of(experiment, fingerprint)
        begin_folder(experiment)
        for request in (*fold.chain, fold.plain):
            train(request)
        study = open_study(experiment.folder / JOURNAL, "small", 0, trials=2)
        (parameter,) = load_space(experiment.study.space, experiment).parameters
        for number, multiplier in enumerate((1.0, 2.0)):
            values = {"temperature.multiplier": multiplier}
            spec = override(experiment, values).training_spec()
            folder = trial_folder(experiment, number)
            teacher = fold.chain[-1].folder
            reports = train(TrainRequest(f"trial-{number:04d}", spec, teacher, folder, data=fingerprint))
            # So that the first one is the best.
            accuracies = {report.epoch: 0.9 - number / 10 for report in reports}
            study.add_trial(
                optuna.trial.create_trial(
                    value=0.9 - number / 10,
                    params=values,
                    distributions={parameter.name: parameter.distribution},
                    intermediate_values=accuracies,
                    user_attrs={"best_validation_accuracy": 0.9, "best_epoch": 1, "seconds": 1.0},
                )
            )
        resumed(experiment)
        yield experiment


@pytest.fixture
def study(finished: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setenv("RAY_ADDRESS", NOBODY)
    shutil.copytree(finished.study.output, tmp_path / "outputs")
    return override(finished, {"study.output": tmp_path / "outputs"})


def resumed(experiment: Experiment) -> str:
    output = StringIO()
    result = raykd.tune(experiment, Console(file=output, width=500))
    assert result.best is not None
    assert result.best.name == "trial-0000"
    return output.getvalue()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[random.Random(0).randrange(len(content) // 2, len(content))] ^= 1
    file.write_bytes(content)


def digit(file: Path) -> None:
    """Another accuracy, in a file that is as readable as before."""
    content = file.read_text()
    place = content.index('"validation_accuracy": 0.') + len('"validation_accuracy": 0.')
    file.write_text(content[:place] + str((int(content[place]) + 1) % 10) + content[place + 1 :])


def another(file: Path) -> None:
    """The other trial's whole student."""
    shutil.rmtree(file.parent)
    shutil.copytree(file.parent.parent / "trials" / "trial-0001", file.parent)


BEST = [
    ("model.safetensors", flip),
    ("model.safetensors", cut),
    ("model.safetensors", Path.unlink),
    ("model.json", cut),
    ("model.json", digit),
    ("model.json", Path.unlink),
    ("model.json", another),
]


def same(folder: Path, other: Path) -> bool:
    mine, theirs = (load_model(each).state_dict() for each in (folder, other))
    return all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_what_is_whole_is_left_alone(study: Experiment) -> None:
    shown = resumed(study)
    assert "was damaged" not in shown
    assert f"best student: {study.folder}/best" in shown


@pytest.mark.parametrize(("name", "damage"), BEST)
def test_a_damaged_best_student_is_copied_again(
    study: Experiment, finished: Experiment, name: str, damage: Callable[[Path], None]
) -> None:
    damage(study.folder / "best" / name)
    assert f"best student: what lay in {study.folder}/best was damaged; it is copied again" in resumed(study)
    assert same(study.folder / "best", finished.folder / "trials" / "trial-0000")
    assert "was damaged" not in resumed(study)


def test_a_best_student_that_is_damaged_everywhere_is_made_again_from_its_checkpoint(
    study: Experiment, finished: Experiment
) -> None:
    own = study.folder / "trials" / "trial-0000"
    before = (own / "model.json").read_text()
    for folder in (study.folder / "best", own):
        flip(folder / "model.safetensors")
    assert f"trial-0000: its model in {own} was damaged; it is made again from its checkpoint" in resumed(study)
    assert same(study.folder / "best", finished.folder / "best")
    assert (own / "model.json").read_text() == before
    for folder in (study.folder / "best", own):
        cut(folder / "model.json")
    cut(own / "checkpoint.pt")
    with pytest.raises(RaykdError, match=r"^trial-0000: its model and its checkpoint in .* are damaged\nraykd replay "):
        resumed(study)


@pytest.mark.parametrize(("name", "damage"), [case for case in BEST if case[1] not in (another, Path.unlink)])
def test_a_damaged_plain_student_is_made_again(
    study: Experiment, finished: Experiment, name: str, damage: Callable[[Path], None]
) -> None:
    plain = study.folder / "plain"
    damage(plain / name)
    assert f"plain student: its model in {plain} was damaged; it is made again" in resumed(study)
    assert is_whole(plain)
    assert same(plain, finished.folder / "plain")
    assert (plain / "model.json").read_text() == (finished.folder / "plain" / "model.json").read_text()


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda file: file.write_bytes(b"\xff{}")])
def test_a_damaged_record_of_the_teacher_is_written_again(study: Experiment, damage: Callable[[Path], None]) -> None:
    record = study.folder / "teacher.json"
    before = record.read_text()
    damage(record)
    with pytest.raises(RaykdError, match="--resume") as refused:
        load_study(study.folder)
    assert str(refused.value).count("\n") <= 1
    resumed(study)
    assert record.read_text() == before


@pytest.mark.parametrize("content", ["[", '{"rows": 3}', "[]", '{"rows": [{"seed": 1}], "seeds": 3}'])
def test_a_damaged_record_of_the_finalists_is_said_to_be(study: Experiment, content: str) -> None:
    (study.folder / "finalists.json").write_text(content)
    with pytest.raises(RaykdError, match=r"finalists.json is damaged: .*\n.*--resume"):
        load_study(study.folder)


@pytest.mark.parametrize("content", ["[", '[{"study": 3}]', '{"trials": []}'])
def test_a_damaged_record_of_a_warm_start_is_said_to_be(study: Experiment, content: str) -> None:
    (study.folder / "warm_start.json").write_text(content)
    with pytest.raises(RaykdError, match=r"warm_start.json is damaged: .*\ndelete it, and "):
        resumed(study)
