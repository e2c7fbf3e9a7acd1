"""Named contenders x seeds: teachers trained one after the other, then all students in shared classes.

A job says who the contenders are and what their numbers mean; training, MLflow's child runs and what becomes of
failures are the same for all, and are here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raykd.config import Experiment, TrainingSpec
from raykd.errors import RaykdError
from raykd.knowledge.methods.base import AnswerMethod
from raykd.places import shared_folder
from raykd.storage import below
from raykd.study.session import Session
from raykd.study.train import TrainingEnd, teacher_title, train_together, train_with_progress
from raykd.tracking import RunsTable
from raykd.training.folder import description
from raykd.training.messages import Report, TrainRequest

STUDENTS = "students"
"""Folder of the students below the run's shared folder."""


@dataclass(frozen=True)
class Contender:
    """A named setting that is trained under several seeds and compared.

    - name: in tables and in MLflow
    - experiment: its settings; the seeds are those of its students
    - chain: the teachers in the order in which they must be trained, the last of whom teaches; empty without teacher
    - students: the same student under each seed
    - values: the settings in which it differs from the others, of a trial those that were searched
    - parameters: what the runs of its students have for parameters, besides teacher and seed
    """

    name: str
    experiment: Experiment
    chain: tuple[TrainRequest, ...]
    students: Mapping[int, TrainRequest]
    values: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedTeacher:
    """A teacher of the contest.

    - name: such as ``standard``
    - experiment: whose `teacher` it is
    """

    name: str
    request: TrainRequest
    experiment: Experiment


def seeded_student(
    name: str, spec: TrainingSpec, seed: int, chain: Sequence[TrainRequest], experiment: Experiment, fingerprint: str
) -> TrainRequest:
    """The request of a contender's student under one seed.

    Args:
        name: Of the student, and of its folder.
        spec: The contender's; weights and dropout get the seed.
        seed: The student's.
        chain: The contender's teachers.
        experiment: Says where the run's shared folder is.
        fingerprint: Of the data.
    """
    # Not stacked, a student is the same to the bit whoever else is in the class: a resumed run gives the same figures.
    training = spec.training.model_copy(update={"seed": seed, "stacking": "off"})
    return TrainRequest(
        student=name,
        spec=spec.model_copy(update={"training": training}),
        teacher=chain[-1].folder if chain else None,
        folder=below(shared_folder(experiment), STUDENTS, name),
        data=fingerprint,
    )


def seeded_views(
    name: str, spec: TrainingSpec, seed: int, chain: Sequence[TrainRequest], experiment: Experiment, fingerprint: str
) -> TrainRequest:
    """As `seeded_student`, and the views have the seed, too; the splits stay those of the study."""
    own_views = spec.model_copy(update={"data": spec.data.model_copy(update={"view_seed": seed})})
    return seeded_student(name, own_views, seed, chain, experiment, fingerprint)


class Contest:
    """All contenders of a run, and their teachers.

    Attributes:
        contenders: In the order in which they are shown.
        teachers: Each once, in the order in which they must be trained. Without the first, nobody is compared.
        trained_here: Names of the teachers that this launch has trained, and not found.

    Args:
        session: Of the run.
        contenders: See above; all have the same seeds.
        teachers: See above.
    """

    def __init__(self, session: Session, contenders: Sequence[Contender], teachers: Sequence[NamedTeacher]) -> None:
        self.contenders = contenders
        self.teachers = teachers
        self.trained_here: set[str] = set()
        self._session = session

    @property
    def table(self) -> RunsTable:
        """What MLflow's page shows at first sight: the students, best first."""
        held_out = self.contenders[0].experiment.data.held_out
        parameters = ("teacher", *self.contenders[0].parameters, "training.seed")
        return RunsTable((f"{held_out}_accuracy",), parameters, "student")

    @property
    def students(self) -> list[TrainRequest]:
        """All students, seed by seed: those of one seed sit together where not all can."""
        seeds = self.contenders[0].students
        return [contender.students[seed] for seed in seeds for contender in self.contenders]

    @property
    def requests(self) -> list[TrainRequest]:
        """All networks, teachers first."""
        return [*(teacher.request for teacher in self.teachers), *self.students]

    def count(self) -> str:
        """How many students there are, of whom, and how many are finished, in words."""
        finished = sum(description(student.folder) is not None for student in self.students)
        done = f"; {finished} are done" if finished else ""
        return f"{len(self.contenders[0].students)} of each, {self._session.experiment.training.epochs} epochs{done}"

    def teacher_of(self, contender: Contender) -> str | None:
        """The name of the teacher that teaches a contender's students."""
        names = {teacher.request.folder: teacher.name for teacher in self.teachers}
        return names[contender.chain[-1].folder] if contender.chain else None

    def finished(self, contender: Contender) -> dict[int, dict[str, Any]]:
        """Descriptions of a contender's finished students, by seed.

        Raises:
            RaykdError: no student of any contender has finished.
        """
        if not any(description(student.folder) for student in self.students):
            students = below(shared_folder(self._session.experiment), STUDENTS)
            raise RaykdError(f"no student finished; {students} holds what is known of each")
        models = {seed: description(student.folder) for seed, student in contender.students.items()}
        return {seed: model for seed, model in models.items() if model is not None}

    def train(self, broker: Any) -> None:
        """Train the teachers one after the other, each alone in its class, then all students together.

        A teacher that fails takes with it those that learn from it; a student that fails does not disturb the others.

        Raises:
            RaykdError: the first teacher failed.
        """
        failed: set[str] = set()
        for teacher in self.teachers:
            self._train_teacher(broker, teacher, failed)
        teachable = [each for each in self.contenders if not failed & {teacher.folder for teacher in each.chain}]
        self._train_students(broker, teachable)

    def _train_teacher(self, broker: Any, teacher: NamedTeacher, failed: set[str]) -> None:
        new = description(teacher.request.folder) is None
        try:
            if failed & {teacher.request.teacher, *teacher.request.members}:
                raise RaykdError("its own teacher is missing")
            self._train_logged_teacher(broker, teacher)
        except RaykdError as error:
            if teacher is self.teachers[0]:
                raise
            failed.add(teacher.request.folder)
            message = f"no {teacher.name} teacher: {error}"
            self._session.console.print(message, soft_wrap=True, highlight=False, markup=False)
        else:
            if new:
                self.trained_here.add(teacher.name)

    def _train_logged_teacher(self, broker: Any, teacher: NamedTeacher) -> None:
        """With its epochs as a child run in MLflow; a teacher that was trained before is logged as it is."""
        tracker, run, request = self._session.tracker, f"teacher-{teacher.name}", teacher.request
        tags = {"raykd.role": "teacher", "raykd.teacher": teacher.name, "raykd.folder": request.folder}
        tracker.start_trial(run, _teacher_parameters(teacher), tags)

        def log(report: Report) -> None:
            tracker.epoch(run, report.epoch, report.metrics)

        try:
            alone = request.spec.data.left_out is None and not request.members
            title = f"{teacher.name} teacher" if alone else teacher_title(request)
            model = train_with_progress(broker, request, title, self._session.console, log)
        except RaykdError as error:
            tracker.end_trial(run, "failed", str(error))
            raise
        tracker.epoch(run, model["epochs"], model["metrics"])
        summary = {"total_seconds": model["seconds"]} if model.get("alone") else {}
        tracker.end_trial(run, "finished", metrics=summary)

    def _train_students(self, broker: Any, contenders: Sequence[Contender]) -> None:
        """With a child run in MLflow for each; students that are finished are logged as they are."""
        tracker = self._session.tracker
        requests: dict[str, TrainRequest] = {}

        def log(report: Report) -> None:
            tracker.epoch(report.student, report.epoch, report.metrics)

        def end(ended: TrainingEnd) -> None:
            # The launch that trained it may have died before it could log the end.
            if model := description(requests[ended.student].folder):
                tracker.epoch(ended.student, model["epochs"], model["metrics"])
            tracker.end_trial(ended.student, ended.state, ended.reason)

        for seed in self.contenders[0].students:
            for contender in contenders:
                request, teacher = contender.students[seed], self.teacher_of(contender) or "none"
                requests[request.student] = request
                tags = {"raykd.role": "student", "raykd.teacher": teacher, "raykd.folder": request.folder}
                parameters = {"teacher": teacher, **contender.parameters, "training.seed": seed}
                tracker.start_trial(request.student, parameters, tags)
                if description(request.folder):
                    end(TrainingEnd(request.student, "finished"))
        train_together(broker, list(requests.values()), "students", self._session.console, log, end)


def _teacher_parameters(teacher: NamedTeacher) -> dict[str, Any]:
    """How a teacher is trained, as parameters of its run."""
    spec = teacher.request.spec
    parameters: dict[str, Any] = {"teacher": teacher.name, "method.name": spec.method.name}
    method = spec.method.chosen()
    if isinstance(method, AnswerMethod):
        parameters |= {f"method.{method.name}.{key}": value for key, value in method.model_dump().items()}
        for section in ("objective", "temperature", "bias"):
            settings = getattr(spec, section).model_dump()
            parameters |= {f"{section}.{key}": value for key, value in settings.items()}
    return parameters
