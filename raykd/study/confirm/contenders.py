"""The contenders of a confirm: the baselines and the chosen trials, under the same seeds and at the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raykd.config import Experiment, TrainingSpec
from raykd.places import PLAIN
from raykd.results.confirm import ChosenTrial
from raykd.settings_io import override
from raykd.study.contenders import Contender, NamedTeacher, seeded_views
from raykd.study.published import as_published
from raykd.study.train import teacher_name
from raykd.training.teacher_cache import kind_of, teachers

PUBLISHED = ("kd", "dkd")
"""The methods that are baselines beside the plain student, at their published settings."""
NETWORKS = ("student.", "teacher.source", "teacher.model.")
"""Settings that say who teaches whom."""
BASELINES = (PLAIN, *PUBLISHED)


def seeds_of(experiment: Experiment) -> range:
    """The seeds of the students: those after `training.seed`, under which the search chose its winner."""
    first = experiment.training.seed + 1
    return range(first, first + experiment.confirm.seeds)


def contenders(experiment: Experiment, trials: Sequence[ChosenTrial], fingerprint: str) -> list[Contender]:
    """The baselines, then the trials.

    Baselines have the networks, training and augmentation of the study. Where student or teacher themselves were
    searched, they have the winner's.

    Args:
        experiment: The study's, to be measured on the test split.
        trials: Best first.
        fingerprint: Of the data, see `raykd.data.DataInfo`.
    """
    network = {name: value for name, value in trials[0].values.items() if name.startswith(NETWORKS)}
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


def named_teachers(experiment: Experiment, compared: Sequence[Contender], fingerprint: str) -> list[NamedTeacher]:
    """All teachers of the contest, each once, in the order in which they must be trained.

    The first of each kind has the kind's name. A study whose teacher is generous has one, even if none of the
    contenders learns from it.
    """
    chains = [(contender.name, contender.experiment, contender.chain) for contender in compared]
    if not any(kind_of(chain[-1]) == "generous" for _, _, chain in chains if chain):
        chains.append(("", experiment, tuple(teachers(experiment, fingerprint))))
    named: dict[str, NamedTeacher] = {}
    for owner, own, chain in chains:
        for request in chain:
            if request.folder not in named:
                kind = teacher_name(request)
                taken = any(teacher.name == kind for teacher in named.values())
                name = f"{kind}-{owner}" if taken else kind
                named[request.folder] = NamedTeacher(name, request, override(own, {"teacher.kind": kind_of(request)}))
    return list(named.values())


def _contender(
    name: str, experiment: Experiment, spec: TrainingSpec, values: Mapping[str, Any], seeds: range, fingerprint: str
) -> Contender:
    chain = tuple(teachers(experiment, fingerprint)) if spec.needs_teacher else ()
    students = {seed: seeded_views(f"{name}-seed-{seed}", spec, seed, chain, experiment, fingerprint) for seed in seeds}
    return Contender(name, experiment, chain, students, values, {**values, "contender": name})
