"""A study's best settings, confirmed: taught anew beside the baselines and measured on the test split."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import optuna
from rich.console import Console

from raykd.cluster.classrooms import Classrooms, Usage
from raykd.cluster.node_checks import NodeChecks, check_nodes
from raykd.cluster.resources import SEATS, Plan, wait_for_resources
from raykd.cluster.session import ray_session
from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.models import parameter_count
from raykd.places import check_storage, shared_folder
from raykd.progress import standard_output
from raykd.results.confirm import ConfirmResult, StudentRow, TeacherRow
from raykd.results.confirm_table import markdown, show
from raykd.storage import below
from raykd.study.adoption import judge_teacher
from raykd.study.confirm_setup import RECORD, Prepared, prepare
from raykd.study.contenders import STUDENTS, Contender, NamedTeacher, contenders, named_teachers
from raykd.study.folder import RAY, SETTINGS, begin_folder
from raykd.study.mlflow_log import Provenance
from raykd.study.preflight import brief, remember_teacher, show_briefing, student_network, teacher_network
from raykd.study.rehearsal import rehearse
from raykd.study.tracked import tracked
from raykd.study.train_logged import LoggedStudent, teach_logged_students, teach_logged_teacher
from raykd.tracking import Tracker, check_tracking
from raykd.tracking.parent_run import tag_study
from raykd.training.folder import description

RESULT, TABLE = "result.json", "table.md"


def confirm(experiment: Experiment, console: Console | None = None) -> ConfirmResult:
    """Teach a finished study's best settings anew beside baselines, and measure all on the test split.

    The trials, the plain student, and KD and DKD as published learn from train and validation, each under several
    seeds, at the same budget. Everything lands in `outputs/<study>/<confirm.name>/` and in MLflow beside the study's
    run; with `study.resume` an interrupted confirm goes on, and a finished one is only shown.

    Args:
        experiment: Names the study by `study.name` and `study.output`; of the rest only `confirm`, `cluster`,
            `tracking`, `teacher.cache` and `study.resume` are heard, where they are not at their defaults.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: there is no such study, it is not over, something in the settings is wrong, or the standard teacher
            or all students failed.
    """
    console = console or standard_output()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    prepared = prepare(experiment)
    own = prepared.experiment
    briefing = brief(own, "teacher", "student", held_out="test")
    found = contenders(briefing.experiment, prepared.fixed.trials, briefing.data.fingerprint)
    for contender in found:
        rehearse(contender.experiment, briefing.data)
    teachers = named_teachers(briefing.experiment, found, briefing.data.fingerprint)
    run = _Run(prepared, found, teachers, briefing.data, console)
    check_tracking(own.tracking)
    check_storage(own)
    with ExitStack() as stack:
        sizes: Plan | None = None
        node_checks: NodeChecks | None = None
        if not run.is_over:
            stack.enter_context(ray_session(own.cluster))
            seats = own.cluster.seats or min(len(found), SEATS)
            # A class for each seed, in which all contenders sit.
            cluster = own.cluster.model_copy(update={"seats": seats})
            have, sizes = wait_for_resources(cluster, own.confirm.seeds, console)
            node_checks = check_nodes(own, sizes)
            judge_teacher(briefing.experiment, sizes)
        begin_folder(own)
        prepared.begin()
        remember_teacher(briefing.experiment)
        tracker = stack.enter_context(tracked(own, own.folder, console))
        if sizes is not None:
            lines = {"cluster": str(have), "plan": str(sizes), "results": str(own.folder)}
            show_briefing(console, own, briefing, run.lines() | lines)
            run.teach(sizes, tracker, node_checks)
        return run.conclude(tracker)


class _Run:
    """One launch of a confirm."""

    def __init__(
        self,
        prepared: Prepared,
        found: list[Contender],
        teachers: list[NamedTeacher],
        data: DataInfo,
        console: Console,
    ) -> None:
        self._prepared = prepared
        self._experiment = prepared.experiment
        self._contenders = found
        self._teachers = teachers
        self._data = data
        self._console = console
        self._taught = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to teach: no cluster is needed to show such a confirm."""
        students = [student for each in self._contenders for student in each.students.values()]
        networks = [*(teacher.request for teacher in self._teachers), *students]
        # A teacher that was fetched again has no metrics before it is judged.
        return all((description(each.folder) or {}).get("metrics") for each in networks)

    def lines(self) -> dict[str, str]:
        """What the briefing adds about the confirm."""
        fixed, others = self._prepared.fixed, self._prepared.others
        done = sum(description(each.folder) is not None for c in self._contenders for each in c.students.values())
        students = len(self._contenders) * len(fixed.seeds)
        best = fixed.trials[0]
        names = ", ".join(contender.name for contender in self._contenders)
        used = f"no longer fresh: used by {', '.join(map(str, others))}, too" if others else "not used before"
        return {
            "confirms": f"{fixed.study}; its winner is {best.name}, {best.accuracy:.2%} on the validation split",
            "students": f"{students}: {names}; {len(fixed.seeds)} of each, {self._experiment.training.epochs} epochs"
            + (f"; {done} are done" if done else ""),
            "test split": used,
        }

    def teach(self, sizes: Plan, tracker: Tracker, node_checks: NodeChecks | None) -> None:
        """Have the teachers taught one after the other, then all students, those of a seed together."""
        self._taught = True
        self._start_tracking(tracker, Provenance(self._experiment, self._data, sizes))
        experiment = self._experiment
        usage = Usage(experiment.tracking.system_seconds, tracker.usage)
        storage = below(shared_folder(experiment), RAY)
        with Classrooms(sizes, experiment.cluster, storage, self._console, usage, node_checks) as classrooms:
            missing: set[str] = set()
            for teacher in self._teachers:
                self._teach_teacher(classrooms.broker, teacher, tracker, missing)
            ready = [each for each in self._contenders if not missing & {teacher.folder for teacher in each.chain}]
            students = [
                LoggedStudent(
                    contender.students[seed],
                    self._teacher_of(contender) or "none",
                    {**contender.values, "contender": contender.name, "training.seed": seed},
                )
                for seed in self._prepared.fixed.seeds
                for contender in ready
            ]
            teach_logged_students(classrooms.broker, students, tracker, self._console)

    def conclude(self, tracker: Tracker) -> ConfirmResult:
        """Collect the result, keep and log it, and show the table.

        Raises:
            RaykdError: no student finished.
        """
        result = self._result(tracker)
        folder = self._experiment.folder
        if not any(row.students for row in result.rows):
            students = below(shared_folder(self._experiment), STUDENTS)
            raise RaykdError(f"no student finished; {students} holds what is known of each")
        if self._taught or not (folder / TABLE).exists():
            (folder / RESULT).write_text(json.dumps(result.as_data(), indent=2) + "\n", encoding="utf-8")
            (folder / TABLE).write_text(markdown(result), encoding="utf-8")
            tracker.study_metrics(result.summary())
            for name in (RESULT, TABLE):
                tracker.artifact(folder / name)
        show(result, self._console)
        return result

    def _start_tracking(self, tracker: Tracker, provenance: Provenance) -> None:
        fixed, study, experiment = self._prepared.fixed, self._prepared.study, self._experiment
        tags = {"raykd.test_split": ", ".join(map(str, self._prepared.uses))}
        run = tag_study(study.experiment.tracking, study.folder, fixed.study, tags)
        tags |= {"raykd.kind": "confirm", "raykd.study": fixed.study} | ({"raykd.study_run": run} if run else {})
        tags |= provenance.tags
        parameters: dict[str, Any] = {
            "confirm.top": experiment.confirm.top,
            "confirm.seeds": experiment.confirm.seeds,
            "winner": fixed.trials[0].name,
        }
        artifacts = [experiment.folder / SETTINGS, experiment.folder / RECORD]
        tracker.start_study(parameters, tags, artifacts, provenance.datasets)

    def _teach_teacher(self, broker: Any, teacher: NamedTeacher, tracker: Tracker, missing: set[str]) -> None:
        """Have a teacher taught; whose is not to be had joins the missing ones."""
        try:
            if teacher.request.teacher in missing:
                raise RaykdError("its own teacher is missing")
            teach_logged_teacher(broker, teacher.request, teacher.name, tracker, self._console)
        except RaykdError as error:
            if teacher is self._teachers[0]:
                raise
            missing.add(teacher.request.folder)
            said = f"no {teacher.name} teacher: {error}"
            self._console.print(said, soft_wrap=True, highlight=False, markup=False)

    def _teacher_of(self, contender: Contender) -> str | None:
        names = {teacher.request.folder: teacher.name for teacher in self._teachers}
        return names[contender.chain[-1].folder] if contender.chain else None

    def _result(self, tracker: Tracker) -> ConfirmResult:
        prepared = self._prepared
        sizes = {t.name: parameter_count(teacher_network(t.experiment, self._data)) for t in self._teachers}
        teachers = [(each, description(each.request.folder)) for each in self._teachers]
        rows = []
        for each in self._contenders:
            described = {seed: description(student.folder) for seed, student in each.students.items()}
            teacher = self._teacher_of(each)
            rows.append(
                StudentRow(
                    name=each.name,
                    baseline=each.baseline,
                    teacher=teacher,
                    parameters=parameter_count(student_network(each.experiment, self._data)),
                    teacher_parameters=sizes[teacher] if teacher is not None else None,
                    values=each.values,
                    students={seed: found for seed, found in described.items() if found is not None},
                )
            )
        return ConfirmResult(
            folder=self._experiment.folder,
            fixed=prepared.fixed,
            teachers=tuple(TeacherRow(each.name, sizes[each.name], found) for each, found in teachers if found),
            rows=tuple(rows),
            images=self._data.split_sizes["test"],
            others=prepared.others,
            place=tracker.describe(),
        )
