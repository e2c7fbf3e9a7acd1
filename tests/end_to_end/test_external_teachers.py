"""Studies and single runs whose teacher comes from elsewhere, over a real Ray cluster."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import raykd
from raykd.config import Experiment
from raykd.data import evaluation_batches, load_data
from raykd.models import build_model
from raykd.results.study import StudyResult
from raykd.settings_io import override
from raykd.training.folder import description
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

MULTIPLIER_ONLY = "temperature.multiplier: {low: 0.5, high: 4.0, log: true}\n"


def save_teacher(experiment: Experiment, file: Path, seed: int) -> torch.nn.Module:
    """A checkpoint of the experiment's teacher, as RepDistiller writes it."""
    torch.manual_seed(seed)
    network = build_model(experiment.teacher.model, num_classes=10, in_channels=1).eval()
    torch.save({"model": {f"module.{name}": value for name, value in network.state_dict().items()}}, file)
    return network


def save_student(experiment: Experiment, file: Path) -> None:
    """Weights of which students start."""
    torch.manual_seed(7)
    torch.save(build_model(experiment.student, num_classes=10, in_channels=1).state_dict(), file)


def accuracy(experiment: Experiment, answer: Callable[[Any], torch.Tensor]) -> float:
    batches = list(evaluation_batches(load_data(experiment.data), "validation", batch_size=64))
    with torch.no_grad():
        right = sum(int((answer(batch).argmax(1) == batch.labels).sum()) for batch in batches)
    return right / sum(len(batch.labels) for batch in batches)


def resumed(experiment: Experiment) -> Experiment:
    return override(experiment, {"study.resume": True})


def in_cache(experiment: Experiment) -> list[Path]:
    return sorted((experiment.teacher.cache / "teachers").iterdir())


@dataclass
class Finished:
    experiment: Experiment
    network: torch.nn.Module
    result: StudyResult
    shown: str


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory) -> Finished:
    folder = tmp_path_factory.mktemp("adopted")
    experiment = small_experiment(folder, MULTIPLIER_ONLY, trials=3)
    network = save_teacher(experiment, folder / "ckpt.pth", seed=5)
    save_student(experiment, folder / "start.pt")
    # Both as seen from the folder in which the command is run.
    relative = {"teacher.source": "ckpt.pth", "student.weights": "start.pt"}
    experiment = override(experiment, relative | {"teacher.expected_accuracy": 0.95, "training.epochs": 2})
    console, shown = quiet_console()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        result = raykd.tune(experiment, console)
        experiment = experiment.with_absolute_paths()
    return Finished(experiment, network, result, shown.getvalue())


def test_trials_are_taught_by_the_checkpoint(finished):
    (teacher,) = in_cache(finished.experiment)
    assert {path.name for path in teacher.iterdir()} == {"bank", "model.json", "model.safetensors"}
    expected = accuracy(finished.experiment, lambda batch: finished.network(batch.images))
    assert finished.result.teacher["metrics"]["validation_accuracy"] == expected
    assert {trial.state for trial in finished.result.trials} <= {"finished", "stopped early"}
    for trial in finished.result.trials:
        found = torch.load(finished.experiment.folder / "trials" / trial.name / "checkpoint.pt")
        assert all(epoch["metrics"]["distillation"] > 0 for epoch in found["history"])


def test_the_plan_shows_the_preprocessing_and_that_the_teacher_is_worse_than_it_should_be(finished):
    shown = " ".join(finished.shown.split())
    assert re.search(r"preprocessing 8 x 8, mean 0\.\d+, std 0\.\d+; teacher the same", shown)
    accuracy = finished.result.teacher["metrics"]["validation_accuracy"]
    assert f"warning: The given teacher is right about {accuracy:.2%} of the validation images" in shown
    assert "far less than 95.00%, as teacher.expected_accuracy says" in shown


def test_agreement_is_with_the_checkpoint(finished):
    """The best student agrees with the original network as often as its report says."""
    best = finished.experiment.folder / "best"
    student = raykd.load_model(best)
    batches = list(evaluation_batches(load_data(finished.experiment.data), "validation", batch_size=64))
    with torch.no_grad():
        same = [student(each.pixels).argmax(1) == finished.network(each.images).argmax(1) for each in batches]
    assert description(best)["metrics"]["teacher_agreement"] == pytest.approx(torch.cat(same).double().mean().item())


def test_the_table_has_a_teacher_without_epochs(finished):
    table = finished.shown[finished.shown.index("accuracy on the validation split") :]
    (line,) = [line for line in table.splitlines() if line.replace("│", " ").split()[:1] == ["teacher"]]
    accuracy = finished.result.teacher["metrics"]["validation_accuracy"]
    against = f"{100 * (accuracy - finished.result.best.accuracy):+.2f}"
    assert line.replace("│", " ").split() == ["teacher", f"{accuracy:.2%}", against]
    assert f"from {finished.experiment.teacher.source}" in finished.shown


def test_a_study_is_shown_again_when_its_checkpoint_has_gone(finished, tmp_path):
    """The teacher is in the cache: neither the file nor a cluster is needed."""
    source = Path(finished.experiment.teacher.source)
    source.rename(tmp_path / "elsewhere")
    try:
        console, shown = quiet_console()
        result = raykd.tune(resumed(finished.experiment), console)
    finally:
        (tmp_path / "elsewhere").rename(source)
    assert result.trials == finished.result.trials
    assert "classroom" not in shown.getvalue()


def test_a_finished_study_whose_cache_was_emptied_judges_its_teacher_again(finished):
    (teacher,) = in_cache(finished.experiment)
    before = description(teacher)
    shutil.rmtree(teacher)
    result = raykd.tune(resumed(finished.experiment), quiet_console()[0])
    assert result.teacher == before | {"folder": str(teacher)}
    assert result.trials == finished.result.trials
    assert description(teacher) == before


def test_a_study_goes_on_with_the_teacher_it_was_begun_with(finished, tmp_path):
    shutil.copytree(finished.experiment.study.output, tmp_path, dirs_exist_ok=True)
    experiment = override(finished.experiment, {"study.output": tmp_path})
    more = override(resumed(experiment), {"study.trials": 4})
    source = Path(experiment.teacher.source)
    kept = source.read_bytes()
    try:
        save_teacher(experiment, source, seed=6)
        result = raykd.tune(more, quiet_console()[0])
        assert len(result.trials) == 4
        assert result.teacher == finished.result.teacher
        empty = override(more, {"teacher.cache": tmp_path / "cache", "study.trials": 5})
        with pytest.raises(raykd.RaykdError, match=r"^teacher.source .*ckpt.pth: teacher or data are others than"):
            raykd.tune(empty, quiet_console()[0])
    finally:
        source.write_bytes(kept)
    assert in_cache(finished.experiment) == [finished.experiment.teacher.cache / "teachers" / _key(experiment)]


def _key(experiment: Experiment) -> str:
    return (experiment.folder / "teacher.txt").read_text().strip()


def test_a_generous_teacher_is_taught_by_the_adopted_one(finished, tmp_path):
    """As `train_teacher` gives it; then it is found again, and gives hints to a student."""
    changes = {"study.output": tmp_path, "teacher.kind": "generous", "teacher.generous.warmup_epochs": 1}
    experiment = override(finished.experiment, changes)
    console, shown = quiet_console()
    generous = raykd.train_teacher(experiment, console)
    assert generous.metrics["distillation"] > 0
    assert description(generous.folder)["epochs"] == 3
    assert len(in_cache(experiment)) == 2
    assert "taught by the one from" in shown.getvalue()
    hints = {"study.name": "hints", "method.name": "fitnet", "method.student_layers": ("layer1",)}
    hints |= {"method.teacher_layers": ("layer2",)}
    student = raykd.distill(override(experiment, hints), quiet_console()[0])
    assert student.metrics["features"] > 0
    assert len(in_cache(experiment)) == 2


def test_a_teacher_that_cannot_answer_ends_the_run_before_its_folder(cluster, tmp_path):
    experiment = small_experiment(tmp_path)
    file = tmp_path / "forgetful.pt"
    torch.save({"layers.1.weight": torch.zeros(10, 64), "layers.1.bias": torch.zeros(10)}, file)
    teacher = {"teacher.source": str(file), "teacher.model.name": "tests.end_to_end.test_external_teachers:pairs_only"}
    experiment = override(experiment, teacher | {"teacher.model.arguments": {}})
    with pytest.raises(raykd.RaykdError, match="cannot answer the validation split: only pairs") as refused:
        raykd.tune(experiment, quiet_console()[0])
    assert str(refused.value).count("\n") <= 1
    assert not experiment.folder.exists()


class PairsOnly(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) != 2:
            raise ValueError("only pairs")
        return self.layers(images)


def pairs_only(num_classes: int) -> torch.nn.Module:
    """A network that answers as long as nobody asks for more than two images at once."""
    return PairsOnly()
