"""What is checked before a run starts, without a cluster: data, networks, hint layers and objective fit each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from raykd.config import Experiment, ModelSettings
from raykd.data import DataInfo, inspected, load_data
from raykd.data.batches import shared_batch
from raykd.errors import RaykdError
from raykd.models import build_model, parameter_count
from raykd.search.space import SearchSpace
from raykd.settings_io import override
from raykd.study.external_teacher import MODEL, SOURCE, with_external_teachers
from raykd.study.networks import check_start_weights, seen_by_teacher, student_network, teacher_network
from raykd.training.build import build_objective
from raykd.training.external_teacher import describes_itself
from raykd.training.hint_layers import find_hint_layers
from raykd.training.network_checks import check_answers, check_training
from raykd.training.used_layers import check_all_used

Role = Literal["teacher", "student"]
Split = Literal["validation", "test"]

CHOICES = ("method.name", "method.beside", "student.name", "teacher.source", "teacher.model.name")
"""Searched settings whose choices are checked, each with each of the others."""
MIXING = ("data.mixup", "data.cutmix")
"""Searched settings that not all methods bear; they are checked at their largest value."""
PARTS = (*CHOICES, *MIXING, "student.arguments.", "method.arguments.", "teacher.kind")
"""Searched settings on which the check depends; those that are no choices take their default."""
PARTS_OF_START = (*PARTS, "student.", "method.", "teacher.model.")
"""The same among the settings of a space's own start points, which may set what cannot be searched."""
TEACHER_TRAINING = "teacher.training."
"""Settings of how a teacher is trained here."""


@dataclass(frozen=True)
class Preflight:
    """What is known before a run starts.

    - experiment: with the folders of external teachers in the cache as `teacher.fetched`
    - data: what is learnt from
    - streamed: whether images are decoded from files as they are needed
    - images: what the plan says about images in files, by the name of the line
    - parameters: number of each network's parameters
    """

    experiment: Experiment
    data: DataInfo
    streamed: bool
    images: dict[str, str]
    parameters: dict[Role, int]


def check_held_out(experiment: Experiment, held_out: Split) -> None:
    """Refuse an experiment that is measured on another split than its job is for."""
    if experiment.data.held_out != held_out:
        raise RaykdError(
            f"data.held_out {experiment.data.held_out}: settings are found on the validation split; "
            "for the test split there is `raykd confirm STUDY`"
        )


def preflight(
    experiment: Experiment,
    roles: Collection[Role],
    held_out: Split = "validation",
    others: Iterable[Mapping[str, Any]] = (),
) -> Preflight:
    """Load the data's description, fetch external teachers, and build the networks without memory.

    Args:
        experiment: The experiment, with absolute paths.
        roles: The networks that this run needs.
        held_out: The split that this kind of run is measured on.
        others: Settings under which students have other teachers, by dotted name.

    Raises:
        RaykdError: data or networks cannot be had as the settings ask, or the settings ask for another split.
    """
    check_held_out(experiment, held_out)
    data = load_data(experiment.data)
    info = data.info
    if "teacher" in roles:
        if experiment.teacher.folds is not None:
            data.folds(experiment.teacher.folds, experiment.data.seed)  # It says if a class is too small.
        experiment = with_external_teachers(experiment, info, others)
    networks: dict[Role, Callable[[Experiment, DataInfo], nn.Module]]
    networks = {"teacher": teacher_network, "student": student_network}
    training = {"teacher": experiment.teacher.training, "student": experiment.training}
    for role in roles:
        if role == "student" or experiment.teacher.source is None:
            shared_batch(info.split_sizes["train"], training[role].batch_size, experiment.cluster.workers)
    parameters = {role: parameter_count(build(experiment, info)) for role, build in networks.items() if role in roles}
    return Preflight(experiment, info, data.streamed, inspected(data), parameters)


def rehearse(experiment: Experiment, info: DataInfo, space: SearchSpace | None = None) -> None:
    """Put networks, hint layers and objective together as the settings say, or as the choices of a space would.

    Args:
        experiment: The experiment, its external teachers fetched.
        info: The data.
        space: What is searched. None: nothing.

    Raises:
        RaykdError: a network is not for such images and classes, a method does not suit the networks, layers, import
            paths or weights are wrong, or the space searches how an external teacher is trained.
    """
    if space is not None:
        _check_searched(experiment, space)
    # Where the method itself is searched, what one of them takes is idle for the others.
    methods = (space and space.choices("method.name")) or (experiment.method.name,)
    useless = [override(experiment, {"method.name": method}).method.useless for method in methods]
    if useless[0] and all(useless):
        raise RaykdError(useless[0])
    networks = _Networks(info, experiment.cluster.workers)
    # Two samples of each class stand for the training split.
    labels = torch.arange(info.num_classes).repeat(2)
    for variant, chosen in _variants(experiment, space):
        try:
            spec = variant.training_spec()
            student = networks.student(variant)
            teacher = networks.teacher(variant) if spec.needs_teacher else None
            layers = find_hint_layers(spec, student, teacher, info, labels, seen_by_teacher(variant, info))
            if variant.cluster.workers > 1:
                check_all_used(student, layers.student if layers else (), info, f"student {variant.student}")
            build_objective(spec, layers.shapes if layers else None)
        except RaykdError as error:
            raise RaykdError(f"{chosen}{error}") from error


def rehearse_teacher(experiment: Experiment, info: DataInfo) -> None:
    """Try whether the teacher can be trained and answer.

    Raises:
        RaykdError: it cannot.
    """
    _Networks(info, experiment.cluster.workers).teacher(experiment)


class _Networks:
    """The networks of all variants, each built and checked once."""

    def __init__(self, info: DataInfo, workers: int) -> None:
        self._info = info
        self._workers = workers
        self._built: dict[str, nn.Module] = {}

    def student(self, experiment: Experiment) -> nn.Module:
        settings = experiment.student
        return self._once(
            f"student {settings.model_dump_json()}",
            lambda: self._checked(student_network(experiment, self._info), settings, f"student {settings}"),
        )

    def teacher(self, experiment: Experiment) -> nn.Module:
        folder, settings = experiment.teacher.folder, experiment.teacher.model
        if folder is not None and experiment.teacher.kind == "standard":
            return self._once(folder, lambda: teacher_network(experiment, self._info))
        return self._once(
            f"teacher {settings.model_dump_json()}",
            lambda: self._trained_here(teacher_network(experiment, self._info), settings),
        )

    def _trained_here(self, network: nn.Module, settings: ModelSettings) -> nn.Module:
        name = f"teacher.model {settings}"
        network = self._checked(network, settings, name)
        if self._workers > 1:
            check_all_used(network, (), self._info, name)
        return network

    def _checked(self, network: nn.Module, settings: ModelSettings, name: str) -> nn.Module:
        try:
            self._check(network, name)
        except RaykdError:
            # Not all operations work on the meta device: what fails there may work with memory.
            network = _with_memory(settings, self._info)
            self._check(network, name)
        check_start_weights(settings, self._info)
        return network

    def _check(self, network: nn.Module, name: str) -> None:
        """Rehearse the modes that a network is used in while it is trained."""
        check_answers(network, self._info, name)
        check_training(network, self._info, name)

    def _once(self, key: str, build: Callable[[], nn.Module]) -> nn.Module:
        if key not in self._built:
            self._built[key] = build()
        return self._built[key]


def _with_memory(settings: ModelSettings, info: DataInfo) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        fresh = settings.model_copy(update={"weights": None})
        return build_model(fresh, num_classes=info.num_classes, in_channels=info.channels)


def _variants(experiment: Experiment, space: SearchSpace | None) -> Iterator[tuple[Experiment, str]]:
    """Each combination of choices that a trial may get, and how errors about it begin."""
    if space is None:
        yield experiment, ""
        return
    choices = [name for name in space.names if name in CHOICES and space.choices(name)]
    mixing = {parameter.name: parameter.largest for parameter in space.parameters if parameter.name in MIXING}
    seen = []
    for sampled in space.combinations(choices, mixing):
        values = {name: value for name, value in sampled.items() if name.startswith(PARTS)}
        if values not in seen:
            seen.append(values)
            chosen = ", ".join(f"{name} {values[name]}" for name in choices if name in values)
            yield override(experiment, values, space.source), f"{space.source}: {chosen}: " if chosen else ""
    for name, settings in space.start.items():
        if any(setting.startswith(PARTS_OF_START) for setting in settings):
            yield override(experiment, settings, space.source), f"{space.source}: start, {name}: "


def _check_searched(experiment: Experiment, space: SearchSpace) -> None:
    """Refuse a search over what has no effect, as all teachers are given."""
    standard = experiment.teacher.kind == "standard" and "teacher.kind" not in space.names
    sources = space.choices(SOURCE) or (experiment.teacher.source,)
    if None in sources or not standard:
        return
    complete = next((source for source in map(str, sources) if describes_itself(source)), None)
    for name in space.names:
        refused = f"{space.source}: {name} cannot be searched: teacher.source"
        if name.startswith(TEACHER_TRAINING):
            raise RaykdError(f"{refused} is taken as it is")
        # Weights by name, or in files, are those of one network or another.
        if name.startswith(MODEL) and complete is not None:
            raise RaykdError(f"{refused} {complete} says which network it is")
        if name.startswith(MODEL) and not space.choices(name):
            raise RaykdError(f"{refused} is fetched before the search: give choices, not a range")
