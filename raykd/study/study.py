"""The main job: tune a distillation from settings to the best student on disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console

from raykd.config import Experiment
from raykd.data import DataInfo, evaluation_batches, load_data
from raykd.errors import RaykdError
from raykd.report.progress import RunProgress
from raykd.study.briefing import brief, show_briefing
from raykd.study.callback import StudyCallback
from raykd.study.classrooms import Classrooms
from raykd.study.cluster import Plan, Resources, connected, plan
from raykd.study.lessons import teach_teachers
from raykd.study.record import JOURNAL, PLAIN, RAY, open_folder
from raykd.study.result import StudyResult
from raykd.study.search import search
from raykd.study.searcher import open_study
from raykd.study.seat import teach
from raykd.study.space import SearchSpace, load_space
from raykd.study.teachers import teachers
from raykd.study.trial import TrialContext
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
    console = console or Console()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = experiment.with_absolute_paths()
    space = load_space(experiment.study.space, experiment)
    briefing = brief(experiment, "teacher", "student")
    check(experiment.tracking)
    folder = open_folder(experiment)
    settings = experiment.study
    study = open_study(folder / JOURNAL, settings.name, settings.seed, trials=settings.trials)
    tracker = Tracker(experiment.tracking, folder, settings.name)
    try:
        run = _Run(experiment, space, briefing.data, folder, study, tracker, console)
        if run.remaining or not run.finished_before():
            with connected(experiment.cluster):
                have = Resources.now()
                sizes = plan(experiment.cluster, have, students=settings.trials)
                show_briefing(console, experiment, briefing, run.extra_lines(have, sizes))
                run.teach_and_search(sizes)
        return run.conclude()
    finally:
        undelivered = tracker.close()
        if undelivered:
            console.print(f"MLflow: {undelivered}", soft_wrap=True, highlight=False)


class _Run:
    """One launch of a study."""

    def __init__(
        self,
        experiment: Experiment,
        space: SearchSpace,
        data: DataInfo,
        folder: Path,
        study: optuna.Study,
        tracker: Tracker,
        console: Console,
    ) -> None:
        self._experiment = experiment
        self._space = space
        self._data = data
        self._folder = folder
        self._study = study
        self._tracker = tracker
        self._console = console
        self._teachers = teachers(experiment, data.fingerprint)
        self._plain = Enrolment(
            student=PLAIN,
            lesson=experiment.lesson().without_teacher().model_dump(mode="json"),
            teacher=None,
            folder=str(folder / PLAIN),
        )

    @property
    def remaining(self) -> int:
        """Trials that have not ended."""
        return self._experiment.study.trials - len(self._study.get_trials(deepcopy=False, states=ENDED))

    def finished_before(self) -> bool:
        """Whether the teacher and the plain student are there."""
        return all(description(each.folder) for each in (*self._teachers, self._plain))

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
        self._start_tracking()
        with Classrooms(sizes, self._experiment.cluster, self._folder / RAY) as classrooms:
            teach_teachers(classrooms.broker, self._teachers, self._console)
            with ThreadPoolExecutor(1) as beside:
                plain: Future[Any] = beside.submit(teach, classrooms.broker, self._plain)
                if self.remaining > 0:
                    self._search(classrooms, sizes)
                plain.result()

    def conclude(self) -> StudyResult:
        """Collect the result, keep and log the best student, and show the table.

        Raises:
            RaykdError: the study is not over, or no trial finished.
        """
        if self.remaining > 0:
            self._tracker.end_study("interrupted")
            done = self._experiment.study.trials - self.remaining
            raise RaykdError(
                f"interrupted after {done} of {self._experiment.study.trials} trials; "
                "nothing is lost: the same command with --resume goes on"
            )
        chosen, plain = description(self._teachers[-1].folder), description(self._plain.folder)
        assert chosen is not None
        assert plain is not None
        result = StudyResult.of(self._folder, self._study, chosen, plain, self._tracker.describe())
        if result.best is None:
            self._tracker.end_study("failed")
            result.show(self._console)
            raise RaykdError(f"no trial finished; {self._folder}/trials holds what is known of each")
        result.keep_best()
        self._log_best(result)
        result.show(self._console)
        return result

    def _start_tracking(self) -> None:
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
        self._tracker.start_study(facts, artifacts=[self._folder / "experiment.yaml"])

    def _search(self, classrooms: Classrooms, sizes: Plan) -> None:
        epochs = self._experiment.training.epochs
        at_once = min(sizes.classrooms * sizes.seats, self.remaining)
        context = TrialContext(classrooms.name, self._experiment, self._data.fingerprint, at_once)
        with RunProgress(self._console, "search", self.remaining * epochs, self.remaining) as progress:
            callback = StudyCallback(self._tracker, progress, classrooms.broker, epochs)
            search(context, self._study, self._space, callback, self.remaining)

    def _log_best(self, result: StudyResult) -> None:
        assert result.best is not None
        best = result.best
        self._tracker.study_metrics(
            {
                "best_trial_validation_accuracy": best.accuracy or 0.0,
                "teacher_validation_accuracy": result.teacher["metrics"]["validation_accuracy"],
                "plain_validation_accuracy": result.plain["metrics"]["validation_accuracy"],
            }
        )
        student = load_model(result.best_folder)
        example = next(iter(evaluation_batches(load_data(self._experiment.data), "validation", batch_size=1)))
        self._tracker.log_student(student, example.pixels, {"study": self._experiment.study.name, "trial": best.name})
        self._tracker.end_study("finished")
