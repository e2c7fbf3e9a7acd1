"""A search over given teachers, over a real Ray cluster: resumed, replayed and confirmed."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

import raykd
from raykd.config import Experiment
from raykd.places import GIVEN_TEACHERS
from raykd.settings_io import override
from raykd.tracking.address import tracking_uri
from tests.end_to_end.test_external_teachers import in_cache, resumed, save_teacher
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster


def test_each_trial_is_taught_by_the_teacher_it_has_drawn(cluster, tmp_path, monkeypatch):
    experiment = small_experiment(tmp_path, "teacher.source: {choices: [a.pth, b.pth]}", trials=4)
    files = [tmp_path / name for name in ("a.pth", "b.pth")]
    for seed, file in enumerate(files):
        save_teacher(experiment, file, seed)
    # The experiment names none of the two: the first one is its own.
    experiment = override(
        experiment, {"training.epochs": 1, "study.scheduler": "none", "study.finalists": 1, "study.finalist_seeds": 2}
    )
    console, shown = quiet_console()
    monkeypatch.chdir(tmp_path)
    result = raykd.tune(experiment, console)
    first, second = (str(file) for file in files)
    assert {trial.state for trial in result.trials} == {"finished"}
    drawn = {trial.name: trial.values["teacher.source"] for trial in result.trials}
    assert drawn["trial-0000"] == first and set(drawn.values()) == {first, second}
    assert len(in_cache(experiment)) == 2 and all((folder / "bank").is_dir() for folder in in_cache(experiment))
    assert all(name in " ".join(shown.getvalue().split()) for name in ("a.pth, ", "b.pth, "))

    # MLflow tells who taught whom, and the run's folder keeps them, whatever the files hold by now.
    names = json.loads((experiment.folder / GIVEN_TEACHERS).read_text())
    of_source = {key.split(" ")[0]: name for key, name in names.items()}
    client = MlflowClient(tracking_uri(experiment.tracking, experiment.folder))
    ids = [each.experiment_id for each in client.search_experiments()]
    runs = {run.info.run_name: run.data.tags for run in client.search_runs(ids)}
    assert {name: runs[name]["raykd.teacher_key"] for name in drawn} == {
        name: of_source[source] for name, source in drawn.items()
    }
    for file in files:
        file.unlink()
    again = raykd.tune(resumed(experiment), quiet_console()[0])
    assert [trial.values for trial in again.trials] == [trial.values for trial in result.trials]
    other = next(name for name, source in drawn.items() if source == second)
    replayed = raykd.replay(f"{experiment.folder}/{other}", console=quiet_console()[0], output=tmp_path / "replays")
    assert replayed.same

    # A confirm has the winner's teacher for its baselines, too.
    asked = {"study.name": "small", "study.output": experiment.study.output, "confirm.seeds": 2, "cluster.seats": 4}
    confirmed = raykd.confirm(override(Experiment(), asked), quiet_console()[0])
    assert result.best is not None
    assert [row.name for row in confirmed.rows] == ["plain", "kd", "dkd", result.best.name]
    assert [teacher.name for teacher in confirmed.teachers] == ["standard"]
