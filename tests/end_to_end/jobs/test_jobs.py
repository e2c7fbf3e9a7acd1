"""Studies as submitted jobs, on a cluster with token authentication, through the HTTP API and the command line."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import raykd
from tests.helpers.histories import histories
from tests.helpers.jobs_head import Head

pytestmark = pytest.mark.cluster

EPOCHS = 24
STUDY = shlex.split(
    "python experiments/tune_dkd.py --study.name job --data.train-images 300 --data.name digits "
    "--teacher.model.name resnet8 --teacher.training.epochs 2 --student.arguments width=0.25 "
    f"--training.epochs {EPOCHS} --study.trials 6 --study.scheduler none --study.finalist-seeds 3 "
    "--cluster.classrooms 1 --cluster.seats 2 --cluster.threads-per-worker 1"
)
WRONG_TOKEN = {"RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_AUTH_TOKEN_PATH": ""}
OURS = ("tune_dkd.py", "RayTrainWorker", "TrainController", "StudentTrial", "Broker", "PlacementGroupCleaner")
"""Words in the command lines of a study's processes: driver, classrooms, trials and what belongs to them."""


@dataclass
class Stopped:
    status: str
    logs: str
    seconds: float
    histories: dict[str, list[Any]]
    left: list[str]


def shown(head: Head, job: str) -> dict[str, Any]:
    (line,) = [line for line in head.ask("show", job).stdout.splitlines() if line.startswith("JOB ")]
    found: dict[str, Any] = json.loads(line.removeprefix("JOB "))
    return found


def ours(head: Head) -> list[str]:
    return [line for line in head.processes() if any(word in line for word in OURS)]


@pytest.fixture(scope="module")
def study(head) -> Path:
    """Where a job's results go without --study.output: not below the job's folder, which Ray deletes."""
    return head.home / "raykd" / "outputs" / "job"


@pytest.fixture(scope="module")
def stopped(head, study) -> Stopped:
    """A job that was stopped after its first trial, in the middle of others."""
    submitted = head.ask("submit", "first", shlex.join(STUDY))
    assert submitted.returncode == 0, submitted.stdout
    ends = time.monotonic() + 600
    while EPOCHS not in map(len, histories(study).values()):
        assert time.monotonic() < ends, shown(head, "first")
        time.sleep(0.1)
    asked = time.monotonic()
    head.ask("stop", "first")
    seconds = time.monotonic() - asked
    ends = time.monotonic() + 20
    while (
        left := [line for line in head.processes() if any(word in line for word in OURS)]
    ) and time.monotonic() < ends:
        time.sleep(0.2)
    job = shown(head, "first")
    return Stopped(job["status"], job["logs"], seconds, histories(study), left)


@pytest.fixture(scope="module")
def resumed(head, stopped) -> tuple[int, str]:
    """The same study, submitted again from the command line and followed to its end: exit code and log."""
    command = ["ray", "job", "submit", "--submission-id", "second", "--working-dir", ".", "--", *STUDY, "--resume"]
    done = head.run(*command, RAY_ADDRESS="http://127.0.0.1:8265")
    return done.returncode, done.stdout


def test_a_stopped_job_ends_in_order(stopped):
    assert stopped.status == "STOPPED"
    assert "stopping: all epochs reached are kept" in stopped.logs
    assert "interrupted; nothing is lost: the same command with --resume goes on" in stopped.logs
    assert "Traceback" not in stopped.logs
    assert stopped.seconds < 55, "it was killed, as it did not end by itself"


def test_nothing_of_a_stopped_job_stays_behind(stopped):
    assert stopped.left == []


def test_a_resubmitted_study_goes_on_and_does_nothing_twice(head, study, stopped, resumed):
    code, log = resumed
    assert code == 0, log
    assert 0 < len(stopped.histories) < 6 or min(map(len, stopped.histories.values())) < EPOCHS
    after = histories(study)
    assert {name: len(epochs) for name, epochs in after.items()} == {f"trial-{n:04}": EPOCHS for n in range(6)}
    for name, epochs in stopped.histories.items():
        assert after[name][: len(epochs)] == epochs, f"{name} did an epoch again"
    for name in after:
        # The second job tells the end of a trial whose last epoch was kept, but not told, when the first was stopped.
        assert (stopped.logs + log).count(f"{name} finished at") <= 1
    assert raykd.load_model(study / "best")
    assert (study / "mlflow.db").exists()


def test_a_jobs_log_has_whole_lines_only(study, head, resumed):
    log = shown(head, "second")["logs"]
    assert any(line.split() == ["results", str(study)] for line in log.splitlines())
    assert f"best student: {study / 'best'}" in log
    assert "6 trials: 6 finished" in log
    for redrawn in ("\x1b", "\r", "\b", "…"):
        assert redrawn not in log


def test_a_study_that_cannot_go_on_fails_its_job_with_the_reason(head, study, stopped):
    command = ["ray", "job", "submit", "--submission-id", "again", "--working-dir", ".", "--", *STUDY]
    done = head.run(*command, RAY_ADDRESS="http://127.0.0.1:8265")
    assert done.returncode == 1
    job = shown(head, "again")
    assert job["status"] == "FAILED"
    reason = f"error: study 'job' exists in {study}: add --resume to go on with it, or name another with --study.name"
    assert reason in job["message"]
    assert "Traceback" not in job["message"]


def test_a_wrong_token_submits_nothing(head):
    refused = head.ask("submit", "intruder", "true", **WRONG_TOKEN)
    assert refused.returncode != 0
    assert "token" in refused.stdout
    assert "intruder" not in json.loads(head.ask("list").stdout.splitlines()[-1])


@pytest.mark.parametrize("token", [WRONG_TOKEN, {"RAY_AUTH_TOKEN_PATH": "/nowhere"}], ids=["wrong", "missing"])
def test_a_driver_without_the_token_is_refused_in_two_lines(head, tmp_path, token):
    elsewhere = ["--study.output", str(tmp_path), "--cluster.address", "127.0.0.1:6379"]
    refused = head.run(*STUDY, *elsewhere, **token)
    assert refused.returncode == 2
    first, second = refused.stdout.splitlines()
    assert first == "error: 127.0.0.1:6379 refuses this driver: its token is missing or wrong"
    assert "RAY_AUTH_TOKEN" in second


def test_a_driver_hears_at_once_that_nothing_answers(head, tmp_path):
    done = head.run(*STUDY, "--study.output", str(tmp_path), "--cluster.address", "127.0.0.1:6999")
    assert done.returncode == 2
    first, _ = done.stdout.splitlines()
    assert first.startswith("error: nothing answers at 127.0.0.1:6999")
