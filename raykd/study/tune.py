"""The main job: tune a distillation from settings to the best student on disk."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from ray.tune import Callback
from rich.console import Console

from raykd.cluster.classrooms import Classrooms
from raykd.cluster.client import awaited, train_to_end
from raykd.config import Experiment
from raykd.data import evaluation_batches, load_data
from raykd.database_urls import without_password
from raykd.errors import RaykdError
from raykd.places import TRIAL_PREFIX, TRIALS, shared_folder, trial_name
from raykd.progress import RunProgress
from raykd.results.folds import over_folds
from raykd.results.pareto import draw_front, keep_front
from raykd.results.study import StudyResult
from raykd.results.trial_summary import summaries
from raykd.search.goals import check_goals
from raykd.search.names import METRIC
from raykd.search.optuna_study import open_study, remaining_trials
from raykd.search.plateau import ENDED, Plateau
from raykd.search.retries import failed_trials, retry_failed
from raykd.search.run import search
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space
from raykd.search.storage import check_optuna_storage, study_names, study_storage
from raykd.search.student_size import StudentSizes
from raykd.search.trial import TrialContext
from raykd.settings_io import setting_value
from raykd.storage import below
from raykd.study.external_teacher import given_teachers_line, with_searched_teacher
from raykd.study.finalists import Final, most_students
from raykd.study.folder import (
    locked_optuna_storage,
    remember_trained_teacher,
    with_lasting_paths,
    without_passwords,
)
from raykd.study.folds import Fold, folds_of
from raykd.study.kept import is_kept, repair_plain, repair_trials, say
from raykd.study.mlflow_log import TRIAL_ROLE, TrialLog, log_outcome
from raykd.study.session import Session, open_session, untrained
from raykd.study.start_points import start_points
from raykd.study.train import train_teachers
from raykd.study.trial_callback import SizeCallback, StudyCallback
from raykd.study.warm_start import Taken, as_trials, earlier_trials, remember_settings, remember_taken
from raykd.tracking import RunsTable
from raykd.training.folder import description, keep_model, model_files
from raykd.training.saved import load_model

PARAMETERS = (
    "data.name",
    "teacher.kind",
    "teacher.model.name",
    "student.name",
    "method.name",
    "training.epochs",
    "study.space",
    "study.trials",
    "study.scheduler",
)
"""Settings that the parent run has for parameters; those of a trial are its searched settings."""


def tune(experiment: Experiment, console: Console | None = None) -> StudyResult:
    """Train or find the teacher, search the student's hyperparameters, and keep the best student.

    Everything is written to `outputs/<study.name>/` and to MLflow. With `study.resume` an interrupted study goes on and
    a finished one is only shown.

    Args:
        experiment: The experiment.
        console: Where plan, progress and result are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong, or no trial finished; one or two lines say what to do.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = with_lasting_paths(experiment)
    space = load_space(experiment.study.space, without_passwords(experiment))
    experiment = with_searched_teacher(experiment, space)
    check_goals(experiment.study.objectives, space)
    start_points(experiment, space)  # It says what study.start should not name.
    check_optuna_storage(experiment)
    with open_session(experiment, "tune", console, space=space) as session, locked_optuna_storage(experiment):
        earlier = earlier_trials(experiment, space, session.data.fingerprint)
        folds = folds_of(session.experiment, session.data.fingerprint)
        repair_plain(folds, session.console)
        if _is_unfinished(session.experiment, folds):
            session.open_cluster(experiment.study.trials * len(folds), at_least=len(folds))
        session.make_folder()
        remember_taken(session.folder, earlier)
        study = _Study(session, space, folds, earlier)
        if session.plan is not None:
            parameters = {name: setting_value(experiment, name) for name in PARAMETERS}
            session.begin(parameters, table=RunsTable((METRIC, "epochs"), tuple(space.names), TRIAL_ROLE))
            with session.classrooms(study.plan_lines()) as classrooms:
                study.train(classrooms)
        if study.remaining > 0:
            raise KeyboardInterrupt
        return study.conclude()


def _open_study(experiment: Experiment, earlier: Sequence[FrozenTrial] = ()) -> optuna.Study:
    settings = experiment.study
    storage = study_storage(settings, experiment.folder)
    return open_study(storage, settings.name, settings.seed, settings.objectives, settings.trials, earlier)


def _is_unfinished(experiment: Experiment, folds: Sequence[Fold]) -> bool:
    """Whether anything is left to train: no cluster is needed to show a finished study."""
    if experiment.study.name not in study_names(study_storage(experiment.study, experiment.folder)):
        return True
    networks = [network for fold in folds for network in (*fold.chain, fold.plain)]
    study = _open_study(experiment)
    again = experiment.study.retry_failed and failed_trials(study)
    if untrained(networks) or again or remaining_trials(study, experiment.study.trials) > 0:
        return True
    return bool(_final(experiment, study, folds).open_work)


def _final(experiment: Experiment, study: optuna.Study, folds: Sequence[Fold]) -> Final:
    return Final(experiment, summaries(study.get_trials(deepcopy=False)), folds)


class _Study:
    """One launch of a study: what is searched, by whom the students are taught, and Optuna's record of the trials."""

    def __init__(self, session: Session, space: SearchSpace, folds: Sequence[Fold], earlier: Sequence[Taken]) -> None:
        self._session = session
        self._space = space
        self._folds = folds
        self._earlier = earlier
        self._experiment = session.experiment
        self._shared = shared_folder(session.experiment)
        self._study = _open_study(session.experiment, as_trials(earlier, space))
        self._again = retry_failed(self._study) if session.experiment.study.retry_failed else []
        self._start = start_points(session.experiment, space)
        remember_settings(self._study, session.experiment, session.data.fingerprint)
        goals = session.experiment.study.objectives
        several = len(goals) > 1
        self._sizes = StudentSizes(session.experiment, session.data, goals, self._study) if several else None

    @property
    def remaining(self) -> int:
        """Trials that have not ended."""
        return remaining_trials(self._study, self._experiment.study.trials)

    @property
    def _final(self) -> Final:
        return _final(self._experiment, self._study, self._folds)

    def plan_lines(self) -> dict[str, str]:
        """What the plan says about the search."""
        settings = self._experiment.study
        ended = settings.trials - self.remaining
        lines = {
            "follow it": f"raykd report {shlex.quote(str(self._session.folder))} --follow",
            "space": f"{len(self._space.names)} settings from {self._space.source}",
            "search": f"{settings.trials} trials of {self._experiment.training.epochs} epochs, "
            f"scheduler {settings.early_stopping}" + (f"; {ended} trials are done" if ended else ""),
        }
        if len(self._folds) > 1:
            lines["folds"] = f"{len(self._folds)}: a trial's accuracy is the mean of as many students, one on each"
        if self._again:
            names = ", ".join(map(trial_name, self._again))
            lines["again"] = f"{names}, which failed, as new trials"
        if teachers := given_teachers_line(self._experiment):
            lines["teachers"] = teachers
        lines["start"] = ", ".join(point.name for point in self._start[: settings.trials])
        if settings.finalists and len(settings.objectives) == 1:
            lines["finalists"] = (
                f"the best {settings.finalists}, the best start point and the plain student, "
                f"under {settings.finalist_seeds} further seeds"
            )
        if settings.storage is not None:
            lines["storage"] = without_password(str(study_storage(settings, self._session.folder)))
        if self._sizes is not None:
            self._sizes.measure_all(self._space)
            lines["objectives"] = f"{', '.join(settings.objectives)}; {self._sizes}"
        if self._earlier:
            lines["warm start"] = "\n".join(map(str, self._earlier))
        return lines

    def train(self, classrooms: Classrooms) -> None:
        """Train the teachers, then the trials, with the plain student beside them."""
        for fold in self._folds:
            train_teachers(classrooms.broker, fold.chain, self._session.console)
        teacher = self._teacher()
        remember_trained_teacher(self._session.folder, teacher)
        self._session.doubt_trained_teacher(teacher)
        # The threads of an interrupted search live no longer than the classrooms.
        beside = ThreadPoolExecutor(len(self._folds))
        plain = [beside.submit(train_to_end, classrooms.broker, fold.plain) for fold in self._folds]
        beside.shutdown(wait=False)
        if self.remaining > 0:
            self._search(classrooms)
        if self.remaining <= 0:
            self._final.train(self._session, classrooms.broker)
            try:
                for student in plain:
                    student.result()
            except RaykdError as error:  # the trials are what the study is for
                message = f"no plain student: {error}"
                self._session.console.print(message, soft_wrap=True, highlight=False, markup=False)

    def conclude(self) -> StudyResult:
        """Collect the result, keep and log the best student, and show the table.

        Raises:
            RaykdError: no trial finished.
        """
        session, tracker = self._session, self._session.tracker
        plain = over_folds([description(fold.plain.folder) for fold in self._folds])
        if finalists := self._final.outcome(plain):
            finalists.write(session.folder)
        teacher = self._teacher()
        remember_trained_teacher(session.folder, teacher)
        result = StudyResult.of(session.folder, self._study, teacher, plain, tracker.describe())
        trained = session.plan is not None
        if ended := self._study.user_attrs.get(ENDED):
            session.console.print(f"the search ended early: {ended}", highlight=False)
        if trained:
            log_outcome(tracker, result)
        if result.best is None:
            result.show(session.console)
            raise RaykdError(f"no trial finished; {below(self._shared, TRIALS)} holds what is known of each")
        if trained:
            self._keep(result)
        elif not is_kept(result, self._experiment, self._folds):
            self._keep(result)
            say(session.console, f"best student: what lay in {result.best_folder} was damaged; it is copied again")
        result.show(session.console)
        if result.best.accuracy is not None:
            session.compare_with_teacher(result.best.accuracy, result.best.values)
        return result

    def _search(self, classrooms: Classrooms) -> None:
        session, epochs, remaining = self._session, self._experiment.training.epochs, self.remaining
        plan = session.plan
        assert plan is not None
        # A trial takes a seat for its student on each fold.
        folds = len(self._folds)
        at_once = min(max(plan.classrooms * plan.seats // folds, 1), remaining)
        settings = without_passwords(self._experiment)
        context = TrialContext(classrooms.name, settings, tuple(fold.fingerprint for fold in self._folds), at_once)
        log = TrialLog(session.tracker, session.provenance, self._study)
        progress = RunProgress(
            session.console,
            "search",
            remaining * epochs,
            remaining,
            awaited=awaited(classrooms.broker, TRIAL_PREFIX),
            afterwards={"finalists": epochs * students} if (students := most_students(self._experiment.study)) else {},
        )
        with progress:
            callbacks: list[Callback] = [StudyCallback(log, progress, classrooms.broker, epochs, folds)]
            if self._sizes is not None:
                callbacks.append(SizeCallback(session.tracker, self._sizes))
            patience = self._experiment.study.patience
            # Each fold's validation images count.
            plateau = Plateau(patience, folds * session.data.split_sizes["validation"]) if patience else None
            search(
                context,
                self._study,
                self._space,
                callbacks,
                remaining,
                lambda: classrooms.seats // folds,
                lambda: classrooms.ended,
                self._sizes,
                self._start,
                plateau,
                lambda reason: classrooms.interrupt(f"{reason}: the run ends here"),
            )

    def _teacher(self) -> dict[str, Any]:
        """The description of the teacher, with its folder; with several folds, of the first fold's."""
        folders = [fold.chain[-1].folder for fold in self._folds]
        model = over_folds([description(folder) for folder in folders])
        assert model is not None
        return model | {"folder": folders[0]}

    def _keep(self, result: StudyResult) -> None:
        """Copy the best student, the plain one and the Pareto front into the study's folder, and log them."""
        tracker, folder = self._session.tracker, self._session.folder
        repair_trials(result, self._experiment, self._session.data, self._session.console)
        result.keep_best(self._shared)
        if result.plain is not None and self._experiment.cluster.storage is not None:
            for fold in self._folds:
                keep_model(fold.plain.folder, folder / fold.plain.student)
        if result.pareto:
            keep_front(result.pareto, folder, self._shared)
            tracker.artifact(draw_front(self._study, folder))
        assert result.best is not None
        example = next(iter(evaluation_batches(load_data(self._experiment.data), "validation", batch_size=1)))
        metadata = {"study": self._experiment.study.name, "trial": result.best.name}
        best = result.best_folder
        tracker.log_student(load_model(best), example.pixels, metadata, model_files(best))
