"""What a study found: its trials, the best student, and the teacher and plain student to hold it against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from rich.console import Console
from rich.table import Table

from raykd.config import Goal
from raykd.places import BEST, TRIALS
from raykd.results.finalists import Finalists
from raykd.results.frames import epochs_frame, html_table, text_table, trials_frame
from raykd.results.pareto import FRONT, front_table
from raykd.results.statistics import percent
from raykd.results.trial_summary import TrialSummary, ranked, summaries
from raykd.search.goals import goals_of
from raykd.storage import below
from raykd.tracking import Address
from raykd.tracking.outbox import logged_epochs
from raykd.training.folder import keep_model

if TYPE_CHECKING:
    import pandas

SHOWN_TRIALS = 5
SMALL_ERROR = 0.005
"""Of a standard error so large a study says that its validation split is small."""


@dataclass(frozen=True, repr=False)
class StudyResult:
    """A study's outcome.

    - folder: the study's
    - trials: all of them, in order
    - teacher, plain: descriptions of the teacher, with its ``folder``, and of the student trained without one (see
      `raykd.training.folder`); the latter is None if it could not be trained
    - place: where MLflow has it
    - goals: what was optimised, see `raykd.search.goals`
    - finalists: the best settings and baselines under further seeds, or None
    - pareto: with several goals, the finished trials that no other one beats in all of them, most accurate first
    """

    folder: Path
    trials: tuple[TrialSummary, ...]
    teacher: Mapping[str, Any]
    plain: Mapping[str, Any] | None
    place: Address
    goals: tuple[Goal, ...] = ("accuracy",)
    pareto: tuple[TrialSummary, ...] = ()
    finalists: Finalists | None = None

    @classmethod
    def of(
        cls,
        folder: Path,
        study: optuna.Study,
        teacher: Mapping[str, Any],
        plain: Mapping[str, Any] | None,
        place: Address,
    ) -> StudyResult:
        """The outcome as the study's record has it."""
        known = study.get_trials(deepcopy=False)
        waiting = optuna.trial.TrialState.WAITING
        begun = [pair for pair in zip(summaries(known), known, strict=True) if pair[1].state != waiting]
        trials = tuple(each for each, _ in begun)
        goals = goals_of(study)
        unbeaten = {trial.number for trial in study.best_trials} if len(goals) > 1 else set()
        front = [each for each, trial in begun if trial.number in unbeaten]
        pareto = tuple(sorted(front, key=lambda trial: trial.accuracy or 0.0, reverse=True))
        return cls(folder, trials, teacher, plain, place, goals, pareto, Finalists.of(folder))

    @property
    def ranked(self) -> list[TrialSummary]:
        """Finished trials: the winner of the finalists, then by their accuracy; of equals the earlier one first."""
        winner = None if self.finalists is None else self.finalists.winner
        name = None if winner is None else winner.name
        return sorted(ranked(self.trials), key=lambda trial: trial.name != name)

    def shown(self, count: int) -> list[TrialSummary]:
        """What a table shows: so many of the best trials, and the start points behind them."""
        return [trial for place, trial in enumerate(self.ranked) if place < count or trial.start is not None]

    @property
    def best(self) -> TrialSummary | None:
        """The winner of the finalists, or without them the most accurate finished trial.

        With several goals, of equals one that none beats in the others.
        """
        return next(iter(self.pareto or self.ranked), None)

    @property
    def best_folder(self) -> Path:
        """Where the best student lies: weights and settings, for `raykd.load_model`."""
        return self.folder / BEST

    def trials_frame(self) -> pandas.DataFrame:
        """The trials as a table: a row a trial, a column a searched setting; see `raykd.results.frames`."""
        return trials_frame(self.trials)

    def epochs_frame(self) -> pandas.DataFrame:
        """What every epoch of every trial gave: a row an epoch, a column a metric. Empty if nothing was logged."""
        return epochs_frame(logged_epochs(self.folder))

    def __repr__(self) -> str:
        return text_table(self._caption(), self._rows())

    def _repr_html_(self) -> str:
        return html_table(self._caption(), ("", "last epoch", "epochs", "settings"), self._rows())

    def _caption(self) -> str:
        return f"StudyResult {self.folder}: {self._counts()}; accuracy on the validation split"

    def _rows(self) -> list[tuple[str, str, str, str]]:
        models = {"teacher": self.teacher, "plain student": self.plain}
        known = {name: model for name, model in models.items() if model is not None}
        return [
            *((name, f"{m['metrics']['validation_accuracy']:.2%}", f"{m['epochs']}", "") for name, m in known.items()),
            *((t.name, f"{t.accuracy:.2%}", f"{t.epochs}", t.settings) for t in self.ranked[:SHOWN_TRIALS]),
        ]

    def _counts(self) -> str:
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"{len(states)} trials: {counts}" if states else "no trials"

    def _against_best(self, accuracy: float | None) -> str:
        """The difference from the best trial in points; nothing of that trial itself."""
        best = None if self.best is None else self.best.accuracy
        return "" if best is None or accuracy in (None, best) else percent(accuracy - best, "+")

    def _caution(self) -> str | None:
        """How uncertain the best accuracy is, where the validation split is small."""
        accuracy = None if self.best is None else self.best.accuracy
        if accuracy is None:
            return None
        folds = self.teacher.get("lesson", {}).get("data", {}).get("folds")
        images = self.teacher["data"]["split_sizes"]["validation"] * (folds or 1)
        error = math.sqrt(accuracy * (1 - accuracy) / images)
        if error < SMALL_ERROR:
            return None
        advice = "" if folds else "\nSmaller differences may be chance; data.folds measures on more images."
        return f"Of {images} validation images, {accuracy:.2%} has a standard error of {percent(error)} points.{advice}"

    def keep_best(self, shared: str) -> None:
        """Copy the best student out of its trial's folder, below the study's shared folder, into the study's own."""
        if self.best is not None:
            keep_model(below(shared, TRIALS, self.best.name), self.best_folder)

    def show(self, console: Console) -> None:
        """Print the best trials beside the teacher and the plain student, and where to look further."""
        table = Table(title=f"{self.folder.name}: accuracy on the validation split", title_justify="left")
        for heading in ("", "last epoch", "to best", "best epoch", "epochs"):
            table.add_column(heading, justify="left" if not heading else "right")
        for label, model in (("teacher", self.teacher), ("plain student", self.plain)):
            if model is None:
                continue
            metrics = model["metrics"]
            # A teacher from elsewhere has no epochs that anybody knows of.
            known = "best_epoch" in metrics
            best = f"{metrics['best_validation_accuracy']:.2%} ({metrics['best_epoch']:.0f})" if known else ""
            epochs = str(model["epochs"]) if known else ""
            accuracy = metrics["validation_accuracy"]
            table.add_row(label, f"{accuracy:.2%}", self._against_best(accuracy), best, epochs)
        table.add_section()
        for trial in self.shown(SHOWN_TRIALS):
            best = f"{trial.best_accuracy:.2%} ({trial.best_epoch})"
            against = self._against_best(trial.accuracy)
            table.add_row(trial.label, f"{trial.accuracy:.2%}", against, best, str(trial.epochs))
        console.print(table, highlight=False)
        console.print(f"{self._counts()}. The test split was not touched.", highlight=False)
        if caution := self._caution():
            console.print(caution, highlight=False)
        if self.finalists is not None:
            self.finalists.show(console)
        if self.best is not None:
            console.print(f"{self.best.name}: {self.best.settings}", highlight=False)
            console.print(f"best student: {self.best_folder}", soft_wrap=True, highlight=False)
        if self.pareto:
            console.print(front_table(self.pareto, self.goals), highlight=False)
            console.print(f"their students: {self.folder / FRONT}", soft_wrap=True, highlight=False)
        console.print(f"look further: {self.place.look}", soft_wrap=True, highlight=False)
