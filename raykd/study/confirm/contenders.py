"""The contenders of a confirm: the baselines and the chosen trials, under the same seeds and at the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raykd.config import Experiment, MethodSettings, TrainingSpec
from raykd.knowledge.methods import METHODS
from raykd.places import PLAIN
from raykd.results.confirm import PUBLISHED_EPOCHS, ChosenTrial
from raykd.settings_io import override
from raykd.study.contenders import Contender, NamedTeacher, seeded_student
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

PUBLISHED = ("kd", "dkd")
"""The methods that are baselines beside the plain student, at their published settings."""
BASELINES = (PLAIN, *PUBLISHED)


def seeds_of(experiment: Experiment) -> range:
    """The seeds of the students: those after `training.seed`, under which the search chose its winner."""
    first = experiment.training.seed + 1
    return range(first, first + experiment.confirm.seeds)


def contenders(experiment: Experiment, trials: Sequence[ChosenTrial], fingerprint: str) -> list[Contender]:
    """The baselines, then the trials.

    Baselines have the student's network, training and augmentation of the study. Where the network itself was searched,
    they have the winner's.

    Args:
        experiment: The study's, to be measured on the test split.
        trials: Best first.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
    """
    network = {name: value for name, value in trials[0].values.items() if name.startswith("student.")}
    base = override(experiment, network | {"teacher.kind": "standard"})
    settings: list[tuple[str, Experiment, TrainingSpec, Mapping[str, Any]]]
    settings = [(PLAIN, base, base.training_spec().without_teacher(), {})]
    for name in PUBLISHED:
        published = as_published(base, name)
        settings.append((name, published, published.training_spec(), {}))
    for trial in trials:
        own = override(experiment, trial.values)
        settings.append((trial.name, own, own.training_spec(), dict(trial.values)))
    return [_contender(*each, seeds_of(experiment), fingerprint) for each in settings]


def as_published(experiment: Experiment, method: str) -> Experiment:
    """The experiment with a method at its published settings, and with nothing else that this study has tuned."""
    sections = ("objective", "temperature", "bias", "schedule")
    defaults = {name: TrainingSpec.model_fields[name].default for name in sections}
    fresh = experiment.model_copy(update=defaults | {"method": MethodSettings.of(METHODS[method]())})
    published = dict(METHODS[method].published)
    share = published["objective.warmup_epochs"] / PUBLISHED_EPOCHS
    return override(fresh, published | {"objective.warmup_epochs": round(share * experiment.training.epochs)})


def named_teachers(experiment: Experiment, compared: Sequence[Contender], fingerprint: str) -> list[NamedTeacher]:
    """All teachers of the contest, each once, in the order in which they must be trained.

    The first of each kind has the kind's name. A study whose teacher is generous has one, even if none of the
    contenders learns from it.
    """
    chains = [(contender.name, contender.experiment, contender.chain) for contender in compared]
    if not any(len(chain) > 1 for _, _, chain in chains):
        chains.append(("", experiment, tuple(teachers(experiment, fingerprint))))
    named: dict[str, NamedTeacher] = {}
    for owner, own, chain in chains:
        for kind, request in zip(("standard", "generous"), chain, strict=False):
            if request.folder not in named:
                taken = any(teacher.name == kind for teacher in named.values())
                name = f"{kind}-{owner}" if taken else kind
                named[request.folder] = NamedTeacher(name, request, override(own, {"teacher.kind": kind}))
    return list(named.values())


def _contender(
    name: str, experiment: Experiment, spec: TrainingSpec, values: Mapping[str, Any], seeds: range, fingerprint: str
) -> Contender:
    chain = tuple(teachers(experiment, fingerprint)) if spec.needs_teacher else ()
    students: dict[int, TrainRequest] = {}
    for seed in seeds:
        # The splits stay those of the study.
        own_views = spec.model_copy(update={"data": spec.data.model_copy(update={"view_seed": seed})})
        students[seed] = seeded_student(f"{name}-seed-{seed}", own_views, seed, chain, experiment, fingerprint)
    return Contender(name, experiment, chain, students, values, {**values, "contender": name})
