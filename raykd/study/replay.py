"""One trial again, alone, from its MLflow run: the same to the bit on a CPU, or what differs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from raykd.cluster.client import StudentClient, awaited, check_trained
from raykd.config import Experiment, StudySettings
from raykd.errors import RaykdError, shortened
from raykd.places import LOCK
from raykd.progress import RunProgress
from raykd.results.load import recorded_study
from raykd.saved_settings import moved
from raykd.search.folds import of_first_fold
from raykd.settings_io import experiment_from_yaml, override
from raykd.study.mlflow_log import Provenance
from raykd.study.preflight import Role
from raykd.study.session import Session, open_session
from raykd.study.train import train_teachers
from raykd.tracking.address import tracking_uri
from raykd.tracking.code import raykd_code
from raykd.tracking.moved_artifacts import artifacts_follow
from raykd.tracking.trial_record import RecordedTrial, is_run_id, recorded_trial
from raykd.training.folder import description
from raykd.training.messages import Report, TrainRequest
from raykd.training.teacher_cache import teachers

REPLAYS = "replay"
"""Folder of the replays below a study's."""

CIRCUMSTANCES = frozenset({"view", "class_size", "seconds", "images_per_second"})
"""Metrics of the class, which say nothing about a student's weights."""


class Difference(NamedTuple):
    """Something that is not as it was."""

    what: str
    recorded: str
    here: str


@dataclass(frozen=True)
class ReplayResult:
    """How a replay came out.

    - trial: what was replayed
    - folder: the student's, with its last checkpoint
    - weights: digest after the last epoch
    - metrics: of each epoch
    - circumstances: that are not as they were
    """

    trial: RecordedTrial
    folder: Path
    weights: str | None
    metrics: tuple[Mapping[str, float], ...]
    circumstances: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether it is the same to the bit; by its metrics where no digest was recorded."""
        if self.trial.weights is not None:
            return self.weights == self.trial.weights
        return self.first_difference is None and len(self.metrics) == len(self.trial.epochs)

    @property
    def first_difference(self) -> Difference | None:
        """The first epoch's first metric that came out otherwise."""
        return next(self._differing(), None)

    def _differing(self) -> Iterator[Difference]:
        # With `data.folds` the first fold's student is replayed.
        recorded = map(of_first_fold, self.trial.epochs)
        for epoch, (before, now) in enumerate(zip(recorded, self.metrics, strict=False), start=1):
            for name in sorted(before.keys() & now.keys() - CIRCUMSTANCES):
                # NaN, as diverged students have it, is not equal to itself.
                if before[name] != now[name] and not (before[name] != before[name] and now[name] != now[name]):
                    yield Difference(f"{name}, epoch {epoch}", f"{before[name]:.9g}", f"{now[name]:.9g}")

    def show(self, console: Console) -> None:
        """Print whether it came out the same, and what is not as it was."""
        trial = self.trial
        verdict = "the same to the bit" if self.same else "NOT the same"
        if self.same and trial.weights is None:
            verdict = "all metrics are the same (the weights' digest was not recorded)"
        console.print(
            f"{trial.name} of {trial.study}, {trial.state} after {len(trial.epochs)} epochs: {verdict}", highlight=False
        )
        table = Table("", "recorded", "here", title_justify="left")
        if trial.weights is not None and not self.same:
            table.add_row("weights", trial.weights[:16], (self.weights or "none")[:16])
        if (first := self.first_difference) is not None:
            table.add_row(*first)
        for difference in self.circumstances:
            table.add_row(*difference)
        if table.row_count:
            console.print(table, highlight=False)
        console.print(f"replayed student: {self.folder}", soft_wrap=True, highlight=False)


def replay(
    run: str,
    uri: str | None = None,
    output: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> ReplayResult:
    """Train a trial's student again, alone, as its MLflow run says: settings, views, teacher, workers and threads.

    Args:
        run: Id of the trial's run, or ``STUDY/trial-0007`` with the study's folder or its name below `output`.
        uri: MLflow's tracking URI. None: the study's own; needed with a run's id.
        output: Holds one folder a study; the replay goes into ``replay/TRIAL/`` of it. None: `study.output`'s default.
        settings: Settings that are others here, such as `data.root`, `teacher.cache` or `cluster.address`.
        console: Where progress and result are shown. None: standard output.

    Raises:
        RaykdError: there is no such run, its record is not whole, or this machine lacks what it needs.
    """
    output = (output or StudySettings().output).expanduser().absolute()
    trial, study_folder = _recorded(run, uri, output)
    experiment = override(_experiment(trial, study_folder / REPLAYS), dict(settings or {}), "raykd replay")
    roles: tuple[Role, ...] = ("teacher", "student") if experiment.training_spec().needs_teacher else ("student",)
    with open_session(experiment, "replay", console, roles=roles, rehearsed=False) as session:
        _empty(session.folder)
        session.open_cluster(students=1)
        with session.classrooms() as classrooms:
            teacher, differing = _teacher(trial, session, classrooms.broker)
            student = TrainRequest(
                student=trial.name,
                spec=session.experiment.training_spec(),
                teacher=teacher,
                folder=str(session.folder / "student"),
                views=trial.views,
                stacks=trial.stacks,
                data=session.data.fingerprint,
            )
            reports = _train(classrooms.broker, student, len(trial.epochs), session.console)
        result = ReplayResult(
            trial=trial,
            folder=Path(student.folder),
            weights=reports[-1].weights,
            metrics=tuple(report.metrics for report in reports),
            circumstances=(*differing, *_circumstances(trial, session.provenance)),
        )
        result.show(session.console)
        return result


def _recorded(run: str, uri: str | None, output: Path) -> tuple[RecordedTrial, Path]:
    """The trial, and its study's folder here."""
    if is_run_id(run):
        if uri is None:
            raise RaykdError(f"run {run}: name the MLflow server or database that has it with --uri")
        trial = recorded_trial(uri, run=run)
        return trial, output / trial.study
    study, _, name = run.rstrip("/").rpartition("/")
    study = study.removesuffix("/trials")
    if not study:
        raise RaykdError(f"{run!r} names no trial: give STUDY/trial-0007, or the id of an MLflow run with --uri")
    recorded = recorded_study(study, output)
    if uri is None:
        uri = tracking_uri(recorded.experiment.tracking, recorded.folder)
        artifacts_follow(uri, recorded.folder / LOCK)
    return recorded_trial(uri, study=recorded.experiment.study.name, trial=name), recorded.folder


def _experiment(trial: RecordedTrial, output: Path) -> Experiment:
    """The trial's settings, for one classroom like the one it sat in, with a folder of its own below `output`."""
    experiment = experiment_from_yaml(trial.settings, Experiment(), f"the settings of {trial.name}")
    experiment = moved(experiment, output.parent)
    cpu = trial.versions["device"] == "cpu"
    return override(
        experiment,
        {
            "study.name": trial.name,
            "study.output": output,
            "study.storage": None,
            "study.resume": False,
            "teacher.trust": False,
            "tracking.uri": None,
            "cluster.address": None,
            "cluster.classrooms": 1,
            "cluster.workers": trial.versions["workers"],
            "cluster.least_workers": None,
            "cluster.seats": 1,
            "cluster.threads_per_worker": trial.versions["threads"],
            "cluster.gpus_per_worker": 0 if cpu else experiment.cluster.gpus_per_worker,
            "cluster.storage": None,
            # The teacher's answers to whole views and to single batches differ by rounding.
            "bank.mode": "on" if trial.banked else "off",
        },
        "raykd replay",
    )


def _empty(folder: Path) -> None:
    """Delete what an earlier replay left: this one begins at the beginning."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _circumstances(trial: RecordedTrial, provenance: Provenance) -> list[Difference]:
    """What besides the settings is not as it was, the likeliest cause first."""
    now = {"data": provenance.data.fingerprint, **provenance.versions, "code": raykd_code()}
    before = {"data": trial.fingerprint, **trial.versions, "code": trial.code}
    order = ["data", "device", "workers", "threads", "torch", "raykd", "code"]
    names = [*order, *sorted(before.keys() - set(order))]
    return [
        Difference(name, _short(before.get(name)), _short(now.get(name)))
        for name in names
        if before.get(name) != now.get(name)
    ]


def _short(value: object) -> str:
    return shortened(value, 24)


def _teacher(trial: RecordedTrial, session: Session, broker: Any) -> tuple[str | None, list[Difference]]:
    """The teacher's folder, trained here if need be, and how it differs from the recorded one."""
    experiment, fingerprint, recorded = session.experiment, session.data.fingerprint, trial.teacher_weights
    if not experiment.training_spec().needs_teacher:
        return None, []
    chain = teachers(experiment, fingerprint)
    cached = description(chain[-1].folder)
    if cached is not None and None not in (recorded, cached.get("weights")) and cached["weights"] != recorded:
        session.console.print(
            "the cache has another teacher than the recorded one; it is trained again", highlight=False
        )
        chain = teachers(override(experiment, {"teacher.cache": session.folder / "cache"}), fingerprint)
    weights = train_teachers(broker, chain, session.console).get("weights")
    differs = recorded is not None and weights is not None and weights != recorded
    return chain[-1].folder, [Difference("teacher's weights", _short(recorded), _short(weights))] if differs else []


def _train(broker: Any, student: TrainRequest, epochs: int, console: Console) -> list[Report]:
    """The student's reports, as many as its trial had."""
    reports: list[Report] = []
    client = StudentClient(broker, student)
    with RunProgress(console, student.student, epochs, awaited=awaited(broker, student.student)) as progress:
        for epoch in range(1, epochs + 1):
            report = client.report(epoch)
            check_trained(report)
            reports.append(report)
            progress.epoch(student.student, report.metrics)
            if report.last:
                break
    client.leave()
    return reports
