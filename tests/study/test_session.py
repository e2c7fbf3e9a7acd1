"""One session for every job: one process a folder, a cluster only for what is left, and nothing half-begun."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import raykd
from raykd.config import Experiment, StudySettings
from raykd.data import load_data
from raykd.errors import FAILED, REFUSED, RaykdError
from raykd.places import LOCK, SETTINGS, STUDENT, shared_folder
from raykd.settings_io import override
from raykd.storage import below
from raykd.study.folder import begin_folder, locked_folder, with_lasting_paths
from raykd.study.session import open_session, untrained
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers
from tests.helpers.small_study import small_experiment
from tests.helpers.specs import train

NOBODY = "127.0.0.1:1"
"""An address at which no cluster answers."""
JOBS: dict[str, Callable[..., Any]] = {
    "tune": raykd.tune,
    "distill": raykd.distill,
    "train_teacher": raykd.train_teacher,
    "compare_teachers": raykd.compare_teachers,
}
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A small one, on a machine without a cluster."""
    monkeypatch.setenv("RAY_ADDRESS", NOBODY)
    return with_lasting_paths(small_experiment(tmp_path))


def trained(experiment: Experiment, *, student: bool) -> list[TrainRequest]:
    """What a single run trains, trained beforehand, in a folder that was begun."""
    fingerprint = load_data(experiment.data).info.fingerprint
    requests = list(teachers(experiment, fingerprint))
    if student:
        folder = below(shared_folder(experiment), STUDENT)
        spec = experiment.training_spec()
        requests.append(TrainRequest(STUDENT, spec, requests[-1].folder, folder, data=fingerprint))
    begin_folder(experiment)
    for request in requests:
        assert train(request)[-1].finished
    return requests


@each_job
def test_a_folder_in_use_is_refused_by_every_job(job: Callable[..., Any], experiment: Experiment) -> None:
    with locked_folder(experiment), pytest.raises(RaykdError, match=r"is being run by another process.*driver\.lock"):
        job(experiment)


@each_job
def test_a_cluster_that_does_not_answer_leaves_nothing_behind(job: Callable[..., Any], experiment: Experiment) -> None:
    with pytest.raises(RaykdError, match=f"nothing answers at {NOBODY}") as refused:
        job(experiment)
    assert refused.value.exit_code == REFUSED
    assert not experiment.study.output.exists()


@pytest.mark.parametrize("kind", ["distill", "train_teacher"])
def test_what_is_finished_needs_no_cluster(kind: str, experiment: Experiment) -> None:
    requests = trained(experiment, student=kind == "distill")
    assert untrained(requests) == []
    output = StringIO()
    console = Console(file=output, width=200)
    result = JOBS[kind](override(experiment, {"study.resume": True}), console)
    assert str(result.folder) == requests[-1].folder
    assert result.metrics["validation_accuracy"] > 0
    assert f"% on the validation split ({requests[-1].folder})" in output.getvalue()
    assert (experiment.folder / "mlflow.db").exists()


def test_what_is_not_finished_needs_one(experiment: Experiment) -> None:
    trained(experiment, student=False)
    with pytest.raises(RaykdError, match=f"nothing answers at {NOBODY}"):
        raykd.distill(override(experiment, {"study.resume": True}))


def test_a_session_writes_nothing_before_the_run_begins(experiment: Experiment) -> None:
    with open_session(experiment, "distill", Console(quiet=True)) as session:
        assert [file.name for file in session.folder.iterdir()] == [LOCK]
        assert session.plan is None
        session.begin({"data.name": "digits"})
        assert (session.folder / SETTINGS).exists()
    with pytest.raises(RaykdError, match="add --resume to go on with it"), open_session(experiment, "distill"):
        pass


def interrupted(experiment: Experiment) -> None:
    with open_session(experiment, "distill", Console(quiet=True)) as session:
        session.begin({})
        raise KeyboardInterrupt


def test_an_interrupted_session_ends_resumable(experiment: Experiment) -> None:
    with pytest.raises(RaykdError, match="nothing is lost: the same command with --resume goes on") as ended:
        interrupted(experiment)
    assert ended.value.exit_code == FAILED
    resumed = override(experiment, {"study.resume": True})
    with open_session(resumed, "distill", Console(quiet=True)) as session:
        assert session.folder == experiment.folder


def test_studies_in_other_folders_do_not_wait_for_each_other(experiment: Experiment) -> None:
    other = experiment.model_copy(update={"study": StudySettings(name="other", output=experiment.study.output)})
    with locked_folder(experiment), open_session(other, "distill", Console(quiet=True)) as session:
        assert session.folder.name == "other"
