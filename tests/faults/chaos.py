"""A study on a machine where something breaks every few seconds, and what its books say at the end.

Whoever runs it does nothing but what raykd says: start the same command again with --resume, and deliver what waits for
MLflow.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import raykd
from raykd.cli import main
from raykd.config import Experiment
from raykd.results.load import load_study, recorded_study
from raykd.results.study import StudyResult
from raykd.saved_settings import save_experiment
from raykd.settings_io import override
from raykd.tracking.outbox import logged_epochs
from tests.faults.faults import FAULTS, Fault, Scene
from tests.helpers.mlflow_places import Server
from tests.helpers.mounts import small_disk
from tests.helpers.paths import ROOT
from tests.helpers.small_study import quiet_console, small_experiment

DISK = 64
"""Size of the disk that fills up, in MiB."""
EPOCHS = 5
TRIALS_EACH = 6
"""Trials for each fault; as many more are asked for whenever a quick machine is through before all faults."""
PAUSE = (1, 8)
"""Epochs, of all trials together, between two faults, at least and at most; a few more pass until they are seen."""
PROGRESS_SECONDS = 300.0
"""How long a study may take after a fault until an epoch ends."""
LAUNCH_SECONDS = 900.0
"""How long a launch may take once nothing breaks any more."""
MOST_LAUNCHES = 6
"""In a row without a fault between them."""
SPACE = "temperature.multiplier: {low: 0.5, high: 4.0, log: true}\n"


@dataclass
class Chaos:
    """What was done to a study.

    - folder: holds everything
    - disk: below it, with the study and the teachers; None: no disk of its own could be mounted there
    - injected: the faults in their order, with the second when each was over
    - launches: exit codes of the study's commands, and the last words of those that failed
    """

    folder: Path
    experiment: Experiment
    server: Server
    disk: Path | None
    injected: list[tuple[float, str]] = field(default_factory=list)
    launches: list[tuple[int, str]] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """How often each fault was injected."""
        return Counter(name for _, name in self.injected)


@contextmanager
def prepared(folder: Path, faults: int) -> Iterator[Chaos]:
    """A small study on a disk of its own, which logs to a server of MLflow."""
    with ExitStack() as stack:
        disk: Path | None = folder / "disk"
        try:
            stack.enter_context(small_disk(folder / "disk", DISK))
        except PermissionError as error:
            print(f"no disk fills up: {error}")
            disk = None
        server = Server(folder)
        server.start()
        stack.callback(server.kill)
        yield Chaos(folder, _experiment(folder / "disk", faults, server.uri), server, disk)


def _experiment(folder: Path, faults: int, tracking: str) -> Experiment:
    settings = {
        "training.epochs": EPOCHS,
        "study.scheduler": "none",
        "cluster.classrooms": 2,
        "cluster.lease_seconds": 5.0,
        "cluster.restarts": 3,
        "tracking.uri": tracking,
        "tracking.timeout_seconds": 5.0,
    }
    small = small_experiment(folder, SPACE, trials=TRIALS_EACH * faults)
    return override(small, settings).with_absolute_paths()


def unleash(chaos: Chaos, faults: int, seed: int, address: str) -> None:
    """Run the study, inject so many faults while it runs, and start it again as often as it ends with an error.

    Raises:
        AssertionError: a launch ends with a traceback, does not say how to go on, hangs, or makes no progress.
    """
    dice = random.Random(seed)
    began = time.monotonic()
    driver = _launch(chaos, address)
    scene = Scene(dice, chaos.experiment.folder, chaos.experiment.teacher.cache, chaos.disk, chaos.server, driver)
    left: list[Fault] = []
    while len(chaos.injected) < faults:
        _wait_for_progress(chaos, scene, address, dice.randint(*PAUSE))
        # Every fault once, before any comes again; those that find nothing to break, such as no best student, later.
        done = next((fault for fault in left if fault(scene)), None)
        if done is None:
            left += dice.sample(FAULTS, len(FAULTS))
        else:
            left.remove(done)
            chaos.injected.append((round(time.monotonic() - began, 1), done.__name__))
            print(f"{chaos.injected[-1][0]:7.1f} s  {done.__name__}", flush=True)
    scene.wait_until_mended()
    for _ in range(MOST_LAUNCHES):
        if _ended(chaos, scene.driver, LAUNCH_SECONDS) == 0:
            # The study may have been over before MLflow came back.
            main(["sync", str(chaos.experiment.folder)])
            return
        scene.driver = _launch(chaos, address)
    raise AssertionError(f"the study does not come to an end: {chaos.launches}")


def books(chaos: Chaos) -> StudyResult:
    """Check that nothing is lost, doubled or wrong, and return the study's result.

    Raises:
        AssertionError: something is.
    """
    result = load_study(chaos.experiment.folder)
    wanted = chaos.experiment.study.trials
    assert [trial.state for trial in result.trials] == ["finished"] * wanted
    numbers = [trial.number for trial in recorded_study(chaos.experiment.folder).study.get_trials(deepcopy=False)]
    assert numbers == list(range(wanted))
    for epochs in logged_epochs(chaos.experiment.folder).values():
        assert sorted(epochs) == list(range(1, len(epochs) + 1))
    _check_mlflow(chaos, result)
    _check_best(chaos, result)
    return result


def replays(chaos: Chaos, names: list[str], address: str) -> Iterator[tuple[str, bool]]:
    """Which trials have exactly the weights of an undisturbed training of the same settings and views."""
    for name in names:
        found = raykd.replay(
            str(chaos.experiment.folder / name), settings={"cluster.address": address}, console=quiet_console()[0]
        )
        yield name, found.same


def _launch(chaos: Chaos, address: str) -> subprocess.Popen[str]:
    settings = chaos.folder / "experiment.yaml"
    save_experiment(chaos.experiment, settings)
    command = [sys.executable, str(ROOT / "experiments" / "tune_dkd.py"), "--config", str(settings)]
    command += ["--cluster.address", address, "--resume"]
    # Not on the disk that fills up.
    with (chaos.folder / f"launch-{len(chaos.launches)}.txt").open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, cwd=chaos.folder)


def _ended(chaos: Chaos, driver: subprocess.Popen[str], seconds: float) -> int:
    """Wait for a launch, put down how it ended, and check its last words."""
    code = driver.wait(seconds)
    shown = (chaos.folder / f"launch-{len(chaos.launches)}.txt").read_text()
    chaos.launches.append((code, shown.strip().rpartition("\n")[2]))
    assert "Traceback" not in shown, shown
    # A killed process says nothing.
    assert code in (0, -9) or "--resume" in shown, shown
    return code


def _wait_for_progress(chaos: Chaos, scene: Scene, address: str, epochs: int) -> None:
    """Until so many epochs have ended; a launch that ended is followed by the next one."""
    wanted = _epochs(chaos) + epochs
    end = time.monotonic() + PROGRESS_SECONDS
    while _epochs(chaos) < wanted:
        if scene.driver.poll() is not None:
            if _ended(chaos, scene.driver, 0) == 0:
                trials = chaos.experiment.study.trials + TRIALS_EACH
                chaos.experiment = override(chaos.experiment, {"study.trials": trials})
            scene.driver = _launch(chaos, address)
            end = time.monotonic() + PROGRESS_SECONDS
        assert time.monotonic() < end, f"no progress for {PROGRESS_SECONDS:g} s after {chaos.injected[-1:]}"
        time.sleep(0.2)


def _epochs(chaos: Chaos) -> int:
    """How many epochs of trials have been logged."""
    try:
        return sum(len(epochs) for epochs in logged_epochs(chaos.experiment.folder).values())
    except FileNotFoundError:
        return 0


def _check_mlflow(chaos: Chaos, result: StudyResult) -> None:
    """Every trial once, with every epoch once."""
    from mlflow import MlflowClient

    client = MlflowClient(chaos.server.uri)
    experiment = client.get_experiment_by_name(chaos.experiment.study.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.`raykd.trial` LIKE 'trial-%'", max_results=5000)
    assert sorted(run.data.tags["raykd.trial"] for run in found) == [trial.name for trial in result.trials]
    for run in found:
        assert run.info.status == "FINISHED", run.data.tags["raykd.trial"]
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "validation_accuracy")]
        assert steps == list(range(1, EPOCHS + 1)), run.data.tags["raykd.trial"]


def _check_best(chaos: Chaos, result: StudyResult) -> None:
    """The best student loads, and is as accurate as the study says."""
    from raykd.data import load_data
    from raykd.training.answers import answers_to

    assert result.best is not None
    labels, answers = answers_to(load_data(chaos.experiment.data), "validation", {"best": result.best_folder})
    assert abs(float((answers["best"] == labels).mean()) - result.best.accuracy) < 1e-6
