"""The searcher on a real journal that was interrupted or killed: what survives, and what is drawn next."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from raykd.errors import RaykdError
from raykd.search.optuna_study import open_study
from tests.helpers.paths import ROOT
from tests.helpers.searches import DEFAULTS, SPACE, Launch, states


def test_interrupted_trials_come_first_under_their_numbers_with_their_values(tmp_path: Path) -> None:
    first = Launch(tmp_path, trials=5)
    configs = [first.suggest(f"a{i}") for i in range(4)]
    first.searcher.on_trial_result("a1", {"epoch": 1, "validation_accuracy": 0.5})
    first.teach("a2", [0.1, 0.2])
    del first

    second = Launch(tmp_path, trials=5)
    assert [second.suggest(f"b{i}") for i in range(3)] == [configs[0], configs[1], configs[3]]
    # The history is delivered again, from the start.
    second.teach("b1", [0.5, 0.6, 0.7])
    assert second.trial(1).intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}
    assert second.suggest("b3")["trial"] == 4
    assert second.searcher.suggest("b4") == Searcher.FINISHED
    assert len(second.study.trials) == 5


def test_a_trial_that_died_before_its_values_were_complete_gets_the_others_now(tmp_path: Path) -> None:
    study = open_study(tmp_path / "optuna.journal", "study", 0)
    study.ask()
    study.ask().suggest_float("temperature.multiplier", 0.5, 8.0, log=True)
    recorded = study.trials[1].params["temperature.multiplier"]
    launch = Launch(tmp_path)
    empty, partial = launch.suggest("a"), launch.suggest("b")
    assert (empty["trial"], partial["trial"]) == (0, 1)
    assert partial["temperature.multiplier"] == recorded
    for config in (empty, partial):
        assert {"temperature.multiplier", "bias.form"} <= config.keys()
        assert launch.trial(config.pop("trial")).params == config


def test_the_start_point_survives_a_death_between_asking_and_sampling(tmp_path: Path) -> None:
    first = Launch(tmp_path)
    first.study.enqueue_trial(DEFAULTS)
    first.study.ask()
    assert Launch(tmp_path).suggest("a") == {**DEFAULTS, "trial": 0}


def play(launch: Launch, trials: int, start: int = 0) -> None:
    for i in range(start, start + trials):
        config = launch.suggest(f"t{i}")
        launch.teach(f"t{i}", [1.0 - abs(math.log(config["temperature.multiplier"]) - 1.0)])


def test_a_resumed_study_draws_what_an_uninterrupted_one_draws(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    play(Launch(whole, trials=16), 16)
    for start in (0, 3, 6, 12):
        play(Launch(parts, trials=16), {0: 3, 3: 3, 6: 6, 12: 4}[start], start)
    params = [[t.params for t in open_study(f / "optuna.journal", "study", 0).trials] for f in (whole, parts)]
    assert params[0] == params[1]
    assert len({p["temperature.multiplier"] for p in params[1]}) == 16


def test_another_seed_draws_other_values(tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        launch = Launch(folder, seed=seed)
        launch.suggest("a")
        drawn.append(launch.suggest("b")["temperature.multiplier"])
    assert drawn[0] != drawn[1]


def test_tpe_learns(tmp_path: Path) -> None:
    """Random drawing would leave the last trials as far from the optimum as the first ones."""
    early, late = 0.0, 0.0
    space = "{low: 0.5, high: 8.0, log: true, default: 1.0}"
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        launch = Launch(folder, trials=30, seed=seed, text=f"temperature.multiplier: {space}")
        play(launch, 30)
        distances = [abs(math.log(trial.params["temperature.multiplier"]) - 1.0) for trial in launch.study.trials]
        early += sum(distances[:7])  # trials // 4 are drawn at random
        late += sum(distances[-7:])
    assert late < 0.7 * early


def test_a_changed_space_is_refused(tmp_path: Path) -> None:
    Launch(tmp_path)
    with pytest.raises(RaykdError) as caught:
        Launch(tmp_path, text=SPACE.replace("high: 8.0", "high: 4.0"))
    assert str(caught.value) == (
        "study 'study' was begun with another search space (temperature.multiplier changed):\n"
        f"restore {tmp_path / 'space.yaml'}, or begin a new study with --study.name"
    )


def test_a_snapshot_of_tune_keeps_its_trials(tmp_path: Path) -> None:
    first = Launch(tmp_path, trials=5)
    for name in ("a", "b", "c"):
        first.suggest(name)
    first.searcher.save_to_dir(str(tmp_path), "session")
    first.teach("b", [0.5])
    late = first.suggest("d")  # after the snapshot: Tune does not know it

    second = Launch(tmp_path, trials=5)
    second.searcher.restore_from_dir(str(tmp_path))
    second.teach("a", [0.3, 0.4])
    second.teach("b", [0.9])  # told already
    assert second.suggest("e") == late
    assert second.suggest("f")["trial"] == 4
    second.teach("c", [0.1])
    assert [(t.state.name, t.value) for t in second.study.trials[:3]] == [
        ("COMPLETE", 0.4),
        ("COMPLETE", 0.5),
        ("COMPLETE", 0.1),
    ]
    assert second.searcher.suggest("g") == Searcher.FINISHED


def test_a_journal_torn_by_a_crash_is_mended(tmp_path: Path) -> None:
    first = Launch(tmp_path)
    config = first.suggest("a")
    with (tmp_path / "optuna.journal").open("ab") as journal:
        journal.write(b'{"op_code": 8, "tri')
    second = Launch(tmp_path)
    assert second.suggest("b") == config
    second.teach("b", [0.5])
    assert states(tmp_path) == ["COMPLETE"]


def test_the_journals_folder_is_made_and_its_path_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = open_study(Path("outputs/study/optuna.journal"), "study", 0)
    monkeypatch.chdir("/")
    study.ask()
    assert len(open_study(tmp_path / "outputs/study/optuna.journal", "study", 0).trials) == 1


DRIVER = """
import json, sys, time
from pathlib import Path
from tests.helpers.searches import Launch
launch = Launch(Path({folder!r}), trials=6)
configs = [launch.suggest(f"a{{i}}") for i in range(3)]
launch.teach("a0", [0.2, 0.4])
launch.searcher.on_trial_result("a1", {{"epoch": 1, "validation_accuracy": 0.7}})
print(json.dumps(configs), flush=True)
time.sleep(60)
"""


def test_a_killed_driver_loses_nothing(tmp_path: Path) -> None:
    script = DRIVER.format(folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert driver.stdout is not None
    configs = json.loads(driver.stdout.readline())
    driver.send_signal(signal.SIGKILL)
    driver.wait()

    launch = Launch(tmp_path, trials=6)
    assert [launch.suggest("b1"), launch.suggest("b2")] == configs[1:]
    launch.teach("b1", [0.7, 0.8])
    launch.teach("b2", [0.1], finished=False)
    for i in range(3, 6):
        assert launch.suggest(f"b{i}")["trial"] == i
    assert launch.searcher.suggest("b6") == Searcher.FINISHED
    assert [trial.value for trial in launch.study.trials[:3]] == [0.4, 0.8, 0.1]
    assert launch.trial(1).intermediate_values == {1: 0.7, 2: 0.8}
