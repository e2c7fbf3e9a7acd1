"""One report of a trial with a student on each fold."""

from __future__ import annotations

import pytest

from raykd.search.folds import merged, of_first_fold
from raykd.training.messages import Report


def report(fold: int, accuracy: float, **ends: object) -> Report:
    metrics = {"validation_accuracy": accuracy, "best_validation_accuracy": accuracy + 0.1, "loss": float(fold)}
    return Report(f"trial-0000-fold-{fold}", f"ticket-{fold}", 3, metrics, weights=f"digest-{fold}", **ends)


def test_accuracy_is_the_mean_and_all_else_the_first_folds():
    one = merged([report(0, 0.5, finished=True), report(1, 0.7, finished=True)])
    assert one.metrics == pytest.approx(
        {
            "validation_accuracy": 0.6,
            "best_validation_accuracy": 0.7,
            "loss": 0.0,
            "validation_accuracy_fold_0": 0.5,
            "validation_accuracy_fold_1": 0.7,
        }
    )
    assert (one.weights, one.finished, one.diverged, one.epoch) == ("digest-0", True, False, 3)
    assert of_first_fold(one.metrics)["validation_accuracy"] == 0.5
    assert "best_validation_accuracy" not in of_first_fold(one.metrics)


def test_a_single_student_is_left_as_it_is():
    alone = report(0, 0.5, finished=True)
    assert merged([alone]) is alone
    assert of_first_fold(alone.metrics) == alone.metrics


def test_one_student_that_diverges_or_fails_ends_the_trial():
    diverged = merged([report(0, 0.5), report(1, 0.1, diverged=True)])
    assert diverged.diverged and diverged.last and not diverged.finished
    failed = merged([report(0, 0.5, finished=True), Report("trial-0000-fold-1", "t", 3, failure="it broke")])
    assert failed.failure == "trial-0000-fold-1: it broke"
    assert failed.last and not failed.finished and failed.metrics == {}
