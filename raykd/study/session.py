"""The one way into every job: a session resolves and checks the settings, locks the folder, and opens what a job needs.

A job reads::

    with open_session(experiment, "distill", console) as session:
        requests = ...
        if untrained(requests):
            session.open_cluster(students=1)
        session.begin(parameters)
        with session.classrooms(lines) as classrooms:
            ...

Ray is started only by `open_cluster`; the folder is written only by `begin`. Everything that was opened is closed in
order when the session ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raykd.cluster.classrooms import Classrooms, Usage
from raykd.cluster.node_checks import NodeChecks, check_nodes
from raykd.cluster.resources import Plan, Resources, wait_for_resources
from raykd.cluster.session import ray_session
from raykd.config import ClusterSettings, Experiment
from raykd.data import DataInfo
from raykd.errors import FAILED, RaykdError, StorageError
from raykd.places import RAY, SETTINGS, check_storage, shared_folder, teachers_folder
from raykd.progress import standard_output, working
from raykd.search.space import SearchSpace
from raykd.settings_io import override
from raykd.storage import below, check_creatable, check_temporary_folder, disk_error
from raykd.study.bank import bank_line
from raykd.study.external_teacher import (
    evaluate_on_cluster,
    remember_external_teachers,
    searched_teachers,
)
from raykd.study.folder import begin_folder, check_folder, locked_folder, with_lasting_paths, without_passwords
from raykd.study.mlflow_log import Provenance
from raykd.study.preflight import Preflight, Role, Split, preflight, rehearse, rehearse_teacher
from raykd.study.preprocessing import preprocessing_line
from raykd.study.run_tracker import check_mlflow, run_tracker
from raykd.study.start_weights import with_weights_digests
from raykd.study.teacher_accuracy import doubt_beside_student, doubt_of_trained, doubts
from raykd.tracking import RunsTable, Tracker
from raykd.training.folder import description
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

Kind = Literal["tune", "distill", "train_teacher", "compare_teachers", "confirm", "claims", "replay"]
"""Of a job; the tag `raykd.kind` in MLflow."""


class Session:
    """What a job has at hand. Made by `open_session`.

    Attributes:
        given: The experiment as the user gave it, with absolute paths.
        experiment: The same with the folders of external teachers in the cache as `teacher.fetched`.
        data: What is learnt from.
        folder: The run's output folder, which nobody else uses meanwhile.
        console: Where the plan, progress and results are shown.
    """

    def __init__(self, checked: Preflight, given: Experiment, kind: Kind, console: Console, stack: ExitStack) -> None:
        self.given = given
        self.experiment = checked.experiment
        self.data: DataInfo = checked.data
        self.folder: Path = given.folder
        self.console = console
        self._kind = kind
        self._parameters = checked.parameters
        self._streamed = checked.streamed
        self._images = checked.images
        self._stack = stack
        self._tracker: Tracker | None = None
        self._cluster: tuple[Resources, Plan, NodeChecks] | None = None
        self._begun = False

    def failed(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Tell an error that ends this session from one that was found before anything was begun; see `errors`."""
        if self._begun and isinstance(error, RaykdError):
            error.exit_code = FAILED

    @property
    def plan(self) -> Plan | None:
        """The sizes of the classrooms; None before `open_cluster`."""
        return self._cluster[1] if self._cluster else None

    @property
    def provenance(self) -> Provenance:
        """Where the results of this run come from."""
        return Provenance(without_passwords(self.experiment), self.data, self.plan)

    @property
    def tracker(self) -> Tracker:
        """MLflow's tracker, opened when it is first asked for; the folder exists from then on."""
        if self._tracker is None:
            self.make_folder()
            self._tracker = self._stack.enter_context(run_tracker(self.given, self.console))
        return self._tracker

    def open_cluster(self, students: int, settings: ClusterSettings | None = None, at_least: int = 1) -> Plan:
        """Join or start Ray, size the classrooms, and check what the nodes see. Nothing is written before.

        Args:
            students: How many students there are to train, at the most.
            settings: Instead of the experiment's own.
            at_least: Seats that every classroom has, unless the settings say otherwise.

        Raises:
            RaykdError: the cluster does not answer or is too small, a node does not see a folder that it needs, or an
                external teacher cannot answer there.
        """
        cluster = settings or self.experiment.cluster
        if "teacher" in self._parameters and untrained(teachers(self.experiment, self.data.fingerprint)):
            check_creatable(teachers_folder(self.experiment), "teacher.cache")
        with working(self.console, "starting Ray, or joining its cluster"):
            self._stack.enter_context(ray_session(cluster, self.console))
            resources, plan = wait_for_resources(cluster, students, self.console)
        plan = replace(plan, seats=max(plan.seats, at_least))
        with working(self.console, "checking the nodes"):
            node_checks = check_nodes(self.experiment, plan, teacher="teacher" in self._parameters)
            if "teacher" in self._parameters:
                evaluate_on_cluster(self.experiment, plan)
        self._cluster = resources, plan, node_checks
        return plan

    def make_folder(self) -> None:
        """Make the run's folder, with its settings and the name of its external teacher in it."""
        begin_folder(self.given)
        if "teacher" in self._parameters:
            remember_external_teachers(self.experiment)

    def begin(
        self,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        artifacts: Iterable[Path] = (),
        table: RunsTable | None = None,
    ) -> None:
        """Make the folder, and start the run in MLflow, or set it running again.

        Args:
            parameters: Of the run, by their dotted names.
            tags: Besides those that every run has.
            artifacts: Files besides the settings.
            table: What MLflow's page shows at first sight. None: the runs by their accuracy.
        """
        self._begun = True
        provenance = self.provenance
        all_tags = {"raykd.kind": self._kind, **(tags or {}), **provenance.tags}
        files = [self.folder / SETTINGS, *artifacts]
        table = table or RunsTable((f"{self.data.held_out}_accuracy",))
        self.tracker.start_study(parameters, all_tags, files, provenance.datasets, table)

    @contextmanager
    def classrooms(self, lines: Mapping[str, str] | None = None) -> Iterator[Classrooms]:
        """Show the plan, and teach as long as this is open. The cluster must be open.

        Args:
            lines: What the plan says about this job, by name.
        """
        assert self._cluster is not None
        self._begun = True
        resources, plan, node_checks = self._cluster
        self._show_plan({**(lines or {}), "cluster": str(resources), "plan": str(plan), "results": str(self.folder)})
        for doubt in doubts(self.experiment, self.data) if "teacher" in self._parameters else ():
            self._warn(doubt)
        usage = Usage(self.experiment.tracking.system_seconds, self._tracker.usage) if self._tracker else None
        files = below(shared_folder(self.experiment), RAY)
        with Classrooms(plan, self.experiment.cluster, files, self.console, usage, node_checks) as classrooms:
            yield classrooms

    def compare_with_teacher(self, accuracy: float, values: Mapping[str, Any] | None = None) -> None:
        """Say so if a student is far better than the teacher that was given for it.

        Args:
            accuracy: The student's, on the held-out images.
            values: Settings of its own, by dotted name: they may name its teacher.
        """
        own = override(self.experiment, values or {})
        teaches = "teacher" in self._parameters and own.teacher.kind == "standard"
        if teaches and (doubt := doubt_beside_student(own, self.data, accuracy)):
            self._warn(doubt)

    def doubt_trained_teacher(self, model: Mapping[str, Any]) -> None:
        """Say so if a teacher that was trained here has learned next to nothing.

        Args:
            model: Its description.
        """
        if self.experiment.teacher.source is None and (doubt := doubt_of_trained(model, self.data)):
            self._warn(doubt)

    def _warn(self, text: str) -> None:
        self.console.print(f"[bold yellow]warning:[/] {text}", soft_wrap=True, highlight=False)

    def show_where_to_look(self) -> None:
        """Print how to look at the run in MLflow."""
        self.console.print(f"look further: {self.tracker.describe().look}", soft_wrap=True, highlight=False)

    def _show_plan(self, lines: Mapping[str, str]) -> None:
        info, teacher = self.data, self.given.teacher
        source = f"from {teacher.source}"
        names: dict[Role, str] = {
            "teacher": source if teacher.source and teacher.kind == "standard" else f"{teacher.kind} {teacher.model}",
            "student": str(self.given.student),
        }
        if teacher.source and teacher.kind == "generous":
            names["teacher"] += f", taught by the one {source}"
        if teacher.folds is not None:
            names["teacher"] += f", {teacher.folds} of them, each trained without a fold of the images"
        table = Table.grid(padding=(0, 2))
        table.add_row("[bold]data", escape(info.summary))
        for name, text in self._images.items():
            table.add_row(f"[bold]{name}", escape(text))
        for role, count in self._parameters.items():
            smaller = ""
            if role == "student" and "teacher" in self._parameters:
                smaller = f", {self._parameters['teacher'] / count:.1f} times smaller"
            table.add_row(f"[bold]{role}", f"{names[role]}: {count:,} parameters{smaller}")
        seen = preprocessing_line(self.experiment, info, self._parameters, self._streamed)
        table.add_row("[bold]preprocessing", seen)
        if self._parameters.keys() >= {"teacher", "student"}:
            table.add_row("[bold]bank", bank_line(self.experiment, None if self._streamed else info))
        for name, text in lines.items():
            table.add_row(f"[bold]{name}", text)
        self.console.print(table, highlight=False)


@contextmanager
def open_session(
    experiment: Experiment,
    kind: Kind,
    console: Console | None = None,
    *,
    roles: Collection[Role] = ("teacher", "student"),
    held_out: Split = "validation",
    space: SearchSpace | None = None,
    others: Sequence[Mapping[str, Any]] = (),
    rehearsed: bool = True,
) -> Iterator[Session]:
    """Check everything that can be checked without a cluster, lock the output folder, and yield the session.

    Args:
        experiment: The experiment as the user gave it.
        kind: Of the job.
        console: Where the plan, progress and results are shown. None: standard output.
        roles: The networks that the job needs.
        held_out: The split that the job is measured on.
        space: What is searched; its choices are rehearsed as well, and teachers among them are fetched.
        others: Settings besides under which students have other teachers, which are fetched.
        rehearsed: Rehearse the experiment itself. A job that trains others rehearses those.

    Raises:
        RaykdError: something in the settings is wrong, the folder was begun with others or is in use by another
            process, or the run was interrupted; one or two lines say what to do.
    """
    console = console or standard_output()
    check_temporary_folder()
    experiment = with_weights_digests(with_lasting_paths(experiment), space)
    check_storage(experiment)
    others = others if space is None else searched_teachers(space)
    with working(console, "checking settings, data and networks"):
        checked = preflight(experiment, roles, held_out, others)
        if rehearsed and "student" in roles:
            rehearse(checked.experiment, checked.data, space)
        elif rehearsed and "teacher" in roles:
            rehearse_teacher(checked.experiment, checked.data)
    check_mlflow(experiment.tracking, console)
    with _disk_told_of(experiment), ExitStack() as stack:
        stack.enter_context(locked_folder(experiment))
        check_folder(experiment, "confirm" if kind == "confirm" else "study")
        session = Session(checked, experiment, kind, console, stack)
        stack.push(session.failed)
        yield session


@contextmanager
def _disk_told_of(experiment: Experiment) -> Iterator[None]:
    """Errors of the disk end a run in a sentence, and one that was begun can be resumed."""
    try:
        yield
    except (StorageError, OSError) as error:
        message = str(error) if isinstance(error, StorageError) else disk_error(error)
        if message is None or "\n" in message:
            raise
        begun = (experiment.folder / SETTINGS).exists()
        if begun:
            message += "\nnothing is lost: when that is mended, the same command with --resume goes on"
        told = StorageError(message)
        told.exit_code = FAILED if begun else told.exit_code
        raise told from error


def untrained(requests: Iterable[TrainRequest]) -> list[TrainRequest]:
    """Those whose finished models are not there, or were never evaluated."""
    # An external teacher that was fetched again has no metrics before it is evaluated.
    return [request for request in requests if not (description(request.folder) or {}).get("metrics")]
