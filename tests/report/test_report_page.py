"""A study's page, without a cluster: whole, self-contained, and honest about what there is nothing to show of."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from raykd.cli import main
from raykd.config import DataSettings, Experiment, TrackingSettings
from raykd.report.study.facts import facts_of
from raykd.report.study.page import write_page
from raykd.results.load import recorded_study
from raykd.results.pareto import AXES
from raykd.tracking.outbox import FILE
from tests.helpers.finished_models import finished_study
from tests.helpers.image_folders import write_classes

TITLES = (
    "Best students",
    "Best so far",
    "Learning curves",
    "Which settings mattered",
    "Settings side by side",
    "Setting by setting",
    "Right and wrong knowledge over the training",
    "Where the teacher is wrong",
    "When the trials ran",
    "What it cost",
)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would make of a page: titles, figures, and all that it would fetch."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.titles: list[str] = []
        self.figures: list[dict] = []
        self.text = file.read_text(encoding="utf-8")
        self.json = False
        self.feed(self.text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.json = dict(attrs).get("type") == "application/json"
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "data", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if self.open and self.open[-1] == "script" and self.json:
            self.figures.append(json.loads(data))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return finished_study(tmp_path, TrackingSettings())


def add(experiment: Experiment, *trials: optuna.trial.FrozenTrial) -> None:
    recorded_study(experiment.folder).study.add_trials(trials)


def trial(state: TrialState, accuracy: float | None = None, params: dict | None = None, **attributes):
    distributions = {
        "temperature.multiplier": optuna.distributions.FloatDistribution(0.5, 4.0),
        "bias.form": optuna.distributions.CategoricalDistribution(["pair", "swap"]),
        "bias.strength": optuna.distributions.FloatDistribution(0.0, 1.0),
    }
    params = params or {"temperature.multiplier": 1.0}
    return create_trial(
        state=state,
        value=accuracy if state == TrialState.COMPLETE else None,
        params=params,
        distributions={name: distributions[name] for name in params},
        intermediate_values={} if accuracy is None else {1: accuracy / 2, 2: accuracy},
        user_attrs={"seconds": 2.0, **attributes},
    )


def written(experiment: Experiment) -> Page:
    file = experiment.folder / "report" / "report.html"
    write_page(facts_of(experiment.folder), file)
    assert [each.name for each in file.parent.iterdir()] == ["report.html"]
    return Page(file)


def test_the_page_holds_all_sections_and_fetches_nothing(experiment: Experiment) -> None:
    conditional = {"temperature.multiplier": 2.0, "bias.form": "pair", "bias.strength": 0.5}
    for i in range(6):
        params = conditional if i % 2 else {"temperature.multiplier": 1.0 + i / 4, "bias.form": "swap"}
        add(experiment, trial(TrialState.COMPLETE, 0.5 + i / 20, params))
    add(experiment, trial(TrialState.PRUNED, 0.4), trial(TrialState.FAIL, error="no room <left>"))
    page = written(experiment)
    assert tuple(page.titles) == TITLES
    assert all(place.startswith(("#", "data:image/png;base64,")) for place in page.fetched)
    assert "no room &lt;left&gt;" in page.text
    kinds = [trace["type"] for figure in page.figures for trace in figure["data"]]
    assert {"parcoords", "bar", "scatter", "heatmap"} <= set(kinds)
    (dimensions,) = [t["dimensions"] for f in page.figures for t in f["data"] if t["type"] == "parcoords"]
    assert [each["label"] for each in dimensions] == ["accuracy", "multiplier", "form", "strength"]
    assert "-" in dimensions[3]["ticktext"]  # not all trials have a strength
    # Each figure can be saved under a name of its own.
    names = re.findall(r'data-name="([^"]+)"', page.text)
    assert len(names) == len(set(names)) == len(page.figures)
    assert {"small-learning_curves", "small-best_so_far-1", "small-best_so_far-2"} <= set(names)


def test_one_trial_is_enough(experiment: Experiment) -> None:
    page = written(experiment)
    assert tuple(page.titles) == TITLES
    assert "Fewer than two trials have finished" in page.text
    assert "The best student is trial-0000: 90.00 %" in page.text


def test_classes_of_any_name(tmp_path: Path) -> None:
    """Folders whose names are not UTF-8 or not Latin, or look like markup."""
    names = [b"caf\xe9", "\u732b".encode(), b"<script>", b"[bold]", "e\u0301".encode(), b"others"]
    for number, name in enumerate(names):
        write_classes(tmp_path / "images", (os.fsdecode(name),), 10, seed=5000 * number)
    images = DataSettings(name="folder", root=tmp_path / "images", image_size=8, loader_processes=0)
    experiment = finished_study(tmp_path, TrackingSettings(), images=images)
    page = written(experiment)
    (first, _) = (trace for figure in page.figures for trace in figure["data"] if trace["type"] == "heatmap")
    assert first["x"] == first["y"] == ["<script>", "[bold]", r"caf\xe9", "others", "\u00e9", "\u732b"]
    assert page.text.count("label &lt;script&gt;<br>") >= 1
    assert "label <script>" not in page.text


def test_pictures_that_an_earlier_release_drew_are_taken_away(experiment: Experiment) -> None:
    stale = experiment.folder / "report" / "report-importance.png"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    written(experiment)
    assert not stale.exists()


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ((TrialState.FAIL, TrialState.FAIL), "All trials failed, so there is no best student"),
        ((TrialState.RUNNING,), "No trial has finished yet"),
        ((), "No trial has begun"),
    ],
    ids=["failed", "running", "none"],
)
def test_studies_without_a_finished_trial_say_so(experiment: Experiment, states, said: str) -> None:
    (experiment.folder / "study.journal").unlink()
    from raykd.search.optuna_study import open_study

    open_study(experiment.folder / "study.journal", "small", 0).add_trials(
        [trial(state, error="no room") if state == TrialState.FAIL else trial(state) for state in states]
    )
    page = written(experiment)
    assert tuple(page.titles) == TITLES
    assert said in page.text
    # Nothing but when they ran, if any did.
    assert {trace["type"] for figure in page.figures for trace in figure["data"]} <= {"bar"}
    assert len(page.figures) == bool(states)
    assert ("trial-0000, trial-0001: no room" in page.text) == (TrialState.FAIL in states)


def test_best_so_far_is_the_running_maximum_over_trials_and_over_what_they_cost(experiment: Experiment) -> None:
    accuracies = np.random.default_rng(0).uniform(0.3, 0.99, 20)
    add(experiment, *(trial(TrialState.COMPLETE, float(accuracy)) for accuracy in accuracies))
    add(experiment, trial(TrialState.PRUNED, 0.2), trial(TrialState.COMPLETE, 0.25))
    facts = facts_of(experiment.folder)
    expected = [0.9, *accuracies, 0.25]
    over_trials, over_cost = facts.best_over_trials(), facts.best_over_cost()
    assert over_trials.best == list(np.maximum.accumulate(expected))
    assert over_trials.along == [*map(float, range(21)), 22.0]
    assert over_cost.best == over_trials.best
    assert over_cost.along == [1.0 + 2 * i for i in range(21)] + [45.0]  # the stopped one has cost as well
    page = written(experiment)
    line = next(t for f in page.figures for t in f["data"] if t.get("name") == "best so far")
    assert line["y"] == [100 * best for best in over_trials.best]


def test_a_trial_costs_its_share_of_its_classes(experiment: Experiment) -> None:
    events = [
        {"kind": "metrics", "trial": "trial-0000", "step": 1, "metrics": {"seconds": 8.0, "class_size": 4.0}},
        {"kind": "metrics", "trial": "trial-0000", "step": 2, "metrics": {"seconds": 3.0, "class_size": 1.0}},
        {"kind": "metrics", "trial": "trial-0000", "step": 2, "metrics": {"seconds": 99.0, "class_size": 1.0}},
    ]
    lines = "".join(json.dumps(event) + "\n" for event in [{"outbox": "id"}, *events])
    (experiment.folder / FILE).write_text(lines + '{"kind": "metr')
    facts = facts_of(experiment.folder)
    assert facts.seconds(facts.result.trials[0]) == 8 / 4 + 3
    assert list(facts.result.epochs_frame()["seconds"]) == [8.0, 3.0]


def test_a_confirm_takes_the_place_of_the_untouched_test_split(experiment: Experiment) -> None:
    assert "The test split was not touched" in written(experiment).text
    answer = {"mean": 0.0123, "low": 0.01, "high": 0.02, "beats": "yes"}
    unknown = {"mean": -0.001, "low": None, "high": None, "beats": "not shown"}
    found = {
        "seeds": [1, 2, 3],
        "winner": "trial-0000",
        "test_images": 359,
        "answers": {"the best baseline, kd": answer, "the standard teacher": unknown},
    }
    (experiment.folder / "confirm").mkdir()
    (experiment.folder / "confirm" / "result.json").write_text(json.dumps(found))
    text = written(experiment).text
    assert "The test split was not touched" not in text
    assert "the best baseline, kd: beaten (+1.23 points, 95 % interval +1.00 to +2.00)" in text
    assert "the standard teacher: not shown (-0.10 points)" in text


def test_several_goals_show_their_front(experiment: Experiment) -> None:
    from raykd.search.optuna_study import open_study

    (experiment.folder / "study.journal").unlink()
    goals = ("accuracy", "parameters")
    study = open_study(experiment.folder / "study.journal", "small", 0, goals)
    width = optuna.distributions.FloatDistribution(0.25, 1.0)
    for i, (accuracy, size) in enumerate([(0.9, 1000), (0.8, 500), (0.7, 900), (0.6, 300)]):
        study.add_trial(
            create_trial(
                values=[accuracy, size],
                params={"student.arguments.width": 0.25 + i / 8},
                distributions={"student.arguments.width": width},
                intermediate_values={1: accuracy},
                user_attrs={"parameters": size, "best_validation_accuracy": accuracy, "best_epoch": 1},
            )
        )
    from raykd.saved_settings import save_experiment
    from raykd.settings_io import override

    both = override(experiment, {"study.objectives": goals, "student.arguments": {}})
    save_experiment(both, experiment.folder / "experiment.yaml")
    page = written(experiment)
    assert "these in all goals: trial-0000, trial-0001, trial-0003." in page.text
    assert AXES["parameters"] in {
        figure["layout"].get("xaxis", {}).get("title", {}).get("text") for figure in page.figures
    } | {figure["layout"].get("yaxis", {}).get("title", {}).get("text") for figure in page.figures}


def test_the_command_names_its_files_and_ends_errors_in_a_line(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "elsewhere" / "page.html"
    main(["report", str(experiment.folder), "--output", str(file)])
    assert f"report: {file}" in capsys.readouterr().out
    assert not (experiment.folder / "report").exists()
    for words, error in (
        (["report", str(tmp_path / "nowhere")], r"no study '.*nowhere': neither is it a study's folder"),
        (["report", str(experiment.folder), "--output", "/dev/null/page.html"], r"cannot be written: "),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert re.search(error, said)
        assert len(said.strip().splitlines()) <= 2


def test_it_is_logged_to_the_studys_run_and_never_doubled(experiment: Experiment) -> None:
    from mlflow import MlflowClient

    from raykd.report.study.command import report
    from raykd.tracking import Tracker

    tracker = Tracker(experiment.tracking, experiment.folder, "small")
    tracker.start_study({}, {})
    tracker.end_study("finished")
    assert tracker.close() is None
    report(experiment.folder)
    page = report(experiment.folder)
    client = MlflowClient(tracking_uri=f"sqlite:///{experiment.folder / 'mlflow.db'}")
    place = client.get_experiment_by_name("small")
    (run,) = client.search_runs([place.experiment_id])
    logged = [artifact.path for artifact in client.list_artifacts(run.info.run_id, "report")]
    assert logged == [f"report/{page.name}"]
    assert run.info.status == "FINISHED"


def test_a_study_whose_database_is_gone_keeps_its_page(experiment: Experiment, capsys) -> None:
    main(["report", str(experiment.folder)])
    assert "not logged to MLflow" in capsys.readouterr().out
    assert (experiment.folder / "report" / "report.html").exists()
    assert not (experiment.folder / "mlflow.db").exists()
