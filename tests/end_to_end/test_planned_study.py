"""The planner's simulation beside a real study: what does not depend on this machine's speed must be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import raykd
from raykd.planning.costs import costs_of_reports
from raykd.planning.simulation import Search, simulate
from raykd.search.trial import trial_folder
from raykd.training.folder import CHECKPOINT
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster


def history(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a student's epochs."""
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    return [report["metrics"] for report in content["history"]]


def test_asha_stops_the_same_trials_after_the_same_epochs(cluster: str, tmp_path: Path) -> None:
    # One seat: the order of events does not depend on speed.
    experiment = small_experiment(
        tmp_path,
        trials=8,
        training=raykd.TrainingSettings(epochs=6, batch_size=30, decay="cosine"),
        cluster=raykd.ClusterSettings(classrooms=1, seats=1, threads_per_worker=1),
        bank=raykd.BankSettings(budget=1e-9),
    )
    console, shown = quiet_console()
    result = raykd.tune(experiment, console)
    assert shown.getvalue().count("is full (bank.budget)") == 1, "a classroom's notice reaches the user, once"
    told = [history(Path(trial_folder(experiment, number))) for number in range(8)]
    assert [trial.epochs for trial in result.trials] == [len(each) for each in told]
    metrics = [epoch for trial in told for epoch in trial]
    costs = costs_of_reports(metrics)

    def seen(trial: int, epoch: int) -> float:
        accuracy: float = told[trial][epoch - 1]["validation_accuracy"]
        return accuracy

    search = Search(experiment.study, epochs=6, classrooms=1, seats=1)
    simulated = simulate(search, costs, accuracy=seen)
    assert simulated.epochs == [len(each) for each in told]
    assert 6 in simulated.epochs
    assert min(simulated.epochs) < 6, "ASHA stopped nobody, so nothing was tried"
    # The plain student is not among the reports.
    learning = simulated.spent["own"] + simulated.spent["shared"] - 6 * sum(costs.of_class(1, plain=1))
    assert learning == pytest.approx(sum(epoch["seconds"] for epoch in metrics))
