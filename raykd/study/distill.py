"""Single runs through the same classrooms as a study's trials: one student, or one teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from raykd.config import Experiment
from raykd.places import STUDENT, shared_folder
from raykd.results.frames import html_table, text_table
from raykd.settings_io import settings_in_use
from raykd.storage import below, is_url
from raykd.study.preflight import Role
from raykd.study.session import Session, open_session, untrained
from raykd.study.train import train_teachers, train_with_progress
from raykd.training.messages import Report, TrainRequest
from raykd.training.teacher_cache import teachers

TEACHER_ALONE: tuple[Role, ...] = ("teacher",)
STUDENT_SECTIONS = ("data.", "student.", "training.", "objective.", "method.", "temperature.", "bias.", "schedule.")
TEACHER_SECTIONS = ("data.", "teacher.")
"""Settings that each kind of run logs as parameters begin so."""


@dataclass(frozen=True, repr=False)
class ModelResult:
    """A finished model.

    - folder: where it lies, for `raykd.load_model`: a path, or a URL below `cluster.storage`
    - metrics: of its last epoch, on the validation split
    """

    folder: Path | str
    metrics: dict[str, float]

    def __repr__(self) -> str:
        return text_table(f"ModelResult {self.folder}: metrics of its last epoch", self._rows())

    def _repr_html_(self) -> str:
        return html_table(f"{self.folder}: metrics of its last epoch", ("metric", ""), self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, f"{value:.4g}") for name, value in sorted(self.metrics.items())]


def distill(experiment: Experiment, console: Console | None = None) -> ModelResult:
    """Distil one student with the settings as they are.

    Args:
        experiment: The experiment; its settings of the search are not used.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, or the student diverged.
    """
    roles: tuple[Role, ...] = ("teacher", "student") if experiment.training_spec().needs_teacher else ("student",)
    with open_session(experiment, "distill", console, roles=roles) as session:
        spec = session.experiment.training_spec()
        chain = teachers(session.experiment, session.data.fingerprint) if spec.needs_teacher else []
        student = TrainRequest(
            student=STUDENT,
            spec=spec,
            teacher=chain[-1].folder if chain else None,
            folder=below(shared_folder(session.experiment), STUDENT),
            data=session.data.fingerprint,
        )
        return _train(session, chain, student, STUDENT_SECTIONS)


def train_teacher(experiment: Experiment, console: Console | None = None) -> ModelResult:
    """Train the experiment's teacher into the teacher cache: the standard one, and the generous one where it is asked.

    Args:
        experiment: The experiment; only its data and teacher are used.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, or the teacher diverged.
    """
    with open_session(experiment, "train_teacher", console, roles=TEACHER_ALONE) as session:
        chain = teachers(session.experiment, session.data.fingerprint)
        return _train(session, chain, None, TEACHER_SECTIONS)


def _train(
    session: Session, chain: Sequence[TrainRequest], student: TrainRequest | None, sections: tuple[str, ...]
) -> ModelResult:
    """Train the teachers of the chain, then the student if there is one; the last of them is the result."""
    last = student or chain[-1]
    if untrained([last]):
        session.open_cluster(students=1)
    session.begin(settings_in_use(session.given, sections))
    if session.plan is None:
        model = _train_all(session, None, [] if student else [last], student)
    else:
        with session.classrooms() as classrooms:
            model = _train_all(session, classrooms.broker, chain, student)
    if student is not None:
        session.compare_with_teacher(model["metrics"][f"{session.data.held_out}_accuracy"])
    session.show_where_to_look()
    return ModelResult(last.folder if is_url(last.folder) else Path(last.folder), model["metrics"])


def _train_all(
    session: Session, broker: Any, chain: Sequence[TrainRequest], student: TrainRequest | None
) -> dict[str, Any]:
    """Train whose finished models are not there, and return the last one's description."""

    def log(report: Report) -> None:
        session.tracker.study_metrics(report.metrics, step=report.epoch)

    model = train_teachers(broker, chain, session.console, log if student is None else None)
    if student is None:
        return model
    if chain:
        session.doubt_trained_teacher(model)
    return train_with_progress(broker, student, "student", session.console, log)
