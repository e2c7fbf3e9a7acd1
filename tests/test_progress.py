"""Progress in a job's log: plain lines, right counts, and nothing redrawn; and in a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from raykd.progress import CountProgress, RunProgress


@pytest.fixture
def log() -> StringIO:
    return StringIO()


def train(progress: RunProgress, name: str, epochs: int) -> None:
    for _ in range(epochs):
        progress.epoch(name, {"validation_accuracy": 0.5})


def test_a_log_has_a_line_for_each_trial_that_ends(log):
    with RunProgress(Console(file=log), "search", epochs=16, trials=2) as progress:
        train(progress, "trial-0000", 8)
        progress.end_trial("trial-0000", "finished", 8, 8, 0.875)
        train(progress, "trial-0001", 2)
        progress.end_trial("trial-0001", "stopped early", 2, 8, 0.9)
    finished, stopped = log.getvalue().splitlines()
    assert finished.startswith(
        "search: trial-0000 finished after 8 of 8 epochs at 87.50% | 8/16 epochs, 1/2 trials, best 87.50% (trial-0000)"
    )
    # The remaining epochs of a stopped trial are taken off the total, and it is not the best.
    assert stopped.startswith(
        "search: trial-0001 stopped early after 2 of 8 epochs at 90.00% | 10/10 epochs, 2/2 trials"
    )
    assert "best 87.50% (trial-0000)" in stopped
    assert "\x1b" not in log.getvalue()
    assert "\r" not in log.getvalue()


def test_a_single_network_shows_its_best_epoch(log, monkeypatch):
    monkeypatch.setattr("raykd.progress.LINE_SECONDS", -1.0)
    with RunProgress(Console(file=log), "standard teacher", epochs=2) as progress:
        progress.epoch("standard teacher", {"validation_accuracy": 0.75})
        progress.epoch("standard teacher", {"validation_accuracy": 0.5})
    first, second = log.getvalue().splitlines()
    assert first.startswith("standard teacher: 75.00% | 1/2 epochs, best 75.00%")
    assert second.startswith("standard teacher: 50.00% | 2/2 epochs, best 75.00%")


def test_a_terminal_has_one_line_that_is_redrawn(log):
    console = Console(file=log, force_terminal=True, width=120)
    with RunProgress(console, "search", epochs=4, trials=1) as progress:
        train(progress, "trial-0000", 4)
        progress.end_trial("trial-0000", "finished", 4, 4, 0.875)
        progress.say("a line above")
    assert "4/4" in log.getvalue()
    assert "a line above\n" in log.getvalue()
    assert "finished after" not in log.getvalue()


def test_things_are_counted_in_a_log_once_they_take_long(log, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with CountProgress(Console(file=log), "MLflow", 1200, "events sent", patience=3.0) as progress:
        for now[0], left in ((1.0, 1100), (4.0, 900), (5.0, 800), (15.0, 100)):
            progress.left(left)
    assert log.getvalue().splitlines() == ["MLflow: 300 of 1,200 events sent", "MLflow: 1,100 of 1,200 events sent"]


def test_things_are_counted_by_a_bar_in_a_terminal(log):
    console = Console(file=log, force_terminal=True, no_color=True, width=80)
    with CountProgress(console, "MLflow", 5, "events sent") as progress:
        progress.left(2)
    assert "3/5 events sent" in log.getvalue()
