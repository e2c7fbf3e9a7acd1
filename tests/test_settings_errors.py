"""Errors of the Python API read like those of the command line, and can be sent to other processes."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import raykd
from raykd.errors import RaykdError
from raykd.settings_errors import SettingsError
from raykd.settings_io import override

EXPERIMENT = raykd.Experiment()
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "section's name": (
        lambda: raykd.Experiment(training={"epoch": 3}),
        "unknown setting 'training.epoch' in Experiment: did you mean 'training.epochs'?",
    ),
    "section": (
        lambda: raykd.Experiment(trainig={"epochs": 3}),
        "unknown setting 'trainig' in Experiment: did you mean 'training'?",
    ),
    "without its section": (
        lambda: raykd.Experiment(epochs=3),
        "unknown setting 'epochs' in Experiment: did you mean 'training.epochs'?",
    ),
    "method's section": (
        lambda: raykd.Experiment(method={"dkdd": {}}),
        "unknown setting 'method.dkdd' in Experiment: did you mean 'method.dkd'?",
    ),
    "name": (
        lambda: raykd.TrainingSettings(epoch=3),
        "unknown setting 'epoch' in TrainingSettings: did you mean 'epochs'?",
    ),
    "deep name": (
        lambda: raykd.TeacherSettings(training={"epoch": 3}),
        "unknown setting 'training.epoch' in TeacherSettings: did you mean 'training.epochs'?",
    ),
    "type": (
        lambda: raykd.TrainingSettings(epochs="many"),
        "epochs: Input should be a valid integer, unable to parse string as an integer "
        "(got 'many') in TrainingSettings",
    ),
    "truth for a count": (
        lambda: raykd.TrainingSettings(epochs=True),
        "epochs: it cannot be true in TrainingSettings",
    ),
    "no section": (
        lambda: raykd.Experiment(training=3),
        "training: Input should be names with values or instance of TrainingSettings (got 3) in Experiment",
    ),
    "choice": (
        lambda: raykd.TrainingSettings(optimizer="sgdd"),
        "optimizer: Input should be 'sgd' or 'adamw' (got 'sgdd') in TrainingSettings: did you mean 'sgd'?",
    ),
    "method": (
        lambda: raykd.MethodSettings(name="dkdd"),
        "name in MethodSettings: unknown method 'dkdd': did you mean 'dkd'?",
    ),
    "two": (
        lambda: raykd.TrainingSettings(epochs=0, seed=-1),
        "epochs: Input should be greater than or equal to 1 (got 0) in TrainingSettings\n"
        "seed: Input should be greater than or equal to 0 (got -1) in TrainingSettings",
    ),
    "three": (lambda: raykd.TrainingSettings(epochs=0, seed=-1, momentum=2), "; and 1 more"),
    "together": (
        lambda: raykd.Experiment(objective={"ce_weight": 0, "kd_weight": 0}),
        "objective.ce_weight and objective.kd_weight are both 0: the student would learn nothing (Experiment)",
    ),
    "assigned": (
        lambda: setattr(EXPERIMENT.training, "epochs", 3),
        "epochs in TrainingSettings cannot be changed, as settings are fixed once they are made: "
        "make others, such as settings.model_copy(update={'epochs': ...})",
    ),
    "copied name": (
        lambda: EXPERIMENT.training.model_copy(update={"epoch": 3}),
        "unknown setting 'epoch' in TrainingSettings: did you mean 'epochs'?",
    ),
    "copied value": (
        lambda: raykd.tune(EXPERIMENT.model_copy(update={"training": {"epochs": 0}})),
        "training.epochs: Input should be greater than or equal to 1 (got 0) in Experiment",
    ),
    "retired": (lambda: raykd.Experiment(tracking={"registered_name": "x"}), "raykd register STUDY --name NAME"),
    "no experiment": (
        lambda: raykd.tune({"training": {"epochs": 3}}),  # type: ignore[arg-type]
        "a job needs an experiment, raykd.Experiment(...), not an object of type dict",
    ),
    "model": (lambda: raykd.load_model("nowhere"), "no finished model in nowhere"),
    "study": (lambda: raykd.load_study("nowhere"), "no study 'nowhere'"),
    "loss": (
        lambda: raykd.losses.KD(temprature=4),
        "unknown argument 'temprature' in KD: did you mean 'temperature'?",
    ),
    "loss of a method": (
        lambda: raykd.losses.DKD(non_target_wait=4),
        "unknown argument 'non_target_wait' in DKD: did you mean 'non_target_weight'?",
    ),
    "loss of a paper": (
        lambda: raykd.losses.BiasRectifiedKD(240, repiar="pair"),
        "unknown argument 'repiar' in BiasRectifiedKD: did you mean 'repair'?",
    ),
    "loss of a teacher": (
        lambda: raykd.losses.GenerousTeacherLoss(multiplyer=2),
        "unknown argument 'multiplyer' in GenerousTeacherLoss: did you mean 'multiplier'?",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_told_in_a_line_or_two(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = REFUSED[case]
    with pytest.raises(RaykdError) as caught:
        make()
    text = str(caught.value)
    assert text == message or (message in text and case in ("three", "retired", "model", "study"))
    assert len(text.splitlines()) <= 2
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.rstrip().endswith(text) and "errors.pydantic.dev" not in shown
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value) and str(again) == text and again.exit_code == caught.value.exit_code
    assert list(tmp_path.iterdir()) == []


def test_it_is_the_error_that_pydantic_users_expect() -> None:
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        raykd.TrainingSettings(epoch=3)


def test_python_files_and_the_command_line_say_the_same() -> None:
    with pytest.raises(SettingsError) as here:
        raykd.Experiment(bias={"strength": 2})
    with pytest.raises(SettingsError) as file:
        override(EXPERIMENT, {"bias.strength": 2}, "mine.yaml")
    text = "bias.strength: Input should be less than or equal to 1 (got 2)"
    assert (str(here.value), str(file.value)) == (f"{text} in Experiment", f"{text} in mine.yaml")


def test_copies_are_checked_and_else_as_pydantics() -> None:
    settings = EXPERIMENT.training.model_copy(update={"epochs": 3})
    assert settings == raykd.TrainingSettings(epochs=3)
    assert EXPERIMENT.model_copy() == EXPERIMENT and EXPERIMENT.model_copy(deep=True).study is not EXPERIMENT.study
    assert pickle.loads(pickle.dumps(EXPERIMENT)) == EXPERIMENT
