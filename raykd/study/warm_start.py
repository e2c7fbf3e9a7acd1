"""Warm start: a study's sampler learns from the finished trials of earlier studies that fit and may be compared.

These trials are not part of the new study: not of its budget, results, storage or MLflow run. What was taken is kept
in the study's folder, so that a resumed study learns from the same trials, even if the earlier studies have changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from raykd.config import Experiment
from raykd.database_urls import split_study, without_password
from raykd.errors import RaykdError, unknown_name
from raykd.records import read_json, write_json
from raykd.results.load import recorded_study
from raykd.search.goals import goals_of
from raykd.search.space import SearchSpace, Value, takes
from raykd.search.start_points import is_outside
from raykd.search.storage import open_storage, storage_address, study_names
from raykd.settings_io import settings_in_use

RECORD = "warm_start.json"
"""File of the study's folder that holds what was taken."""

TAKE_ANEW = "delete it, and what the earlier studies hold by now is taken"

FINGERPRINT = "data"
"""Attribute of an Optuna study: the fingerprint of the data, which covers its splits."""
SETTINGS_ATTRIBUTE = "settings"
"""Attribute of an Optuna study: the settings that decide what its trials give, by dotted name, as shown in YAML."""

SAME = ("training.epochs",)
"""Settings without which accuracies may not be compared, besides the data's fingerprint."""
SECTIONS = ("data.", "student.", "teacher.", "training.", "objective.", "method.", "temperature.", "bias.", "schedule.")
WITHOUT_EFFECT = (
    "teacher.cache",
    "teacher.trust",
    "teacher.fetched",
    "teacher.model.digests",
    "student.digests",
    "data.root",
    "data.download",
    "data.cache",
    "data.loader_processes",
)


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of an earlier study: its settings in the present space, and its values by the present goals."""

    settings: Mapping[str, Value]
    values: Sequence[float]


@dataclass(frozen=True)
class Taken:
    """What became of one earlier study.

    - study: as it was named
    - trials: those that were taken
    - misfits: how many finished trials do not fit, by reason
    - differs: settings that are the same for all trials of either study, and other ones here; accuracies may differ for
      that reason alone
    """

    study: str
    trials: tuple[EarlierTrial, ...]
    misfits: Mapping[str, int]
    differs: tuple[str, ...]

    def __str__(self) -> str:
        finished = len(self.trials) + sum(self.misfits.values())
        text = f"{len(self.trials)} of {finished} finished trials of {self.study}"
        if self.misfits:
            reasons = "; ".join(f"{count}: {reason}" for reason, count in self.misfits.items())
            text += f" (left out {reasons})"
        if self.differs:
            text += f"; trained otherwise: {', '.join(self.differs)}"
        return text


def remember_settings(study: Study, experiment: Experiment, fingerprint: str) -> None:
    """Write into an Optuna study what later ones must know to learn from it."""
    if FINGERPRINT not in study.user_attrs:
        study.set_user_attr(FINGERPRINT, fingerprint)
        study.set_user_attr(SETTINGS_ATTRIBUTE, _deciding_settings(experiment))


def earlier_trials(experiment: Experiment, space: SearchSpace, fingerprint: str) -> list[Taken]:
    """What is known from the studies that `study.warm_start` names; a begun study's record goes first.

    Args:
        experiment: The new study's.
        space: What it searches.
        fingerprint: Of its data.

    Raises:
        RaykdError: an earlier study cannot be read, or its accuracies cannot be compared with the new one's: other data
            or splits, another number of epochs, or no value for one of the goals.
    """
    record = experiment.folder / RECORD
    begun = read_json(record, lambda taken: [_from_record(each) for each in taken], TAKE_ANEW)
    if begun is not None:
        return begun
    return [
        _taken(name, _earlier_study(name, experiment), experiment, space, fingerprint)
        for name in experiment.study.warm_start
    ]


def remember_taken(folder: Path, taken: Sequence[Taken]) -> None:
    """Keep what was taken in the study's folder."""
    if taken and not (folder / RECORD).exists():
        write_json(folder / RECORD, [asdict(each) for each in taken])


def as_trials(taken: Sequence[Taken], space: SearchSpace) -> list[FrozenTrial]:
    """What was taken, as Optuna's samplers know it."""
    distributions = {parameter.name: parameter.distribution for parameter in space.parameters}
    return [
        create_trial(
            params=dict(trial.settings),
            distributions={name: distributions[name] for name in trial.settings},
            values=list(trial.values),
        )
        for each in taken
        for trial in each.trials
    ]


def _from_record(content: Mapping[str, Any]) -> Taken:
    trials = tuple(EarlierTrial(**trial) for trial in content["trials"])
    return Taken(content["study"], trials, content["misfits"], tuple(content["differs"]))


def _earlier_study(name: str, experiment: Experiment) -> Study:
    """An earlier study, by its folder, its name below `study.output`, or its storage and name."""
    address, study = split_study(name)
    if not study:
        return recorded_study(name, experiment.study.output).study
    storage = storage_address(address)
    names = study_names(storage)
    if study not in names:
        raise unknown_name("study", study, names, f"study.warm_start {without_password(name)}")
    return optuna.load_study(study_name=study, storage=open_storage(storage))


def _taken(name: str, study: Study, experiment: Experiment, space: SearchSpace, fingerprint: str) -> Taken:
    name = without_password(name)
    goals = experiment.study.objectives
    spec, ours = study.user_attrs.get(SETTINGS_ATTRIBUTE), _deciding_settings(experiment)
    if spec is None:
        raise _incomparable(name, "it does not say what it was trained on")
    if study.user_attrs[FINGERPRINT] != fingerprint:
        raise _incomparable(name, "its data or its splits are others")
    for setting in SAME:
        if spec[setting] != ours[setting]:
            raise _incomparable(name, f"{setting} is {spec[setting]} there and {ours[setting]} here")
    theirs = goals_of(study)
    if missing := [goal for goal in goals if goal not in theirs]:
        raise _incomparable(name, f"it has no {' and no '.join(missing)}")
    trials, misfits = [], Counter[str]()
    searched = set(space.names) | set(study.user_attrs.get("space", {}))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        reason = "a start point outside its space" if is_outside(trial) else misfit(trial.params, space)
        if reason is None:
            trials.append(EarlierTrial(trial.params, [trial.values[theirs.index(goal)] for goal in goals]))
        else:
            misfits[reason] += 1
    differs = tuple(
        f"{setting} {spec.get(setting)} (here {value})"
        for setting, value in ours.items()
        if setting not in searched and spec.get(setting) != value
    )
    return Taken(name, tuple(trials), dict(misfits), differs)


def misfit(settings: Mapping[str, Value], space: SearchSpace) -> str | None:
    """Why no trial of a space could have these settings; None if one could."""
    wanted = space.active(settings)
    for name in settings:
        if name not in wanted:
            return f"{name} is not searched here" if name not in space.names else f"{name} does not fit its condition"
    for parameter in space.parameters:
        if parameter.name in wanted and parameter.name not in settings:
            return f"no {parameter.name}"
        if parameter.name in wanted and not takes(parameter.distribution, settings[parameter.name]):
            return f"{parameter.name} outside {parameter.range}"
    return None


def _incomparable(name: str, reason: str) -> RaykdError:
    return RaykdError(f"study.warm_start {name}: {reason}, so its accuracies cannot be compared: leave it out")


def _deciding_settings(experiment: Experiment) -> dict[str, str]:
    """The settings that decide what a trial gives, by name."""
    settings = settings_in_use(experiment, SECTIONS)
    return {name: str(value) for name, value in settings.items() if name not in WITHOUT_EFFECT}
