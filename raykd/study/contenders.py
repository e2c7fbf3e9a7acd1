"""Who is confirmed and who is held against it, each taught over the same seeds at the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raykd.config import Experiment, MethodSettings, TrainingSpec
from raykd.knowledge.methods import METHODS
from raykd.places import shared_folder
from raykd.settings_io import override
from raykd.storage import below
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

PLAIN = "plain"
PUBLISHED = ("kd", "dkd")
"""The methods that stand beside the plain student, at their published settings."""
PUBLISHED_EPOCHS = 240
"""Length of the training that the published warm-ups belong to; a shorter one warms up for the same share of it."""
STUDENTS = "students"
"""Folder of the students below the confirm's."""


@dataclass(frozen=True)
class ChosenTrial:
    """A trial of the study, as its record has it.

    - name: as in folders and MLflow
    - values: the searched settings by dotted name
    - accuracy: on the validation split after its last epoch
    """

    name: str
    values: Mapping[str, Any]
    accuracy: float


@dataclass(frozen=True)
class Contender:
    """One way to teach the student.

    - name: ``plain``, the name of a method at its published settings, or that of a trial
    - experiment: its settings; seeds are those of its students
    - values: the searched settings, of a trial
    - chain: the teachers in the order in which they must be taught, the last of whom teaches; empty without teacher
    - students: the same student under each seed
    """

    name: str
    experiment: Experiment
    values: Mapping[str, Any]
    chain: tuple[TrainRequest, ...]
    students: Mapping[int, TrainRequest]

    @property
    def baseline(self) -> bool:
        """Whether it is no trial of the study."""
        return self.name in (PLAIN, *PUBLISHED)


@dataclass(frozen=True)
class NamedTeacher:
    """A teacher of the contest.

    - name: ``standard``, ``generous``, or with that of the trial that searched it
    - experiment: whose `teacher` it is
    """

    name: str
    request: TrainRequest
    experiment: Experiment


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
    ways: list[tuple[str, Experiment, TrainingSpec, Mapping[str, Any]]] = [
        (PLAIN, base, base.training_spec().without_teacher(), {})
    ]
    for name in PUBLISHED:
        published = as_published(base, name)
        ways.append((name, published, published.training_spec(), {}))
    for trial in trials:
        own = override(experiment, trial.values)
        ways.append((trial.name, own, own.training_spec(), dict(trial.values)))
    seeds = seeds_of(experiment)
    return [
        Contender(name, own, values, chain, _students(name, own, spec, chain, seeds, fingerprint))
        for name, own, spec, values in ways
        for chain in [tuple(teachers(own, fingerprint)) if spec.needs_teacher else ()]
    ]


def as_published(experiment: Experiment, method: str) -> Experiment:
    """The experiment with a method at its published settings, and with nothing else that this study has tuned."""
    how = {name: TrainingSpec.model_fields[name].default for name in ("objective", "temperature", "bias", "schedule")}
    fresh = experiment.model_copy(update=how | {"method": MethodSettings.of(METHODS[method]())})
    published = dict(METHODS[method].published)
    share = published["objective.warmup_epochs"] / PUBLISHED_EPOCHS
    return override(fresh, published | {"objective.warmup_epochs": round(share * experiment.training.epochs)})


def named_teachers(experiment: Experiment, found: Sequence[Contender], fingerprint: str) -> list[NamedTeacher]:
    """All teachers of the contest, each once, those before that others need.

    The first of each kind has the kind's name. A study whose teacher is generous has one, even if none of the
    contenders learns from it.
    """
    chains = [(contender.name, contender.experiment, contender.chain) for contender in found]
    if not any(len(chain) > 1 for _, _, chain in chains):
        chains.append(("", experiment, tuple(teachers(experiment, fingerprint))))
    named: dict[str, NamedTeacher] = {}
    for owner, own, chain in chains:
        for kind, teacher in zip(("standard", "generous"), chain, strict=False):
            if teacher.folder not in named:
                taken = any(each.name == kind for each in named.values())
                name = f"{kind}-{owner}" if taken else kind
                of_kind = override(own, {"teacher.kind": kind})
                named[teacher.folder] = NamedTeacher(name, teacher, of_kind)
    return list(named.values())


def _students(
    name: str, experiment: Experiment, spec: TrainingSpec, chain: Sequence[TrainRequest], seeds: range, fingerprint: str
) -> dict[int, TrainRequest]:
    students = {}
    for seed in seeds:
        student = f"{name}-seed-{seed}"
        seeded = spec.model_copy(
            update={
                "training": spec.training.model_copy(update={"seed": seed}),
                # The splits stay those of the study.
                "data": spec.data.model_copy(update={"view_seed": seed}),
            }
        )
        students[seed] = TrainRequest(
            student=student,
            spec=seeded,
            teacher=chain[-1].folder if chain else None,
            folder=below(shared_folder(experiment), STUDENTS, student),
            data=fingerprint,
        )
    return students
