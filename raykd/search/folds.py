"""One report of a trial whose students are several: one for each fold of a cross-validated search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from raykd.search.names import METRIC
from raykd.training.messages import Report

MEANS = (METRIC, f"best_{METRIC}")
"""Metrics that are means over the folds; all others are those of the first."""


def of_first_fold(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of the first fold's own student, from those of its trial."""
    own = f"{METRIC}_fold_0"
    if own not in metrics:
        return dict(metrics)
    return {name: value for name, value in metrics.items() if name not in MEANS} | {METRIC: metrics[own]}


def merged(reports: Sequence[Report]) -> Report:
    """The first fold's report with the accuracy of all: the mean, and ``validation_accuracy_fold_K`` of each.

    One student that cannot be trained, or diverges, ends the trial.
    """
    first = reports[0]
    if len(reports) == 1:
        return first
    interrupted = next((report for report in reports if report.interrupted), None)
    if interrupted is not None:
        return replace(interrupted, student=first.student)
    failed = next((report for report in reports if report.failure is not None), None)
    if failed is not None:
        return replace(first, metrics={}, finished=False, failure=f"{failed.student}: {failed.failure}")
    shared = [name for name in MEANS if all(name in report.metrics for report in reports)]
    means = {name: fmean(report.metrics[name] for report in reports) for name in shared}
    each = {f"{METRIC}_fold_{fold}": r.metrics[METRIC] for fold, r in enumerate(reports) if METRIC in r.metrics}
    return replace(
        first,
        metrics={**first.metrics, **means, **each},
        finished=all(report.finished for report in reports),
        diverged=any(report.diverged for report in reports),
    )
