"""The plateau rule: on recorded curves of studies, with its reason, and on resume."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from raykd.config import StudySettings
from raykd.search.optuna_study import open_study, remaining_trials
from raykd.search.plateau import ENDED, Plateau
from tests.helpers.searches import Launch

RULE = Plateau(patience=5, images=400)
RISING = [0.70, 0.75, 0.72, 0.80, 0.84, 0.83, 0.88, 0.90, 0.91, 0.94]
FLAT = [0.70, 0.86, 0.85, 0.80, 0.865, 0.861, 0.84, 0.83, 0.87, 0.869]


def study_of(accuracies: list[float], stopped: int = 0, start: int = 0) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for number, accuracy in enumerate(accuracies):
        study.add_trial(create_trial(value=accuracy, user_attrs={"start": "kd"} if number < start else {}))
    for _ in range(stopped):
        study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.99}))
    return study


def ends_after(accuracies: list[float]) -> int | None:
    """After how many trials the rule ends a search with these results."""
    return next((n for n in range(len(accuracies) + 1) if RULE.reason(study_of(accuracies[:n]))), None)


def test_a_search_that_still_improves_goes_on() -> None:
    assert ends_after(RISING) is None


def test_a_search_that_only_scatters_ends_with_its_reason() -> None:
    # The best of the first two is 86 %, whose standard error on 400 images is 1.73 points.
    assert ends_after(FLAT) == 7
    assert RULE.reason(study_of(FLAT)) == (
        "of the last 5 trials none was better than 86.50% by more than 1.71 points, the standard error of 400 images"
    )


def test_stopped_trials_count_as_tried_and_start_points_do_not() -> None:
    assert RULE.reason(study_of([0.8], stopped=4)) is None
    assert RULE.reason(study_of([0.8], stopped=5))
    assert RULE.reason(study_of([0.8] * 6, start=6)) is None
    assert RULE.reason(study_of([0.8] * 6, start=1))


def test_without_a_finished_trial_nothing_ends() -> None:
    assert RULE.reason(study_of([], stopped=20)) is None


def test_an_ended_search_draws_nothing_more_and_finishes_interrupted_trials(tmp_path: Path) -> None:
    first = Launch(tmp_path, trials=20, plateau=Plateau(patience=3, images=100))
    for number, accuracy in enumerate([0.8, 0.81, 0.79]):
        first.suggest(str(number))
        first.teach(str(number), [accuracy])
    first.suggest("running")
    first.suggest("late")
    first.teach("late", [0.8])
    assert first.searcher.suggest("next") == "FINISHED"
    assert "none was better than 80.00%" in first.study.user_attrs[ENDED]
    # Killed here: one trial is open, and nothing else will be drawn.
    again = open_study(tmp_path / "optuna.journal", "study", 0, trials=20)
    assert remaining_trials(again, 20) == 1
    second = Launch(tmp_path, trials=20, plateau=Plateau(patience=3, images=100))
    assert second.suggest("running")["trial"] == 3
    second.teach("running", [0.99])
    assert second.searcher.suggest("next") == "FINISHED"
    assert remaining_trials(second.study, 20) == 0


def test_patience_is_for_studies_of_accuracy_alone() -> None:
    with pytest.raises(ValueError, match=r"study\.patience looks at accuracy alone"):
        StudySettings(objectives=("accuracy", "parameters"), scheduler="none", patience=10)
