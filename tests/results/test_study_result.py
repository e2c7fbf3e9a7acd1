"""What a study says of its own figures."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest

from raykd.config import TrackingSettings
from raykd.results.study import StudyResult
from raykd.tracking.address import address_of
from tests.helpers.small_study import quiet_console


def shown(folder: Path, images: int, accuracy: float, folds: int | None = None) -> str:
    """What a study of one finished trial prints."""
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    study._storage.set_trial_intermediate_value(trial._trial_id, 1, accuracy)
    for name, value in {"epoch": 1, "best_validation_accuracy": accuracy, "best_epoch": 1}.items():
        trial.set_user_attr(name, value)
    study.tell(trial, accuracy)
    teacher = {
        "metrics": {"validation_accuracy": 0.9},
        "epochs": 1,
        "data": {"split_sizes": {"validation": images}},
        "lesson": {"data": {"folds": folds}},
    }
    console, text = quiet_console()
    StudyResult.of(folder, study, teacher, None, address_of(TrackingSettings(), folder)).show(console)
    return text.getvalue()


@pytest.mark.parametrize("folds", [None, 4])
def test_a_small_validation_split_is_named_with_its_standard_error(tmp_path, folds):
    text = shown(tmp_path, 100, 0.9, folds)
    images = 100 * (folds or 1)
    error = 100 * math.sqrt(0.9 * 0.1 / images)
    assert f"Of {images} validation images, 90.00% has a standard error of {error:.2f} points." in text
    assert ("data.folds" in text) == (folds is None)


def test_of_a_large_one_nothing_is_said(tmp_path):
    assert "standard error" not in shown(tmp_path, 10_000, 0.9)
