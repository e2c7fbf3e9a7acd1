"""The main job: tune a distillation from settings to the best student on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from ray.tune import Callback
from rich.console import Console

from raykd.cluster.classrooms import Classrooms, Usage
from raykd.cluster.client import train_to_end
from raykd.cluster.node_checks import NodeChecks, check_nodes
from raykd.cluster.resources import Plan, Resources, wait_for_resources
from raykd.cluster.session import ray_session
from raykd.config import Experiment
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.places import check_storage, shared_folder
from raykd.progress import RunProgress, standard_output
from raykd.results.pareto import draw_front, keep_front
from raykd.results.provenance import provenance_of_student
from raykd.results.study import StudyResult
from raykd.search.goals import check_goals
from raykd.search.names import TRIALS
from raykd.search.run import search
from raykd.search.searcher import open_study, remaining_trials
from raykd.search.space import SearchSpace, load_space
from raykd.search.storage import check_optuna_storage, study_names, study_storage
from raykd.search.storage_address import shown
from raykd.search.student_size import StudentSizes
from raykd.search.trial import TrialContext
from raykd.storage import below
from raykd.study.adoption import judge_teacher
from raykd.study.callback import SizeCallback, StudyCallback
from raykd.study.driver import sole_driver
from raykd.study.folder import (
    PLAIN,
    RAY,
    SETTINGS,
    begin_folder,
    check_folder,
    remember_taught,
    with_lasting_paths,
    without_passwords,
)
from raykd.study.mlflow_log import Provenance, TrialLog, log_outcome
from raykd.study.preflight import brief, remember_teacher, show_briefing
from raykd.study.rehearsal import rehearse
from raykd.study.tracked import tracked
from raykd.study.train import teach_teachers
from raykd.study.warm_start import Taken, as_trials, earlier_trials, remember_settings, remember_taken
from raykd.tracking import Tracker, check_tracking
from raykd.training.folder import description, keep_model
from raykd.training.messages import TrainRequest
from raykd.training.saved import load_model
from raykd.training.teacher_cache import teachers


def tune(experiment: Experiment, console: Console | None = None) -> StudyResult:
    """Train or find the teacher, search the student's hyperparameters, and keep the best student.

    Everything lands in `outputs/<study.name>/` and in MLflow. With `study.resume` an interrupted study goes on and a
    finished one is only shown.

    Args:
        experiment: The experiment.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, or no trial finished; one or two lines say what to do.
    """
    console = console or standard_output()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = with_lasting_paths(experiment)
    check_storage(experiment)
    space = load_space(experiment.study.space, without_passwords(experiment))
    briefing = brief(experiment, "teacher", "student")
    check_goals(experiment.study.objectives, space)
    rehearse(briefing.experiment, briefing.data, space)
    check_tracking(experiment.tracking)
    check_optuna_storage(experiment)
    with ExitStack() as stack:
        stack.enter_context(sole_driver(experiment))
        check_folder(experiment)
        earlier = earlier_trials(experiment, space, briefing.data.fingerprint)
        sizes: Plan | None = None
        node_checks: NodeChecks | None = None
        if not _is_over(briefing.experiment, briefing.data):
            stack.enter_context(ray_session(experiment.cluster))
            have, sizes = wait_for_resources(experiment.cluster, experiment.study.trials, console)
            node_checks = check_nodes(experiment, sizes)
            judge_teacher(briefing.experiment, sizes)
        folder = begin_folder(experiment)
        remember_teacher(briefing.experiment)
        remember_taken(folder, earlier)
        tracker = stack.enter_context(tracked(experiment, folder, console))
        run = _Run(briefing.experiment, space, briefing.data, tracker, console, earlier)
        if sizes is not None:
            show_briefing(console, experiment, briefing, run.extra_lines(have, sizes))
            run.teach_and_search(sizes, node_checks)
        return run.conclude()


def _open_study(experiment: Experiment, earlier: Sequence[FrozenTrial] = ()) -> optuna.Study:
    settings = experiment.study
    place = study_storage(settings, experiment.folder)
    return open_study(place, settings.name, settings.seed, settings.objectives, settings.trials, earlier)


def _plain_student(experiment: Experiment, data: DataInfo) -> TrainRequest:
    return TrainRequest(
        student=PLAIN,
        spec=experiment.training_spec().without_teacher(),
        teacher=None,
        folder=below(shared_folder(experiment), PLAIN),
        data=data.fingerprint,
    )


def _is_over(experiment: Experiment, data: DataInfo) -> bool:
    """Whether nothing is left to teach: no cluster is needed to show such a study."""
    if experiment.study.name not in study_names(study_storage(experiment.study, experiment.folder)):
        return False
    networks = [*teachers(experiment, data.fingerprint), _plain_student(experiment, data)]
    # A teacher that was fetched again has no metrics before it is judged.
    taught = all((description(network.folder) or {}).get("metrics") for network in networks)
    return taught and remaining_trials(_open_study(experiment), experiment.study.trials) <= 0


class _Run:
    """One launch of a study."""

    def __init__(
        self,
        experiment: Experiment,
        space: SearchSpace,
        data: DataInfo,
        tracker: Tracker,
        console: Console,
        earlier: Sequence[Taken],
    ) -> None:
        self._experiment = experiment
        self._space = space
        self._data = data
        self._tracker = tracker
        self._console = console
        self._folder = experiment.folder
        self._shared = shared_folder(experiment)
        self._earlier = earlier
        self._study = _open_study(experiment, as_trials(earlier, space))
        remember_settings(self._study, experiment, data.fingerprint)
        goals = experiment.study.objectives
        self._sizes = StudentSizes(experiment, data, goals, self._study) if len(goals) > 1 else None
        self._teachers = teachers(experiment, data.fingerprint)
        self._plain = _plain_student(experiment, data)
        self._taught = False

    @property
    def remaining(self) -> int:
        """Trials that have not ended."""
        return remaining_trials(self._study, self._experiment.study.trials)

    def extra_lines(self, have: Resources, sizes: Plan) -> dict[str, str]:
        """What the briefing adds about the search and the cluster."""
        settings = self._experiment.study
        done = settings.trials - self.remaining
        lines = {
            "space": f"{len(self._space.names)} settings from {self._space.source}",
            "search": f"{settings.trials} trials of {self._experiment.training.epochs} epochs, "
            f"scheduler {settings.early_stopping}" + (f"; {done} trials are done" if done else ""),
            "cluster": str(have),
            "plan": str(sizes),
            "results": str(self._folder),
        }
        if settings.storage is not None:
            lines["storage"] = shown(study_storage(settings, self._folder))
        if self._sizes is not None:
            self._sizes.measure_all(self._space)
            lines["objectives"] = f"{', '.join(settings.objectives)}; {self._sizes}"
        if self._earlier:
            lines["warm start"] = "\n".join(map(str, self._earlier))
        return lines

    def teach_and_search(self, sizes: Plan, node_checks: NodeChecks | None) -> None:
        """Have the teacher taught, then run the trials, with the plain student beside them."""
        provenance = Provenance(without_passwords(self._experiment), self._data, sizes)
        self._start_tracking(provenance)
        self._taught = True
        usage = Usage(self._experiment.tracking.system_seconds, self._tracker.usage)
        storage = below(self._shared, RAY)
        with Classrooms(sizes, self._experiment.cluster, storage, self._console, usage, node_checks) as classrooms:
            teach_teachers(classrooms.broker, self._teachers, self._console)
            remember_taught(self._folder, self._teacher())
            # It outlives an interrupted search no longer than the classrooms do.
            beside = ThreadPoolExecutor(1)
            plain: Future[Any] = beside.submit(train_to_end, classrooms.broker, self._plain)
            beside.shutdown(wait=False)
            if self.remaining > 0:
                self._search(classrooms, sizes, provenance)
            if self.remaining <= 0:
                self._wait_for_plain(plain)

    def conclude(self) -> StudyResult:
        """Collect the result, keep and log the best student, and show the table.

        Raises:
            RaykdError: no trial finished.
            KeyboardInterrupt: the study is not over.
        """
        if self.remaining > 0:
            raise KeyboardInterrupt
        plain = description(self._plain.folder)
        result = StudyResult.of(self._folder, self._study, self._teacher(), plain, self._tracker.describe())
        if self._taught:
            log_outcome(self._tracker, result)
        if result.best is None:
            result.show(self._console)
            raise RaykdError(f"no trial finished; {below(self._shared, TRIALS)} holds what is known of each")
        if self._taught or not result.best_folder.exists():
            result.keep_best(self._shared)
            if plain is not None and self._experiment.cluster.storage is not None:
                keep_model(self._plain.folder, self._folder / PLAIN)
            if result.pareto:
                keep_front(result, self._shared)
                for file in draw_front(self._study, self._folder):
                    self._tracker.artifact(file)
            self._log_best(result)
        result.show(self._console)
        return result

    def _teacher(self) -> dict[str, Any]:
        """What is known of the teacher, and its folder."""
        folder = self._teachers[-1].folder
        found = description(folder)
        assert found is not None
        return found | {"folder": folder}

    def _wait_for_plain(self, plain: Future[Any]) -> None:
        try:
            plain.result()
        except RaykdError as error:  # the trials are what the study is for
            self._console.print(f"no plain student: {error}", soft_wrap=True, highlight=False, markup=False)

    def _start_tracking(self, provenance: Provenance) -> None:
        experiment = self._experiment
        facts = {
            "data.name": experiment.data.name,
            "teacher.kind": experiment.teacher.kind,
            "teacher.model.name": experiment.teacher.model.name,
            "student.name": experiment.student.name,
            "method.name": experiment.method.name,
            "training.epochs": experiment.training.epochs,
            "study.space": experiment.study.space,
            "study.trials": experiment.study.trials,
            "study.scheduler": experiment.study.scheduler,
        }
        tags = {"raykd.kind": "tune"} | provenance.tags
        self._tracker.start_study(facts, tags, [self._folder / SETTINGS], provenance.datasets)

    def _search(self, classrooms: Classrooms, sizes: Plan, provenance: Provenance) -> None:
        epochs = self._experiment.training.epochs
        at_once = min(sizes.classrooms * sizes.seats, self.remaining)
        context = TrialContext(classrooms.name, without_passwords(self._experiment), self._data.fingerprint, at_once)
        with RunProgress(self._console, "search", self.remaining * epochs, self.remaining) as progress:
            callbacks: list[Callback] = [
                StudyCallback(TrialLog(self._tracker, provenance), progress, classrooms.broker, epochs)
            ]
            if self._sizes is not None:
                callbacks.append(SizeCallback(self._tracker, self._sizes))
            search(context, self._study, self._space, callbacks, self.remaining, lambda: classrooms.seats, self._sizes)

    def _log_best(self, result: StudyResult) -> None:
        assert result.best is not None
        student = load_model(result.best_folder)
        example = next(iter(evaluation_batches(load_data(self._experiment.data), "validation", batch_size=1)))
        metadata = {"study": self._experiment.study.name, "trial": result.best.name}
        provenance = provenance_of_student(result.best_folder, self._experiment, result, result.best)
        self._tracker.log_student(student, example.pixels, metadata, provenance)
