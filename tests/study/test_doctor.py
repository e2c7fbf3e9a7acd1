"""`raykd doctor`: what works, what does not, and what to do about it, without beginning anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from raykd.cli import main
from tests.helpers.mlflow_places import Server, free_port


def findings(shown: str) -> dict[str, str]:
    """The mark of each subject."""
    marks = ("ok ", "no ")
    return {line[6:21].strip(): line[:2] for line in shown.splitlines() if line.startswith(marks)}


def test_a_healthy_machine(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["doctor", "--tracking.uri", server.uri, "--teacher.cache", "cache", "--cluster.address", "local"])
    found = findings(capsys.readouterr().out)
    subjects = "versions python devices temporary files cluster data study.output teacher.cache MLflow"
    assert set(found.values()) == {"ok"}
    assert " ".join(found) == subjects
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_work_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nobody = f"127.0.0.1:{free_port()}"
    words = ["doctor", "--cluster.address", nobody, "--tracking.uri", f"http://{nobody}", "--data.name", "folder"]
    words += ["--data.root", "absent", "--cluster.storage", str(tmp_path / "absent")]
    words += ["--study.storage", f"sqlite:///{tmp_path}/absent/optuna.db", "--teacher.cache", "cache"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    found = findings(shown)
    wrong = {subject for subject, mark in found.items() if mark == "no"}
    assert wrong == {"cluster", "data", "cluster.storage", "study.storage", "MLflow"}
    text = " ".join(shown.split())
    for advice in (
        "check cluster.address",
        "Start the MLflow server",
        "mount the share",
        "create it, or correct",
    ):
        assert advice in text
    assert list(tmp_path.iterdir()) == []
