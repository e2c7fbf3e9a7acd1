"""Studies over several machines: classrooms on two nodes, nodes that join half-way, and nodes whose plug is pulled."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from raykd.config import Experiment
from raykd.saved_settings import save_experiment
from raykd.settings_io import override
from tests.helpers.histories import histories
from tests.helpers.machines import Machines, refusal
from tests.helpers.node_networks import HURRY
from tests.helpers.paths import ROOT
from tests.helpers.small_study import small_experiment

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(refusal() is not None, reason=str(refusal()))]

SCRIPTS = ROOT / "experiments"
SPACE = "temperature.multiplier: {low: 0.5, high: 4.0, log: true}\n"
PATIENCE = 240.0
"""Seconds within which each step of a story happens, on a busy machine."""


@dataclass
class Drive:
    """A script that runs on the cluster's head."""

    experiment: Experiment
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def folder(self) -> Path:
        return self.experiment.folder

    @property
    def shown(self) -> str:
        return self.log.read_text()

    def until(self, reached: Callable[[], object]) -> None:
        ends = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, f"it was over before:\n{self.shown}"
            assert time.monotonic() < ends, f"it does not come so far:\n{self.shown}"
            time.sleep(0.1)

    def finished(self) -> None:
        assert self.process.wait(PATIENCE) == 0, self.shown

    def epochs(self) -> int:
        """Of all trials."""
        return sum(len(epochs) for epochs in histories(self.folder).values())

    def taught_on(self) -> set[str]:
        """The machines on which students were built for teaching; the head's driver only looks at them."""
        return {path.name.rpartition("-")[0] for path in seen(self.folder).iterdir()} - {"head"}


def seen(folder: Path) -> Path:
    return folder.parent.parent / "seen"


def drive(machines: Machines, script: str, folder: Path, **settings: Any) -> Drive:
    """Start a script with a small experiment below a folder of its own."""
    (folder / "seen").mkdir(parents=True)
    values = {
        "student.name": "tests.helpers.node_networks:noted",
        "student.arguments": {"folder": str(folder / "seen")},
        "study.scheduler": "none",
        "cluster.classrooms": None,
    }
    experiment = override(small_experiment(folder, SPACE), values | settings)
    save_experiment(experiment, folder / "experiment.yaml")
    log = folder / "log.txt"
    process = machines.start(SCRIPTS / script, "--config", str(folder / "experiment.yaml"), log=log)
    return Drive(experiment, process, log)


def slow(folder: Path, seconds: float) -> dict[str, Any]:
    return {"folder": str(folder / "seen"), "seconds": seconds}


def state(run: Drive) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run.folder / "student" / "checkpoint.pt")["state"]["network"]
    return found


def test_two_workers_on_two_nodes_give_the_student_of_two_on_one_node(machines: Machines, tmp_path: Path) -> None:
    """To the bit: the sum of two gradients is the same whichever way they travel, and the processors are the same."""
    cache = {"teacher.cache": tmp_path / "cache", "training.epochs": 2, "cluster.workers": 2}
    one = drive(machines, "distill.py", tmp_path / "one", **cache)
    one.finished()
    assert one.taught_on() == {"one"}
    machines.add("two", cpus=2)
    # A worker takes more than half of a machine.
    two = drive(machines, "distill.py", tmp_path / "two", **cache, **{"cluster.cpus_per_worker": 1.5})
    two.finished()
    machines.leave("two")
    assert two.taught_on() == {"one", "two"}
    ours, theirs = state(one), state(two)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_a_study_whose_folder_a_node_does_not_see_is_refused_before_anything_is_taught(
    machines: Machines, tmp_path: Path
) -> None:
    outputs = tmp_path / "study" / "outputs"
    outputs.mkdir(parents=True)
    machines.add("blind", cpus=2, hidden=outputs)
    study = drive(machines, "tune_dkd.py", tmp_path / "study")
    assert study.process.wait(PATIENCE) == 2
    machines.leave("blind")
    lines = study.shown.splitlines()
    assert len(lines) >= 2, study.shown
    assert re.fullmatch(rf"error: study\.output {outputs}/small is not seen on 10\.77\.0\.\d, where .*:", lines[-2])
    assert "study.output" in lines[-1] and "cluster.storage" in lines[-1]
    assert not list(outputs.iterdir()), "it left something behind"
    assert not study.experiment.teacher.cache.exists()
    assert not study.taught_on()


@pytest.fixture(scope="module")
def story(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """A study that begins on one machine; another joins it half-way, and is unplugged while it teaches.

    Before that one, a machine joins that does not see the study's folder. Until the plug is pulled, the students are so
    slow that the study cannot be over before, however long a machine takes to join.
    """
    folder = tmp_path_factory.mktemp("story") / "study"
    settings = {
        "student.arguments": slow(folder, 0.3),
        "training.epochs": 12,
        "study.trials": 8,
        "cluster.cpus_per_worker": 1.5,
        "cluster.seats": 2,
    }
    study = drive(machines, "tune_dkd.py", folder, **settings)
    study.until(lambda: study.epochs() >= 4)
    assert study.taught_on() == {"one"}
    machines.add("blind", cpus=2, hidden=study.folder.parent)
    study.until(lambda: "no classroom opens on" in study.shown)
    machines.leave("blind")
    machines.add("three", cpus=2)
    study.until(lambda: "three" in study.taught_on())
    before = study.epochs()
    study.until(lambda: study.epochs() >= before + 6)
    machines.kill("three")
    (folder / HURRY).touch()
    study.finished()
    return study


def test_a_node_that_joins_brings_a_classroom_and_more_trials_run_at_once(story: Drive) -> None:
    assert "1 classroom x 1 worker x 2 seats" in story.shown
    assert story.shown.count("is not seen there") == 1
    assert "1 node joined: 1 classroom opens, 4 seats in all" in story.shown
    assert story.taught_on() == {"one", "three"}
    assert most_at_once(recorded(story.folder)) == 4


def test_a_node_that_leaves_takes_nothing_of_the_study_with_it(story: Drive) -> None:
    lost = re.search(r"1 node left: 1 classroom lost, (\d) students? to go on elsewhere", story.shown)
    assert lost, story.shown
    assert 1 <= int(lost[1]) <= 2
    found = histories(story.folder)
    assert {name: len(epochs) for name, epochs in found.items()} == {f"trial-{n:04d}": 12 for n in range(8)}
    assert "8/8 trials" in story.shown
    ends = Counter(re.findall(r"(trial-\d+) finished at", story.shown))
    assert ends == dict.fromkeys(found, 1), "a trial ended twice, or not at all"


def recorded(folder: Path) -> optuna.Study:
    backend = JournalFileBackend(str(folder / "study.journal"))
    return optuna.load_study(study_name="small", storage=JournalStorage(backend))


def most_at_once(study: optuna.Study) -> int:
    """How many trials of a study ran at once, at the most."""
    moments: list[tuple[datetime, int]] = []
    for trial in study.trials:
        assert trial.datetime_start is not None
        assert trial.datetime_complete is not None
        moments += [(trial.datetime_start, 1), (trial.datetime_complete, -1)]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


def test_a_classroom_goes_on_with_fewer_workers_as_nodes_come_and_go_until_the_last_one_goes(
    machines: Machines, tmp_path: Path
) -> None:
    settings = {
        "student.arguments": slow(tmp_path / "study", 0.05),
        "training.epochs": 400,
        "study.trials": 1,
        "cluster.cpus_per_worker": 1.5,
        "cluster.workers": 2,
        "cluster.least_workers": 1,
        "cluster.wait_seconds": 5,
    }
    study = drive(machines, "tune_dkd.py", tmp_path / "study", **settings)
    study.until(lambda: study.epochs() >= 2)
    assert study.taught_on() == {"one"}
    machines.add("four", cpus=2)
    study.until(lambda: "four" in study.taught_on())
    taught = study.epochs()
    study.until(lambda: study.epochs() >= taught + 2)
    machines.kill("four")
    study.until(lambda: study.shown.count("has 1 of 2 workers") == 2)
    taught = study.epochs()
    study.until(lambda: study.epochs() >= taught + 2)
    machines.kill("one")
    assert study.process.wait(PATIENCE) != 0, study.shown
    story = [
        "classroom-0 has 1 of 2 workers until there are more nodes",
        "classroom-0 closes after its epoch, to open with more workers",
        "1 node left: 1 classroom lost, [12] students? to go on elsewhere",
        "classroom-2 has 1 of 2 workers until there are more nodes",
        "no classroom is left: waiting for a node that can carry one, 5 s at the most",
        "nothing is lost: the same command with --resume goes on",
    ]
    assert re.search(".*".join(story), study.shown, re.DOTALL), study.shown
    (epochs,) = histories(study.folder).values()
    assert len(epochs) >= taught + 2
    (trial,) = recorded(study.folder).trials
    assert trial.state == TrialState.RUNNING, "the next launch would not go on with it"
