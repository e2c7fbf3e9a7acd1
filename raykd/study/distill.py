"""Single runs through the same path as a study's trials: one student, or one teacher, in one classroom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from raykd.cluster.classrooms import Classrooms, Usage
from raykd.cluster.node_checks import check_nodes
from raykd.cluster.resources import wait_for_resources
from raykd.cluster.session import ray_session
from raykd.config import Experiment
from raykd.data import DataInfo
from raykd.places import check_storage, shared_folder
from raykd.progress import standard_output
from raykd.results.frames import html_table, text_table
from raykd.settings_io import settings_with_a_say
from raykd.storage import below, is_url
from raykd.study.adoption import judge_teacher
from raykd.study.folder import RAY, SETTINGS, STUDENT, begin_folder, check_folder, with_lasting_paths
from raykd.study.mlflow_log import Provenance
from raykd.study.preflight import brief, remember_teacher, show_briefing
from raykd.study.rehearsal import rehearse
from raykd.study.tracked import tracked
from raykd.study.train import teach_shown, teach_teachers
from raykd.tracking import check_tracking
from raykd.training.messages import Report, TrainRequest
from raykd.training.teacher_cache import teachers

SECTIONS = {
    "distill": ("data.", "student.", "training.", "objective.", "method.", "temperature.", "bias.", "schedule."),
    "train_teacher": ("data.", "teacher."),
}
"""Which settings each kind of run logs as parameters."""


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
        experiment: The experiment; what it says of the search is not used.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, or the student diverged.
    """

    def job(room: _Room) -> tuple[TrainRequest, dict[str, Any]]:
        spec = room.experiment.training_spec()
        chain = teachers(room.experiment, room.data.fingerprint) if spec.needs_teacher else []
        teach_teachers(room.broker, chain, room.console)
        student = TrainRequest(
            student=STUDENT,
            spec=spec,
            teacher=chain[-1].folder if chain else None,
            folder=below(shared_folder(room.experiment), STUDENT),
            data=room.data.fingerprint,
        )
        return student, teach_shown(room.broker, student, "student", room.console, room.log)

    roles = ("teacher", "student") if experiment.training_spec().needs_teacher else ("student",)
    return _run("distill", experiment, roles, job, console or standard_output())


def train_teacher(experiment: Experiment, console: Console | None = None) -> ModelResult:
    """Train the experiment's teacher into the teacher cache: the standard one, and the generous one where it is asked.

    Args:
        experiment: The experiment; only its data and teacher are used.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, or the teacher diverged.
    """

    def job(room: _Room) -> tuple[TrainRequest, dict[str, Any]]:
        chain = teachers(room.experiment, room.data.fingerprint)
        return chain[-1], teach_teachers(room.broker, chain, room.console, room.log)

    return _run("train_teacher", experiment, ("teacher",), job, console or standard_output())


@dataclass(frozen=True)
class _Room:
    """What a single run has at hand."""

    experiment: Experiment
    data: DataInfo
    broker: Any
    console: Console
    log: Callable[[Report], None]


def _run(
    kind: str,
    experiment: Experiment,
    roles: tuple[str, ...],
    job: Callable[[_Room], tuple[TrainRequest, dict[str, Any]]],
    console: Console,
) -> ModelResult:
    experiment = with_lasting_paths(experiment)
    check_storage(experiment)
    briefing = brief(experiment, *roles)
    if "student" in roles:
        rehearse(briefing.experiment, briefing.data)
    check_tracking(experiment.tracking)
    check_folder(experiment)
    with ray_session(experiment.cluster), ExitStack() as stack:
        have, sizes = wait_for_resources(experiment.cluster, 1, console)
        node_checks = check_nodes(experiment, sizes, teacher="teacher" in roles)
        if "teacher" in roles:
            judge_teacher(briefing.experiment, sizes)
        folder = begin_folder(experiment)
        if "teacher" in roles:
            remember_teacher(briefing.experiment)
        tracker = stack.enter_context(tracked(experiment, folder, console))
        parameters = settings_with_a_say(experiment, SECTIONS[kind])
        provenance = Provenance(experiment, briefing.data, sizes)
        tags = {"raykd.kind": kind} | provenance.tags
        tracker.start_study(parameters, tags, [folder / SETTINGS], provenance.datasets)
        lines = {"cluster": str(have), "plan": str(sizes), "results": str(folder)}
        show_briefing(console, experiment, briefing, lines)
        usage = Usage(experiment.tracking.system_seconds, tracker.usage)
        storage = below(shared_folder(experiment), RAY)
        with Classrooms(sizes, experiment.cluster, storage, console, usage, node_checks) as classrooms:

            def log(report: Report) -> None:
                tracker.study_metrics(report.metrics, step=report.epoch)

            request, found = job(_Room(briefing.experiment, briefing.data, classrooms.broker, console, log))
        console.print(f"look further: {tracker.describe().look}", soft_wrap=True, highlight=False)
    lies = request.folder
    return ModelResult(lies if is_url(lies) else Path(lies), found["metrics"])
