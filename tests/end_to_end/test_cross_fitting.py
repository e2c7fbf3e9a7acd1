"""A study whose teachers each lack a fold, on a real cluster: searched, replayed to the bit, and confirmed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import raykd
from raykd.config import Experiment
from raykd.report.study.beyond import beyond_teacher
from raykd.report.study.facts import facts_of
from raykd.results.confirm import ConfirmResult
from raykd.results.study import StudyResult
from raykd.settings_io import override
from raykd.training.folder import description
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

SPACE = """
teacher.kind: {choices: [standard, generous]}
objective.kd_weight: {low: 0.5, high: 1.0}
start:
  standard: {teacher.kind: standard, objective.kd_weight: 1.0}
  generous: {teacher.kind: generous, objective.kd_weight: 1.0}
"""


@dataclass
class Studied:
    experiment: Experiment
    result: StudyResult
    shown: str


@pytest.fixture(scope="module")
def studied(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Studied:
    folder = tmp_path_factory.mktemp("cross-fitting")
    settings = {"teacher.folds": 3, "teacher.generous.warmup_epochs": 1, "study.start": ("standard", "generous")}
    experiment = override(small_experiment(folder, space=SPACE, trials=2), settings)
    console, shown = quiet_console()
    return Studied(experiment, raykd.tune(experiment, console), shown.getvalue())


@pytest.fixture(scope="module")
def confirmed(studied: Studied) -> ConfirmResult:
    study = studied.experiment.study
    named = {"study.name": study.name, "study.output": study.output, "teacher.cache": studied.experiment.teacher.cache}
    console, _ = quiet_console()
    return raykd.confirm(override(Experiment(), {**named, "confirm.seeds": 2}), console)


def test_students_are_taught_by_three_teachers_as_one(studied: Studied) -> None:
    assert [trial.state for trial in studied.result.trials] == ["finished", "finished"]
    folders = [*(studied.experiment.teacher.cache / "teachers").iterdir()]
    models = [description(folder) or {} for folder in folders]
    as_one = [model for model in models if "members" in model]
    assert sorted(len(model["members"]) for model in as_one) == [3, 3]
    # Three standard ones, three generous ones taught by them, and both together.
    assert len(models) == 8
    left_out = [model["lesson"]["data"]["left_out"] for model in models if "members" not in model]
    assert sorted(left_out) == [[0, 3], [0, 3], [1, 3], [1, 3], [2, 3], [2, 3]]
    assert "3 of them, each trained without a fold of the images" in studied.shown
    assert "standard teacher without fold 2 of 3" in studied.shown
    assert studied.result.teacher["members"] in [model["members"] for model in as_one]


def test_the_report_says_where_the_teachers_are_wrong(studied: Studied) -> None:
    facts = facts_of(studied.experiment.folder)
    counts = beyond_teacher(facts).student
    accuracy = facts.result.teacher["metrics"]["validation_accuracy"]
    assert counts.teacher_wrong == round((1 - accuracy) * counts.images)


def test_a_trial_is_replayed_to_the_bit(studied: Studied) -> None:
    for trial in studied.result.trials:
        console, _ = quiet_console()
        replayed = raykd.replay(str(studied.experiment.folder / trial.name), console=console)
        assert replayed.same, trial.name


def test_a_confirm_has_teachers_of_its_own_folds(studied: Studied, confirmed: ConfirmResult) -> None:
    assert "standard" in [teacher.name for teacher in confirmed.teachers]
    for teacher in confirmed.teachers:
        assert len(teacher.model["members"]) == 3
        assert teacher.model["data"]["split_sizes"].keys() == {"train", "test"}
    assert all(len(row.students) == 2 for row in confirmed.rows)
