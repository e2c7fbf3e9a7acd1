"""A study of two goals on a real cluster, kept in SQLite and warm-started from nothing but its own folder."""

from __future__ import annotations

from pathlib import Path

import mlflow
import optuna
import pytest

import raykd
from raykd import StudySettings, TrainingSettings
from raykd.models import parameter_count
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

SPACE = """
student.name: {choices: [resnet8, resnet14]}
student.arguments.width: {choices: [0.25, 0.5]}
"""


def test_accuracy_against_parameters(tmp_path: Path, cluster: str) -> None:
    experiment = small_experiment(tmp_path, SPACE, training=TrainingSettings(epochs=2, batch_size=30, decay="cosine"))
    study = StudySettings(
        name="sizes",
        output=tmp_path / "outputs",
        space=experiment.study.space,
        trials=4,
        objectives=("accuracy", "parameters"),
        storage=f"sqlite:///{tmp_path}/studies.db",
    )
    console, shown = quiet_console()
    result = raykd.tune(experiment.model_copy(update={"study": study}), console)

    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path}/studies.db")
    record = optuna.load_study(study_name="sizes", storage=f"sqlite:///{tmp_path}/studies.db")
    assert (summary.study_name, summary.n_trials) == ("sizes", 4)
    assert [trial.state for trial in result.trials] == ["finished"] * 4
    assert [trial.values for trial in record.trials] == [[t.accuracy, t.parameters] for t in result.trials]
    assert {f"trial-{trial.number:04d}" for trial in record.best_trials} == {trial.name for trial in result.pareto}

    for trial in result.pareto:
        student = raykd.load_model(result.folder / "pareto" / trial.name)
        assert parameter_count(student.network) == trial.parameters
    assert result.best == result.pareto[0]
    assert "Pareto front" in shown.getvalue()
    assert (result.folder / "pareto.html").exists()

    client = mlflow.MlflowClient(f"sqlite:///{result.folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("sizes").experiment_id])
    logged = {run.info.run_name: run.data.metrics.get("parameters") for run in runs}
    assert {trial.name: trial.parameters for trial in result.trials}.items() <= logged.items()

    loaded = raykd.load_study(result.folder)
    assert loaded.pareto == result.pareto
