"""What stands behind a study's figures: counts against plain loops, names, and frames against Optuna's records."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

import raykd
from raykd.config import TrackingSettings
from raykd.report.study.beyond import MOST_CLASSES, OTHERS, Counts, beyond_teacher, confusion
from raykd.report.study.curves import importances, short_names
from raykd.report.study.facts import facts_of
from raykd.report.study.figures import timeline
from raykd.report.study.setting_figures import one_slice, parallel_coordinates
from raykd.report.study.sizes import network_size
from raykd.report.study.ticks import MOST, ticks, whole_step
from raykd.results.load import recorded_study
from raykd.study.distill import ModelResult
from raykd.training.folder import description
from tests.helpers.finished_models import finished_study

ANSWERS = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40)


@given(ANSWERS)
def test_counts_against_a_loop(answers: list[tuple[int, int, int]]) -> None:
    expected = dict.fromkeys(("teacher_wrong", "beyond", "same", "other", "lost"), 0)
    for label, teacher, student in answers:
        if teacher == label:
            expected["lost"] += student != label
            continue
        expected["teacher_wrong"] += 1
        kind = "beyond" if student == label else "same" if student == teacher else "other"
        expected[kind] += 1
    found = Counts.of(*np.array(answers).T)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.images == len(answers)


def test_confusion_against_a_loop() -> None:
    labels, answers = np.random.default_rng(0).integers(0, 5, (2, 200))
    expected = np.zeros((5, 5), dtype=int)
    for label, answer in zip(labels, answers, strict=True):
        expected[label, answer] += 1
    found = confusion(list("abcde"), labels, answers)
    assert (found.counts == expected).all()
    assert found.classes == list("abcde")


def test_of_many_classes_the_most_confused_are_shown_and_none_is_lost() -> None:
    labels = np.concatenate([np.repeat(np.arange(50, 50 + MOST_CLASSES), 5), np.arange(40)])
    answers = np.concatenate([np.repeat(np.arange(50, 50 + MOST_CLASSES), 5), np.arange(1, 41)])
    found = confusion([f"class {i}" for i in range(100)], labels, answers)
    assert found.classes == [*(f"class {50 + i}" for i in range(MOST_CLASSES)), OTHERS]
    assert found.counts.diagonal().tolist() == [5] * MOST_CLASSES + [40]
    assert found.counts.sum() == len(labels)


def test_short_names_tell_settings_apart() -> None:
    names = ["schedule.weight", "objective.kd_weight", "method.at.weight", "temperature.multiplier"]
    assert short_names(names) == {
        "schedule.weight": "schedule.weight",
        "objective.kd_weight": "kd_weight",
        "method.at.weight": "at.weight",
        "temperature.multiplier": "multiplier",
    }


def test_the_models_of_a_study_answer_as_they_do_alone(tmp_path: Path) -> None:
    from raykd.data import load_data

    experiment = finished_study(tmp_path, TrackingSettings())
    facts = facts_of(experiment.folder)
    found = beyond_teacher(facts)
    split = load_data(experiment.data).split("validation")
    pixels = split.images.float() / 255
    with torch.no_grad():
        teacher = raykd.load_model(facts.result.teacher["folder"])(pixels).argmax(1)
        student = raykd.load_model(facts.result.best_folder)(pixels).argmax(1)
    wrong = teacher != split.labels
    assert found.student.teacher_wrong == int(wrong.sum()) > 0
    assert found.student.beyond == int((wrong & (student == split.labels)).sum())
    assert found.student.same == int((wrong & (student == teacher)).sum())
    assert found.of_teacher.counts.sum() == found.of_student.counts.sum() == int(wrong.sum())
    assert found.of_teacher.counts.trace() == 0
    assert found.plain is None
    assert all(picture.source.startswith("data:image/png;base64,") for picture in found.pictures)


def test_a_frame_has_what_optuna_has(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    recorded = recorded_study(experiment.folder)
    choice = optuna.distributions.CategoricalDistribution(["pair", "swap"])
    recorded.study.add_trials(
        [
            create_trial(
                value=0.5,
                params={"bias.form": "swap"},
                distributions={"bias.form": choice},
                intermediate_values={3: 0.5},
            ),
            create_trial(state=TrialState.FAIL, user_attrs={"error": "no room"}),
        ]
    )
    frame = raykd.load_study(experiment.folder).trials_frame()
    optunas = recorded.study.trials_dataframe()
    assert list(frame.index) == list(optunas["number"])
    assert frame["accuracy"].iloc[:2].tolist() == [trial.value for trial in recorded.study.trials[:2]] == [0.9, 0.5]
    for name in ("temperature.multiplier", "bias.form"):
        ours, theirs = frame[name], optunas[f"params_{name}"]
        assert (ours.isna() == theirs.isna()).all()
        assert (ours.dropna() == theirs.dropna()).all()
    assert frame["state"].tolist() == ["finished", "finished", "failed"]
    assert frame["epochs"].tolist() == [1, 3, 0]
    assert frame["error"].iloc[2] == "no room"


def test_results_show_themselves_in_a_few_lines(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    result = raykd.load_study(experiment.folder)
    lines = repr(result).splitlines()
    assert "1 trials: 1 finished" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [["teacher", "95.00%"], ["trial-0000", "90.00%"]]
    assert "temperature.multiplier=1.5" in lines[2]
    assert result._repr_html_().count("<tr>") == 3
    model = ModelResult("<folder>", {"loss": 0.25, "accuracy": 0.5})
    assert repr(model).splitlines()[1:] == ["  accuracy  0.5", "  loss      0.25"]
    assert "&lt;folder&gt;" in model._repr_html_()


@pytest.mark.parametrize("missing", ["data", "best"])
def test_what_is_not_at_hand_is_said(tmp_path: Path, missing: str) -> None:
    from raykd.report.study.sections import sections
    from raykd.saved_settings import save_experiment
    from raykd.settings_io import override

    experiment = finished_study(tmp_path, TrackingSettings())
    if missing == "data":
        elsewhere = override(experiment, {"data.name": "cifar10", "data.root": "/nowhere"})
        save_experiment(elsewhere, experiment.folder / "experiment.yaml")
    else:
        (experiment.folder / "best" / "model.json").unlink()
    (section,) = [each for each in sections(facts_of(experiment.folder)) if each.key == "beyond_teacher"]
    assert section.paragraphs[0].startswith("Not known: ")
    assert not section.plots


@given(st.floats(1e-7, 1e5), st.floats(1.001, 1e6), st.booleans())
def test_ticks_are_where_they_say_and_no_two_say_the_same(low: float, factor: float, logarithmic: bool) -> None:
    found = ticks(low, low * factor, logarithmic)
    assert 1 <= len(found) <= 2 * MOST
    assert len(set(found.values())) == len(found)
    for place, text in found.items():
        assert low * (1 - 1e-6) <= place <= low * factor * (1 + 1e-6)
        assert float(text) == pytest.approx(place, rel=1e-5, abs=1e-12)


def test_ticks_of_a_learning_rate_are_written_out() -> None:
    assert list(ticks(0.0125, 0.2, logarithmic=True).values()) == ["0.02", "0.05", "0.1", "0.2"]
    assert list(ticks(0.0, 1.0).values()) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [whole_step(1, epochs) for epochs in (1, 4, 8, 16, 100, 240)] == [1, 1, 2, 5, 20, 50]


def test_stopped_trials_are_marked_and_start_points_outside_the_space_have_their_values(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    study = recorded_study(experiment.folder).study
    rate = {"training.learning_rate": optuna.distributions.FloatDistribution(0.01, 0.2, log=True)}
    for state, accuracy, value in (("COMPLETE", 0.5, 0.05), ("COMPLETE", 0.8, 0.1), ("PRUNED", 0.3, 0.02)):
        study.add_trial(
            create_trial(
                state=TrialState[state],
                value=accuracy if state == "COMPLETE" else None,
                params={"training.learning_rate": value},
                distributions=rate,
                intermediate_values={1: accuracy},
            )
        )
    outside = {"outside": True, "start_settings": {"training.learning_rate": 0.4}}
    study.add_trial(create_trial(value=0.7, intermediate_values={1: 0.7}, user_attrs=outside))
    facts = facts_of(experiment.folder)
    finished, stopped = one_slice(facts, "training.learning_rate").data
    assert list(finished.x) == [0.05, 0.1, 0.4]
    assert list(finished.y) == [50.0, 80.0, 70.0]
    assert list(stopped.x) == [0.02]
    assert stopped.y[0] < 50.0 and "stopped after epoch 1 at 30.00%" in stopped.text[0]
    layout = one_slice(facts, "training.learning_rate").layout.xaxis
    assert layout.range[0] < math.log10(0.01) and layout.range[1] > math.log10(0.4)
    names = ["training.learning_rate", "temperature.multiplier"]
    (parallel,) = parallel_coordinates(facts, names, {name: name for name in names}).data
    accuracy, learning_rate, multiplier = parallel.dimensions
    assert accuracy.ticktext[accuracy.tickvals.index(accuracy["values"][0])] == "stopped"
    assert [10**place for place in learning_rate["values"]][:1] == pytest.approx([0.02])
    assert multiplier.ticktext[0] == "-"
    assert sorted(accuracy["values"][1:]) == [50.0, 70.0, 80.0, 90.0]
    lowest = parallel.line.cmin
    assert [colour == lowest for colour in parallel.line.color] == [True, False, False, False, False]


def test_a_timeline_is_what_the_record_says(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    study = recorded_study(experiment.folder).study
    began = study.trials[0].datetime_start
    assert began is not None
    for state, begin, end in (("PRUNED", 30, 90), ("COMPLETE", 60, 200), ("RUNNING", 100, None)):
        trial = create_trial(state=TrialState[state], value=0.5 if state == "COMPLETE" else None)
        trial.datetime_start = began + timedelta(seconds=begin)
        trial.datetime_complete = None if end is None else began + timedelta(seconds=end)
        study.add_trial(trial)
    spans = facts_of(experiment.folder).timeline()
    assert [(span.number, span.state, span.begin, span.end) for span in spans[1:]] == [
        (1, "stopped early", 30.0, 90.0),
        (2, "finished", 60.0, 200.0),
        (3, "interrupted", 100.0, 200.0),
    ]
    figure = timeline(spans)
    assert figure.layout.xaxis.title.text == "minutes since the first trial began"
    (bar,) = [trace for trace in figure.data if trace.name == "stopped early"]
    assert (bar.base[0], bar.x[0]) == (0.5, 1.0)


def test_a_network_is_as_large_as_it_is(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    model = description(experiment.folder / "best")
    assert model is not None
    size, network = network_size(model), raykd.load_model(experiment.folder / "best")
    assert size is not None
    assert size.parameters == sum(each.numel() for each in network.parameters())
    weights_and_places = []
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(
                lambda layer, _, out: weights_and_places.append(layer.weight.numel() * out[0, 0].numel())
            )
    network(torch.zeros(1, 1, 8, 8))
    assert size.operations == 2 * sum(weights_and_places)
    assert network_size({**model, "lesson": {**model["lesson"], "student": None}}) is None


def test_a_start_point_outside_the_space_does_not_hide_which_settings_mattered(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path, TrackingSettings())
    study = recorded_study(experiment.folder).study
    multiplier = {"temperature.multiplier": optuna.distributions.FloatDistribution(0.5, 4.0)}
    for value in (1.0, 2.0, 3.0):
        params = {"temperature.multiplier": value}
        study.add_trial(create_trial(value=value / 4, params=params, distributions=multiplier))
    study.add_trial(create_trial(value=0.7, user_attrs={"outside": True}))
    found = importances(facts_of(experiment.folder))
    assert found is not None
    assert found.names == ["temperature.multiplier"] and found.trials == 4
    assert all(sum(values.values()) == pytest.approx(1.0) for values in found.by_evaluator.values())
