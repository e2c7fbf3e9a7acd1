"""The main job: tune a distillation from settings to the best student on disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console

from raykd.config import Experiment
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.report.progress import RunProgress, standard_output
from raykd.study.adoption import judge_teacher
from raykd.study.briefing import brief, remember_teacher, show_briefing
from raykd.study.callback import StudyCallback
from raykd.study.classrooms import Classrooms, Usage
from raykd.study.cluster import Plan, Resources
from raykd.study.joining import connected
from raykd.study.lessons import teach_teachers
from raykd.study.logged import Provenance, TrialLog, log_outcome
from raykd.study.record import (
    JOURNAL,
    PLAIN,
    RAY,
    SETTINGS,
    begin_folder,
    check_folder,
    remember_taught,
    with_lasting_paths,
)
from raykd.study.rehearsal import rehearse
from raykd.study.result import StudyResult
from raykd.study.search import search
from raykd.study.searcher import open_study
from raykd.study.seat import teach
from raykd.study.space import SearchSpace, load_space
from raykd.study.teachers import teachers
from raykd.study.tracked import tracked
from raykd.study.trial import TrialContext
from raykd.study.waiting import sized
from raykd.tracking import Tracker, check
from raykd.training.folder import description
from raykd.training.messages import Enrolment
from raykd.training.saved import load_model

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


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
    space = load_space(experiment.study.space, experiment)
    briefing = brief(experiment, "teacher", "student")
    rehearse(briefing.experiment, briefing.data, space)
    check(experiment.tracking)
    check_folder(experiment)
    with ExitStack() as stack:
        sizes: Plan | None = None
        if not _is_over(briefing.experiment, briefing.data):
            stack.enter_context(connected(experiment.cluster))
            have, sizes = sized(experiment.cluster, experiment.study.trials, console)
            judge_teacher(briefing.experiment, sizes)
        folder = begin_folder(experiment)
        remember_teacher(briefing.experiment)
        tracker = stack.enter_context(tracked(experiment, folder, console))
        run = _Run(briefing.experiment, space, briefing.data, tracker, console)
        if sizes is not None:
            show_briefing(console, experiment, briefing, run.extra_lines(have, sizes))
            run.teach_and_search(sizes)
        return run.conclude()


def _open_study(experiment: Experiment) -> optuna.Study:
    settings = experiment.study
    return open_study(experiment.folder / JOURNAL, settings.name, settings.seed, trials=settings.trials)


def _remaining(experiment: Experiment, study: optuna.Study) -> int:
    """Trials that have not ended."""
    return experiment.study.trials - len(study.get_trials(deepcopy=False, states=ENDED))


def _plain_student(experiment: Experiment) -> Enrolment:
    return Enrolment(
        student=PLAIN,
        lesson=experiment.lesson().without_teacher().model_dump(mode="json"),
        teacher=None,
        folder=str(experiment.folder / PLAIN),
    )


def _is_over(experiment: Experiment, data: DataInfo) -> bool:
    """Whether nothing is left to teach: no cluster is needed to show such a study."""
    if not (experiment.folder / JOURNAL).exists():
        return False
    networks = [*teachers(experiment, data.fingerprint), _plain_student(experiment)]
    # A teacher that was fetched again has no metrics before it is judged.
    taught = all((description(network.folder) or {}).get("metrics") for network in networks)
    return taught and _remaining(experiment, _open_study(experiment)) <= 0


class _Run:
    """One launch of a study."""

    def __init__(
        self, experiment: Experiment, space: SearchSpace, data: DataInfo, tracker: Tracker, console: Console
    ) -> None:
        self._experiment = experiment
        self._space = space
        self._data = data
        self._tracker = tracker
        self._console = console
        self._folder = experiment.folder
        self._study = _open_study(experiment)
        self._teachers = teachers(experiment, data.fingerprint)
        self._plain = _plain_student(experiment)
        self._taught = False

    @property
    def remaining(self) -> int:
        """Trials that have not ended."""
        return _remaining(self._experiment, self._study)

    def extra_lines(self, have: Resources, sizes: Plan) -> dict[str, str]:
        """What the briefing adds about the search and the cluster."""
        settings = self._experiment.study
        done = settings.trials - self.remaining
        return {
            "space": f"{len(self._space.names)} settings from {self._space.source}",
            "search": f"{settings.trials} trials of {self._experiment.training.epochs} epochs, "
            f"scheduler {settings.scheduler}" + (f"; {done} trials are done" if done else ""),
            "cluster": str(have),
            "plan": str(sizes),
            "results": str(self._folder),
        }

    def teach_and_search(self, sizes: Plan) -> None:
        """Have the teacher taught, then run the trials, with the plain student beside them."""
        provenance = Provenance(self._experiment, self._data, sizes)
        self._start_tracking(provenance)
        self._taught = True
        usage = Usage(self._experiment.tracking.system_seconds, self._tracker.usage)
        with Classrooms(sizes, self._experiment.cluster, self._folder / RAY, self._console, usage) as classrooms:
            teach_teachers(classrooms.broker, self._teachers, self._console)
            remember_taught(self._folder, self._teacher())
            # It outlives an interrupted search no longer than the classrooms do.
            beside = ThreadPoolExecutor(1)
            plain: Future[Any] = beside.submit(teach, classrooms.broker, self._plain)
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
            raise RaykdError(f"no trial finished; {self._folder}/trials holds what is known of each")
        if self._taught or not result.best_folder.exists():
            result.keep_best()
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
        context = TrialContext(classrooms.name, self._experiment, self._data.fingerprint, at_once)
        with RunProgress(self._console, "search", self.remaining * epochs, self.remaining) as progress:
            callback = StudyCallback(TrialLog(self._tracker, provenance), progress, classrooms.broker, epochs)
            search(context, self._study, self._space, callback, self.remaining, lambda: classrooms.seats)

    def _log_best(self, result: StudyResult) -> None:
        assert result.best is not None
        student = load_model(result.best_folder)
        example = next(iter(evaluation_batches(load_data(self._experiment.data), "validation", batch_size=1)))
        self._tracker.log_student(
            student, example.pixels, {"study": self._experiment.study.name, "trial": result.best.name}
        )
