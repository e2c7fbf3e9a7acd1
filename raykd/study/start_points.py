"""Start points by name: the experiment's own settings, methods and papers as published, and those of the space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from raykd.config import Experiment, TrainingSpec
from raykd.errors import RaykdError, unknown_name
from raykd.knowledge.methods import METHODS
from raykd.places import PLAIN
from raykd.search.space import SearchSpace
from raykd.search.start_points import StartPoint, experiment_itself
from raykd.settings_io import override, setting_names, setting_value
from raykd.study.published import PAPERS, as_published, paper

EXPERIMENT = "experiment"
"""The name of the experiment's own settings."""
TELLING = {"teachers_bias": "bias.form", "generous_teacher": "teacher.kind"}
"""What a space must search for a paper's settings to be asked for."""
WARMUP = "objective.warmup_epochs"
SIZES = {
    "objective.ce_weight": "objective.kd_share",
    "objective.kd_weight": "objective.kd_share",
    "method.dkd.target_weight": "method.dkd.non_target_share",
    "method.dkd.non_target_weight": "method.dkd.non_target_share",
}
"""Weights whose sum a share divides. A start point lies in a space although it has another sum, or another warm-up."""
SECTIONS = ("objective.", "method.", "temperature.", "bias.", "schedule.", "student.", "training.", "teacher.")


def start_points(experiment: Experiment, space: SearchSpace) -> list[StartPoint]:
    """What a study begins with, in order; of two that train the same, the first.

    By default these are the experiment's own settings, KD and the experiment's method as published, the settings of
    papers on what the space searches, and the space's own start points.

    Args:
        experiment: The study's; `study.start` names other points.
        space: What it searches.

    Raises:
        RaykdError: `study.start` names what there is not.
    """
    ours = _known(experiment, space)
    for name in space.start.keys() & ours:
        raise RaykdError(f"{space.source}: start, {name}: raykd has a start point of this name: give it another")
    known = ours | {name: partial(override, experiment, values) for name, values in space.start.items()}
    names = experiment.study.start
    if names is None:
        host = experiment.method.name
        papers = [name for name in PAPERS if TELLING[name] in space.names]
        names = tuple(dict.fromkeys((EXPERIMENT, "kd", *([host] if host in METHODS else []), *papers, *space.start)))
    points: list[StartPoint] = []
    trained: list[object] = []
    for name in names:
        if name not in known:
            raise unknown_name("start point", name, known, "study.start")
        own = known[name]()
        identity = (own.training_spec().identity(), own.teacher)
        if identity not in trained:
            trained.append(identity)
            points.append(experiment_itself(space) if name == EXPERIMENT else _point(name, own, experiment, space))
    return points


def _known(experiment: Experiment, space: SearchSpace) -> dict[str, Callable[[], Experiment]]:
    """How the experiment of each start point that raykd has is made, by its name."""
    return {
        EXPERIMENT: lambda: override(experiment, space.defaults()),
        PLAIN: lambda: experiment.model_copy(update=_plain(experiment)),
        **{name: partial(as_published, experiment, name) for name in METHODS if METHODS[name].published},
        **{name: partial(paper, experiment, name) for name in PAPERS},
    }


def _plain(experiment: Experiment) -> Mapping[str, Any]:
    spec = experiment.training_spec().without_teacher()
    return {name: getattr(spec, name) for name in TrainingSpec.model_fields if name not in ("data", "bank")}


def _point(name: str, own: Experiment, experiment: Experiment, space: SearchSpace) -> StartPoint:
    names = [setting for setting in setting_names() if setting.startswith(SECTIONS) and _has_effect(setting, own)]
    settings = {each: setting_value(own, each) for each in names}
    settings = {each: value for each, value in settings.items() if value != setting_value(experiment, each)}
    place = space.place_of(own)
    # Conditions on settings that are not searched are judged by the experiment.
    if place is None or space.active(place) != list(place):
        return StartPoint(name, None, settings)
    settings = {each: value for each, value in settings.items() if each not in place}
    if all(SIZES.get(each) in place or each == WARMUP for each in settings):
        return StartPoint(name, place, settings)
    return StartPoint(name, None, {**settings, **place})


def _has_effect(name: str, experiment: Experiment) -> bool:
    """Whether a setting counts under the experiment's others."""
    section, _, last = name.partition(".")
    if section == "temperature" and last != "policy":
        return (last == "value") == (experiment.temperature.policy == "constant")
    if experiment.bias.form == "keep":
        return section != "schedule" and (section != "bias" or last == "form")
    return True
