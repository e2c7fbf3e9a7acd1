"""What stands behind a study's figures: counts against plain loops, names, and frames against Optuna's records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

import raykd
from raykd.config import TrackingSettings
from raykd.report.study.beyond import MOST_CLASSES, OTHERS, Counts, beyond_teacher, confusion
from raykd.report.study.curves import short_names
from raykd.report.study.facts import facts_of
from raykd.results.load import recorded_study
from raykd.study.distill import ModelResult
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
    import torch

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
