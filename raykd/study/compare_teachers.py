"""Which teacher teaches best: the standard one, the generous one, or an ablation of it, each with the same student."""

from __future__ import annotations

from rich.console import Console

from raykd.config import Ablation, Experiment, TrainingSpec
from raykd.errors import RaykdError
from raykd.places import PLAIN
from raykd.results.comparison import GENEROUS, STANDARD, ComparedTeacher, ComparisonResult
from raykd.settings_io import override, settings_in_use
from raykd.study.contenders import Contender, Contest, NamedTeacher, seeded_student
from raykd.study.session import open_session, untrained
from raykd.study.train import teacher_name
from raykd.training.folder import description
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import kind_of, teachers

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
"""Settings that are logged as parameters begin so."""


def compare_teachers(experiment: Experiment, console: Console | None = None) -> ComparisonResult:
    """Teach the same student by the standard teacher, the generous one and its ablations, and without teacher.

    Stage 1 trains the standard teacher, stage 2 the generous ones (each alone in its class, so that its cost is
    known), stage 3 all students at the same budget in shared classes. Which ablations, and how many students each:
    `raykd.ComparisonSettings`. Everything is written to `outputs/<study.name>/` and to MLflow; with `study.resume` an
    interrupted comparison goes on, and a finished one is only shown.

    Args:
        experiment: The experiment; `teacher.kind` and its settings of the search are not used.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, the standard teacher could not be trained, or no student could.
    """
    with open_session(experiment, "compare_teachers", console) as session:
        contest = Contest(session, *contenders(session.experiment, session.data.fingerprint))
        if untrained(contest.requests):
            session.open_cluster(len(contest.students))
            parameters = settings_in_use(session.given, SECTIONS)
            parameters.pop("teacher.kind", None)
            session.begin(parameters, table=contest.table)
            names = ", ".join(teacher.name for teacher in contest.teachers)
            students = f"{len(contest.students)}: {contest.count()}"
            with session.classrooms({"compared": f"{names}, and no teacher", "students": students}) as classrooms:
                contest.train(classrooms.broker)
        result = ComparisonResult(
            folder=session.folder,
            rows=tuple(_row(contest, contender) for contender in contest.contenders),
            seeds=session.experiment.comparison.seeds,
            trained_here=frozenset(contest.trained_here),
            place=session.tracker.describe(),
        )
        session.tracker.study_metrics(result.summary())
        result.show(session.console)
        return result


def contenders(experiment: Experiment, fingerprint: str) -> tuple[list[Contender], list[NamedTeacher]]:
    """The students without teacher and those of each teacher, as they are shown; and the teachers.

    Args:
        experiment: The experiment.
        fingerprint: Of the data, see `raykd.data.DataInfo`.

    Raises:
        RaykdError: no teacher takes part in the student's training, or an ablation is the generous teacher itself.
    """
    spec = experiment.training_spec()
    if not spec.needs_teacher:
        raise RaykdError(
            "no teacher takes part in the student's training, so there is nothing to compare: "
            "set objective.kd_weight above 0 and a method with a teacher"
        )
    generous = override(experiment, {"teacher.kind": "generous"})
    taught_by = {STANDARD: override(experiment, {"teacher.kind": "standard"}), GENEROUS: generous}
    taught_by |= {name: override(generous, dict([ABLATIONS[name]])) for name in experiment.comparison.ablations}
    chains = {name: teachers(own, fingerprint) for name, own in taught_by.items()}
    for ablation in experiment.comparison.ablations:
        if chains[ablation][-1].folder == chains[GENEROUS][-1].folder:
            setting, value = ABLATIONS[ablation]
            raise RaykdError(
                f"comparison.ablations: {ablation} ({setting} {value}) gives the generous teacher itself:\n"
                "leave it out, or leave teacher.generous at its defaults"
            )
    named: dict[str, NamedTeacher] = {}
    for name, chain in chains.items():
        *members, last = chain
        for member in members:
            prefix = "" if kind_of(member) == STANDARD or name == GENEROUS else f"{name}-"
            named.setdefault(member.folder, NamedTeacher(prefix + teacher_name(member), member, taught_by[name]))
        named.setdefault(last.folder, NamedTeacher(name, last, taught_by[name]))
    compared = [_contender(PLAIN, experiment, spec.without_teacher(), (), fingerprint)]
    compared += [_contender(name, experiment, spec, tuple(chain), fingerprint) for name, chain in chains.items()]
    return compared, list(named.values())


def _contender(
    name: str, experiment: Experiment, spec: TrainingSpec, chain: tuple[TrainRequest, ...], fingerprint: str
) -> Contender:
    first = experiment.training.seed
    students = {}
    for seed in range(first, first + experiment.comparison.seeds):
        student = f"student-of-{name}-{seed}" if chain else f"{name}-student-{seed}"
        students[seed] = seeded_student(student, spec, seed, chain, experiment, fingerprint)
    return Contender(name, experiment, chain, students)


def _row(contest: Contest, contender: Contender) -> ComparedTeacher:
    teacher = description(contender.chain[-1].folder) if contender.chain else None
    return ComparedTeacher(contender.name, tuple(contender.students), contest.finished(contender), teacher)
