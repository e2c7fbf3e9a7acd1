"""Which teacher teaches best: the standard one, the generous one, or an ablation of it, each with the same student."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from raykd.cluster.classrooms import Classrooms, Usage
from raykd.cluster.node_checks import NodeChecks, check_nodes
from raykd.cluster.resources import Plan, wait_for_resources
from raykd.cluster.session import ray_session
from raykd.config import Ablation, Experiment, TrainingSpec
from raykd.errors import RaykdError
from raykd.places import check_storage, shared_folder
from raykd.progress import standard_output
from raykd.results.comparison import GENEROUS, PLAIN, STANDARD, ComparedTeacher, ComparisonResult
from raykd.settings_io import override, settings_with_a_say
from raykd.storage import below
from raykd.study.adoption import judge_teacher
from raykd.study.folder import RAY, SETTINGS, begin_folder, check_folder, with_lasting_paths
from raykd.study.mlflow_log import Provenance
from raykd.study.preflight import brief, remember_teacher, show_briefing
from raykd.study.rehearsal import rehearse
from raykd.study.tracked import tracked
from raykd.study.train_logged import LoggedStudent, teach_logged_students, teach_logged_teacher
from raykd.tracking import Tracker, check_tracking
from raykd.training.folder import description
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

ABLATIONS: dict[Ablation, tuple[str, str]] = {
    "fixed_temperature": ("teacher.generous.policy", "constant"),
    "full_kl": ("teacher.generous.knowledge", "full"),
    "full_dkd": ("teacher.generous.knowledge", "decoupled"),
    "masked": ("teacher.generous.wrong", "drop"),
}
"""The one setting in which each ablation differs from the generous teacher, and its value."""

SECTIONS = (
    "data.",
    "teacher.",
    "student.",
    "training.",
    "objective.",
    "method.",
    "temperature.",
    "bias.",
    "schedule.",
    "comparison.",
)
"""Which settings are logged as parameters."""

STUDENTS = "students"
"""Folder of the students below the study's."""


@dataclass(frozen=True)
class Contender:
    """One teacher that is to be compared.

    - name: see `raykd.results.comparison.ComparedTeacher`
    - teacher: its enrolment, or None: its students learn from labels alone
    - students: the same student under each seed
    """

    name: str
    teacher: TrainRequest | None
    students: dict[int, TrainRequest]


def compare_teachers(experiment: Experiment, console: Console | None = None) -> ComparisonResult:
    """Teach the same student by the standard teacher, the generous one and its ablations, and without teacher.

    Stage 1 trains the standard teacher, stage 2 the generous ones (each alone in its class, so that its cost can be
    told), stage 3 all students at the same budget in shared classes. Which ablations, and how many students each:
    `raykd.ComparisonSettings`. Everything lands in `outputs/<study.name>/` and in MLflow; with `study.resume` an
    interrupted comparison goes on, and a finished one is only shown.

    Args:
        experiment: The experiment; `teacher.kind` and what it says of the search are not used.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, the standard teacher could not be taught, or no student could.
    """
    console = console or standard_output()
    experiment = with_lasting_paths(experiment)
    check_storage(experiment)
    briefing = brief(experiment, "teacher", "student")
    rehearse(briefing.experiment, briefing.data)
    run = _Run(experiment, contenders(briefing.experiment, briefing.data.fingerprint), console)
    check_tracking(experiment.tracking)
    check_folder(experiment)
    with ExitStack() as stack:
        sizes: Plan | None = None
        node_checks: NodeChecks | None = None
        if not run.is_over:
            stack.enter_context(ray_session(experiment.cluster))
            have, sizes = wait_for_resources(experiment.cluster, len(run.students), console)
            node_checks = check_nodes(experiment, sizes)
            judge_teacher(briefing.experiment, sizes)
        begin_folder(experiment)
        remember_teacher(briefing.experiment)
        tracker = stack.enter_context(tracked(experiment, experiment.folder, console))
        if sizes is not None:
            lines = {"cluster": str(have), "plan": str(sizes), "results": str(experiment.folder)}
            show_briefing(console, experiment, briefing, run.lines() | lines)
            run.teach(sizes, tracker, Provenance(experiment, briefing.data, sizes), node_checks)
        return run.conclude(tracker)


def contenders(experiment: Experiment, fingerprint: str) -> list[Contender]:
    """All teachers of a comparison with their students, in the order in which they are shown.

    Args:
        experiment: The experiment.
        fingerprint: Of the data, see `raykd.data.DataInfo`.

    Raises:
        RaykdError: the student listens to no teacher, or an ablation is the generous teacher itself.
    """
    spec = experiment.training_spec()
    if not spec.needs_teacher:
        raise RaykdError(
            "the student listens to no teacher, so there is nothing to compare: "
            "set objective.kd_weight above 0 and a method with a teacher"
        )
    generous = override(experiment, {"teacher.kind": "generous"})
    by_standard, by_generous = teachers(generous, fingerprint)
    found = [
        Contender(PLAIN, None, _students(experiment, spec.without_teacher(), PLAIN, None, fingerprint)),
        Contender(STANDARD, by_standard, _students(experiment, spec, STANDARD, by_standard, fingerprint)),
        Contender(GENEROUS, by_generous, _students(experiment, spec, GENEROUS, by_generous, fingerprint)),
    ]
    for name in dict.fromkeys(experiment.comparison.ablations):
        setting, value = ABLATIONS[name]
        teacher = teachers(override(generous, {setting: value}), fingerprint)[-1]
        if teacher.folder == by_generous.folder:
            raise RaykdError(
                f"comparison.ablations: {name} ({setting} {value}) gives the generous teacher itself:\n"
                "leave it out, or leave teacher.generous at its defaults"
            )
        found.append(Contender(name, teacher, _students(experiment, spec, name, teacher, fingerprint)))
    return found


def _students(
    experiment: Experiment, spec: TrainingSpec, name: str, teacher: TrainRequest | None, fingerprint: str
) -> dict[int, TrainRequest]:
    first = experiment.training.seed
    students = {}
    for seed in range(first, first + experiment.comparison.seeds):
        training = spec.training.model_copy(update={"seed": seed})
        student = f"plain-student-{seed}" if teacher is None else f"student-of-{name}-{seed}"
        students[seed] = TrainRequest(
            student=student,
            spec=spec.model_copy(update={"training": training}),
            teacher=None if teacher is None else teacher.folder,
            folder=below(shared_folder(experiment), STUDENTS, student),
            data=fingerprint,
        )
    return students


class _Run:
    """One launch of a comparison."""

    def __init__(self, experiment: Experiment, found: Sequence[Contender], console: Console) -> None:
        self._experiment = experiment
        self._contenders = found
        self._console = console
        self._trained_here: set[str] = set()

    @property
    def students(self) -> list[TrainRequest]:
        """All students, seed by seed: those of one seed sit together where not all can."""
        seeds = range(self._experiment.comparison.seeds)
        first = self._experiment.training.seed
        return [contender.students[first + seed] for seed in seeds for contender in self._contenders]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to teach: no cluster is needed to show such a comparison."""
        teaching = [contender.teacher for contender in self._contenders if contender.teacher is not None]
        # A teacher that was fetched again has no metrics before it is judged.
        return all((description(each.folder) or {}).get("metrics") for each in [*teaching, *self.students])

    def lines(self) -> dict[str, str]:
        """What the briefing adds about the comparison."""
        seeds, epochs = self._experiment.comparison.seeds, self._experiment.training.epochs
        names = ", ".join(contender.name for contender in self._contenders if contender.teacher is not None)
        done = sum(description(student.folder) is not None for student in self.students)
        return {
            "compared": f"{names}, and no teacher",
            "students": f"{len(self.students)}: {seeds} of each, {epochs} epochs"
            + (f"; {done} are done" if done else ""),
        }

    def teach(self, sizes: Plan, tracker: Tracker, provenance: Provenance, node_checks: NodeChecks | None) -> None:
        """Have the teachers taught one after the other, then all students together."""
        experiment = self._experiment
        tags = {"raykd.kind": "compare_teachers"} | provenance.tags
        tracker.start_study(_parameters(experiment), tags, [experiment.folder / SETTINGS], provenance.datasets)
        usage = Usage(experiment.tracking.system_seconds, tracker.usage)
        storage = below(shared_folder(experiment), RAY)
        with Classrooms(sizes, experiment.cluster, storage, self._console, usage, node_checks) as classrooms:
            ready = [each for each in self._contenders if self._teach_teacher(classrooms.broker, each, tracker)]
            self._teach_students(classrooms.broker, ready, tracker)

    def conclude(self, tracker: Tracker) -> ComparisonResult:
        """Collect the result, log its summary, and show the table.

        Raises:
            RaykdError: no student finished.
        """
        rows = tuple(_row(contender) for contender in self._contenders)
        seeds = self._experiment.comparison.seeds
        trained_here = frozenset(self._trained_here)
        result = ComparisonResult(self._experiment.folder, rows, seeds, trained_here, tracker.describe())
        if not any(row.students for row in rows):
            students = below(shared_folder(self._experiment), STUDENTS)
            raise RaykdError(f"no student finished; {students} holds what is known of each")
        tracker.study_metrics(result.summary())
        result.show(self._console)
        return result

    def _teach_teacher(self, broker: Any, contender: Contender, tracker: Tracker) -> bool:
        """Whether the contender can teach: its teacher is there, or it needs none."""
        teacher = contender.teacher
        if teacher is None:
            return True
        fresh = description(teacher.folder) is None
        try:
            teach_logged_teacher(broker, teacher, contender.name, tracker, self._console)
        except RaykdError as error:
            if contender.name == STANDARD:
                raise
            said = f"no {contender.name} teacher: {error}"
            self._console.print(said, soft_wrap=True, highlight=False, markup=False)
            return False
        if fresh:
            self._trained_here.add(contender.name)
        return True

    def _teach_students(self, broker: Any, ready: Sequence[Contender], tracker: Tracker) -> None:
        found = {
            student.student: LoggedStudent(
                student, "none" if contender.teacher is None else contender.name, {"training.seed": seed}
            )
            for contender in ready
            for seed, student in contender.students.items()
        }
        in_turn = [found[student.student] for student in self.students if student.student in found]
        teach_logged_students(broker, in_turn, tracker, self._console)


def _row(contender: Contender) -> ComparedTeacher:
    teacher = None if contender.teacher is None else description(contender.teacher.folder)
    found = {seed: description(student.folder) for seed, student in contender.students.items()}
    return ComparedTeacher(contender.name, teacher, {seed: each for seed, each in found.items() if each is not None})


def _parameters(experiment: Experiment) -> dict[str, Any]:
    """What decides the result."""
    settings = settings_with_a_say(experiment, SECTIONS)
    return {name: value for name, value in settings.items() if name != "teacher.kind"}
