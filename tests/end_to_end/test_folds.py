"""A cross-validated search on a real cluster: a trial's accuracy is that of a student on each fold."""

from __future__ import annotations

import re
from statistics import fmean

import pytest

import raykd
from raykd.errors import RaykdError
from raykd.places import fold_name
from raykd.results.load import load_study
from raykd.settings_io import override
from raykd.training.folder import description
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

SETTINGS = {
    "data.folds": 3,
    "study.scheduler": "none",
    "study.finalists": 1,
    "study.finalist_seeds": 3,
    # Fewer than the three that a trial needs, so that the study makes more.
    "cluster.seats": None,
}


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    experiment = override(small_experiment(tmp_path_factory.mktemp("folds"), trials=3), SETTINGS)
    console, shown = quiet_console()
    return experiment, raykd.tune(experiment, console), shown.getvalue()


def models(experiment, place, name):
    """The finished models of all folds."""
    found = [description(experiment.folder / place / fold_name(name, fold)) for fold in range(3)]
    assert None not in found
    return found


def test_a_trials_accuracy_is_the_mean_over_the_folds(finished):
    experiment, result, shown = finished
    assert len(result.trials) == 3
    for trial in result.trials:
        students = models(experiment, "trials", trial.name)
        assert trial.accuracy == pytest.approx(fmean(m["metrics"]["validation_accuracy"] for m in students))
        assert [m["lesson"]["data"]["fold"] for m in students] == [0, 1, 2]
        assert len({m["data"]["fingerprint"] for m in students}) == 3
    # Each learns from a teacher that has not seen its validation images either.
    teachers = [description(folder) for folder in (experiment.teacher.cache / "teachers").iterdir()]
    assert {m["data"]["fingerprint"] for m in teachers} == {m["data"]["fingerprint"] for m in students}
    assert re.search("^folds +3: a trial's accuracy is the mean of as many students", shown, re.MULTILINE)


def test_teacher_and_plain_student_are_means_too(finished):
    experiment, result, _ = finished
    plain = models(experiment, ".", "plain")
    accuracy = fmean(m["metrics"]["validation_accuracy"] for m in plain)
    assert result.plain["metrics"]["validation_accuracy"] == pytest.approx(accuracy)
    again = load_study(experiment.folder)
    assert again.plain == result.plain
    assert again.teacher == result.teacher


def test_finalists_are_taught_on_one_fold_after_the_other(finished):
    experiment, result, _ = finished
    folder = experiment.folder / "students"
    for row in result.finalists.rows:
        students = [description(folder / f"{row.name}-seed-{seed}") for seed in (1001, 1002, 1003)]
        assert [m["lesson"]["data"]["fold"] for m in students] == [0, 1, 2]


def test_the_first_folds_student_is_replayed_to_the_bit(finished):
    experiment, result, _ = finished
    console, shown = quiet_console()
    again = raykd.replay(f"{experiment.folder}/{result.best.name}", console=console)
    assert again.same, shown.getvalue()
    assert again.first_difference is None


def test_a_lost_fold_is_trained_again_on_resume(finished):
    experiment, result, _ = finished
    student = experiment.folder / fold_name("plain", 2)
    weights = description(student)["weights"]
    for file in student.iterdir():
        file.unlink()
    console, _ = quiet_console()
    again = raykd.tune(override(experiment, {"study.resume": True}), console)
    assert description(student)["weights"] == weights
    assert again.plain == result.plain


def test_too_few_seats_are_refused_before_anything_is_trained(tmp_path):
    experiment = override(small_experiment(tmp_path), {"data.folds": 3, "cluster.seats": 2})
    with pytest.raises(RaykdError, match=r"cluster\.seats 2: a trial needs 3 seats at once"):
        raykd.tune(experiment, quiet_console()[0])
    assert not (experiment.folder / "experiment.yaml").exists()
