"""A study whose students, teachers and Ray's files lie in an object store, killed, resumed, and cut off from it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import raykd
from raykd.config import Experiment
from raykd.saved_settings import save_experiment
from raykd.search.trial import trial_folder
from raykd.settings_io import override
from raykd.storage import below, name_of
from raykd.study.tune import tune
from raykd.training.folder import description
from tests.helpers.histories import history
from tests.helpers.paths import ROOT
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

TRIALS = 3
RECORD = {"experiment.yaml", "study.journal", "teacher.json", "driver.lock", "trials", "best", "plain"}


def histories(experiment: Experiment) -> dict[int, list[dict[str, Any]]]:
    """The metrics of each trial's epochs, as its checkpoint has them."""
    found = {number: history(trial_folder(experiment, number)) for number in range(TRIALS)}
    return {number: epochs for number, epochs in found.items() if epochs is not None}


def epochs(experiment: Experiment) -> int:
    return sum(map(len, histories(experiment).values()))


def test_a_study_in_an_object_store_is_killed_resumed_and_cut_off(cluster, tmp_path, object_store):
    storage = object_store.folder()
    changes = {"cluster.storage": storage, "training.epochs": 8, "study.scheduler": "none"}
    experiment = override(small_experiment(tmp_path, trials=TRIALS), changes)
    settings = tmp_path / "experiment.yaml"
    save_experiment(experiment, settings)
    script = ROOT / "experiments" / "tune_dkd.py"
    command = [sys.executable, str(script), "--config", str(settings), "--cluster.address", cluster]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while epochs(experiment) < 4:
        assert driver.poll() is None, driver.stdout.read()
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    before = histories(experiment)

    again, outcome = override(experiment, {"study.resume": True}), []
    study = threading.Thread(target=lambda: outcome.append(tune(again, quiet_console()[0])))
    study.start()
    while epochs(experiment) < sum(map(len, before.values())) + 3:
        assert study.is_alive(), "the study was over before the fault"
        time.sleep(0.05)
    with object_store.cut():
        time.sleep(8)  # longer than pyarrow by itself tries again
    study.join(300)
    assert outcome, "the study did not come to an end"

    (result,) = outcome
    assert [trial.state for trial in result.trials] == ["finished"] * TRIALS
    after = histories(experiment)
    assert all(len(after[number]) == 8 for number in range(TRIALS))
    for number, known in before.items():
        assert after[number][: len(known)] == known, f"trial {number} did an epoch again"
    best = int(result.best.name.removeprefix("trial-"))
    left = {path.name for path in experiment.folder.iterdir() if not path.name.startswith("mlflow")}
    assert left == RECORD
    assert {file.name for file in experiment.folder.glob("trials/*/*")} == {"experiment.yaml"}
    assert not experiment.teacher.cache.exists()
    assert description(experiment.folder / "best") == description(trial_folder(experiment, best))
    assert raykd.load_model(below(storage, "studies", "small", "plain"))
    assert raykd.load_study(experiment.folder) == result
    teachers = f"{name_of(storage)}/teachers/"
    (teacher,) = {key.split("/")[2] for key in object_store.contents() if key.startswith(teachers)}
    assert result.teacher["folder"] == below(storage, "teachers", teacher)

    moved = override(again, {"cluster.storage": object_store.folder()})
    with pytest.raises(raykd.RaykdError, match=r"^cluster\.storage is .*, but the study was begun with"):
        tune(moved, quiet_console()[0])
    elsewhere = override(experiment, {"study.output": tmp_path / "elsewhere"})
    with pytest.raises(raykd.RaykdError, match="holds a study whose record is not in"):
        tune(elsewhere, quiet_console()[0])
