"""All that the page of a study is made of, gathered once from the study's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from raykd.places import trial_name
from raykd.records import read_json
from raykd.results.load import RecordedStudy, recorded_study
from raykd.results.study import StudyResult
from raykd.results.trial_summary import TrialSummary
from raykd.tracking.outbox import logged_epochs

CONFIRMED = Path("confirm", "result.json")
UNDER_WAY = "under way"
"""State of a trial that has not ended, while its study may be running."""
HIGHLIGHTED = 3
"""So many of the best trials stand out in the figures."""


@dataclass(frozen=True)
class BestSoFar:
    """The finished trials one by one; accuracies are shares of the validation split.

    - names, accuracies: of each
    - best: the highest accuracy up to each
    - along: number of the trial, or seconds of classes spent when it ended
    """

    names: list[str]
    along: list[float]
    accuracies: list[float]

    @property
    def best(self) -> list[float]:
        return list(accumulate(self.accuracies, max))


class Span(NamedTuple):
    """When a trial was trained, in seconds since the study's first trial began, and how it ended."""

    number: int
    name: str
    state: str
    begin: float
    end: float


@dataclass(frozen=True)
class StudyFacts:
    """What the page is made of.

    - recorded: the study as its folder has it
    - result: its outcome so far
    - epochs: metrics by trial and epoch, as they were logged
    - confirmed: what `raykd confirm` found (its result.json), or None
    """

    recorded: RecordedStudy
    result: StudyResult
    epochs: Mapping[str, Mapping[int, Mapping[str, float]]]
    confirmed: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The study's."""
        return self.recorded.experiment.study.name

    @property
    def images(self) -> int:
        """Of the validation split."""
        images: int = self.result.teacher["data"]["split_sizes"]["validation"]
        return images

    @property
    def highlighted(self) -> list[TrialSummary]:
        """The best trials, best first."""
        return self.result.ranked[:HIGHLIGHTED]

    @property
    def references(self) -> dict[str, float]:
        """Accuracy of teacher and plain student after their last epochs, as far as they are known."""
        known = {"teacher": self.result.teacher, "plain student": self.result.plain}
        return {name: model["metrics"]["validation_accuracy"] for name, model in known.items() if model is not None}

    @property
    def frozen(self) -> list[FrozenTrial]:
        """Optuna's records of the trials, in order."""
        return self.recorded.study.get_trials(deepcopy=False)

    @property
    def finished(self) -> list[FrozenTrial]:
        """Optuna's records of the finished ones."""
        return [trial for trial in self.frozen if trial.state == TrialState.COMPLETE]

    @property
    def under_way(self) -> list[TrialSummary]:
        """The trials that have not ended, where the study may be running."""
        return [trial for trial in self.result.trials if trial.state == UNDER_WAY]

    @property
    def stopped(self) -> list[FrozenTrial]:
        """Optuna's records of those that were stopped early, or have diverged, after at least an epoch."""
        return [trial for trial in self.frozen if trial.state == TrialState.PRUNED and trial.intermediate_values]

    def timeline(self) -> list[Span]:
        """When the trials were trained. One that has not ended lasts to the last moment that the record knows of."""
        begun = [(trial, trial.datetime_start) for trial in self.frozen if trial.datetime_start is not None]
        ends = [trial.datetime_complete for trial, _ in begun if trial.datetime_complete is not None]
        moments = [*(begin for _, begin in begun), *ends]
        summaries = {summary.name: summary for summary in self.result.trials}
        spans = []
        for trial, begin in begun:
            end = trial.datetime_complete or max(moments)
            seconds = [(moment - min(moments)).total_seconds() for moment in (begin, end)]
            summary = summaries[trial_name(trial.number)]
            spans.append(Span(trial.number, summary.name, summary.state, *seconds))
        return spans

    def accuracy(self, trial: FrozenTrial) -> float:
        """A finished trial's, whatever other goals the study has."""
        return float(trial.values[self.result.goals.index("accuracy")])

    def seconds(self, trial: TrialSummary) -> float:
        """A trial's share of the seconds of its classes: those of each epoch, divided among the students there.

        Of a trial whose epochs are not logged, the whole seconds.
        """
        logged = self.epochs.get(trial.name, {}).values()
        shares = [epoch["seconds"] / epoch["class_size"] for epoch in logged if {"seconds", "class_size"} <= set(epoch)]
        return sum(shares) if shares else trial.seconds

    def epochs_asked(self, trial: TrialSummary) -> int:
        """Epochs that a trial has when nobody stops it."""
        return int(trial.values.get("training.epochs", self.recorded.experiment.training.epochs))

    def best_over_trials(self) -> BestSoFar:
        """In the order of their numbers."""
        finished = self.finished
        return BestSoFar(
            [trial_name(trial.number) for trial in finished],
            [float(trial.number) for trial in finished],
            [self.accuracy(trial) for trial in finished],
        )

    def best_over_cost(self) -> BestSoFar:
        """In the order in which they ended; stopped trials cost as well."""
        ended = [trial for trial in self.frozen if trial.datetime_complete is not None]
        ended.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        summaries = {summary.name: summary for summary in self.result.trials}
        spent = accumulate(self.seconds(summaries[trial_name(trial.number)]) for trial in ended)
        finished = [
            (trial, cost) for trial, cost in zip(ended, spent, strict=True) if trial.state == TrialState.COMPLETE
        ]
        return BestSoFar(
            [trial_name(trial.number) for trial, _ in finished],
            [cost for _, cost in finished],
            [self.accuracy(trial) for trial, _ in finished],
        )


def facts_of(study: str | Path, output: Path | None = None) -> StudyFacts:
    """Gather a study's facts.

    Args:
        study: The study's folder, or its name below `output`.
        output: Holds one folder a study. None: the default of `study.output`.

    Raises:
        RaykdError: there is no such study, or it has no teacher yet.
    """
    return facts_from(recorded_study(study, output))


def facts_from(recorded: RecordedStudy, live: bool = False) -> StudyFacts:
    """Gather the facts of a study that has been found, as they are now.

    Args:
        recorded: The study.
        live: It may be running, so that its trials that have not ended are under way, and not interrupted.

    Raises:
        RaykdError: it has no teacher yet.
    """
    result = recorded.result
    if live:
        trials = (replace(each, state=UNDER_WAY) if each.state == "interrupted" else each for each in result.trials)
        result = replace(result, trials=tuple(trials))
    confirmed = read_json(recorded.folder / CONFIRMED, dict, "confirm the study again with --resume")
    return StudyFacts(recorded, result, logged_epochs(recorded.folder), confirmed)
