"""A search whose record cannot be written: no trial is blamed, the run is told to end, and the next one goes on."""

from __future__ import annotations

from pathlib import Path

from ray.tune.search import Searcher

from tests.helpers.mounts import largest_file
from tests.helpers.searches import Launch, states


def test_a_full_disk_fails_no_trial_and_ends_the_run(tmp_path: Path) -> None:
    faults: list[str] = []
    launch = Launch(tmp_path, trials=3, on_fault=faults.append)
    configs = [launch.suggest("a0"), launch.suggest("a1")]
    launch.searcher.on_trial_result("a0", {"epoch": 1, "validation_accuracy": 0.5})
    journal = tmp_path / "optuna.journal"
    before = journal.read_bytes()
    with largest_file(journal.stat().st_size):
        launch.searcher.on_trial_result("a0", {"epoch": 2, "validation_accuracy": 0.6})
        launch.teach("a0", [0.5, 0.6, 0.7])
        launch.teach("a1", [0.1], failure="no space left on device")
        assert launch.searcher.suggest("a2") == Searcher.FINISHED
    assert journal.read_bytes() == before
    assert len(faults) >= 4
    assert all(f"{journal} cannot be written: File too large" in fault for fault in faults)
    del launch

    assert states(tmp_path) == ["RUNNING", "RUNNING"]
    second = Launch(tmp_path, trials=3)
    assert [second.suggest("b0"), second.suggest("b1")] == configs
    second.teach("b0", [0.5, 0.6, 0.7])
    second.teach("b1", [0.1, 0.2])
    assert second.trial(0).intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}
    assert second.suggest("b2")["trial"] == 2
