"""A lesson rehearsed without memory or data: what cannot work ends here, before a cluster starts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from optuna.distributions import CategoricalDistribution
from optuna.trial import FixedTrial
from torch import nn

from raykd.config import Experiment, ModelSettings
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.search.space import SearchSpace
from raykd.settings_io import override
from raykd.study.preflight import student_network, teacher_network
from raykd.training.build import build_objective
from raykd.training.external_teacher import check_answers
from raykd.training.hint_layers import find_hint_layers

CHOICES = ("method.name", "method.beside", "student.name", "teacher.model.name")
"""Searched settings whose choices are rehearsed, each with each of the others."""
PARTS = (*CHOICES, "student.arguments.", "method.arguments.", "teacher.kind")
"""Searched settings that have a say in a rehearsal; those that are no choices take their default."""
TRAINED = ("teacher.model.", "teacher.training.")
"""Settings of a teacher that is trained here."""


def rehearse(experiment: Experiment, info: DataInfo, space: SearchSpace | None = None) -> None:
    """Put networks, hint layers and objective together as the settings say, or as the choices of a space would.

    Args:
        experiment: The experiment, with an adopted teacher's folder as `teacher.source`.
        info: The data.
        space: What is searched. None: nothing.

    Raises:
        RaykdError: A network is not for such images and classes, a method does not suit the networks, layers, import
            paths or weights are wrong, or the space searches what the adopted teacher is not trained by.
    """
    if space is not None:
        _check_searched(experiment, space)
    # Where the method itself is searched, what one of them takes is idle for the others.
    if (space is None or "method.name" not in space.names) and (useless := experiment.method.useless):
        raise RaykdError(useless)
    networks = _Networks(info)
    # Two samples of each class stand for the training split.
    labels = torch.arange(info.num_classes).repeat(2)
    for variant, chosen in _variants(experiment, space):
        try:
            spec = variant.training_spec()
            student = networks.student(variant)
            teacher = networks.teacher(variant) if spec.needs_teacher else None
            heard = find_hint_layers(spec, student, teacher, info, labels)
            build_objective(spec, heard.shapes if heard else None)
        except RaykdError as error:
            raise RaykdError(f"{chosen}{error}") from error


class _Networks:
    """Each network that is rehearsed, built once."""

    def __init__(self, info: DataInfo) -> None:
        self._info = info
        self._built: dict[str, nn.Module] = {}

    def student(self, experiment: Experiment) -> nn.Module:
        return self._checked(experiment.student, student_network, experiment, "student")

    def teacher(self, experiment: Experiment) -> nn.Module:
        if experiment.teacher.source is None or experiment.teacher.kind == "generous":
            return self._checked(experiment.teacher.model, teacher_network, experiment, "teacher.model")
        return self._once(experiment.teacher.source, lambda: teacher_network(experiment, self._info))

    def _checked(self, settings: ModelSettings, build: Any, experiment: Experiment, role: str) -> nn.Module:
        def checked() -> nn.Module:
            what = f"{role} {settings}"
            network: nn.Module = build(experiment, self._info)
            try:
                check_answers(network, self._info, what)
            except RaykdError:
                # Not all operations work without memory: what fails here may yet work in earnest.
                network = _in_memory(settings, self._info)
                check_answers(network, self._info, what)
            return network

        return self._once(f"{role} {settings.model_dump_json()}", checked)

    def _once(self, key: str, build: Any) -> nn.Module:
        if key not in self._built:
            self._built[key] = build()
        return self._built[key]


def _in_memory(settings: ModelSettings, info: DataInfo) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        fresh = settings.model_copy(update={"weights": None})
        return build_model(fresh, num_classes=info.num_classes, in_channels=info.channels)


def _variants(experiment: Experiment, space: SearchSpace | None) -> Iterator[tuple[Experiment, str]]:
    """Each combination of choices that a trial may get, and what to say of it in errors."""
    if space is None:
        yield experiment, ""
        return
    defaults = {parameter.name: parameter.default for parameter in space.parameters}
    choices = {
        parameter.name: parameter.distribution.choices
        for parameter in space.parameters
        if parameter.name in CHOICES and isinstance(parameter.distribution, CategoricalDistribution)
    }
    seen = []
    for combination in product(*choices.values()):
        # Whether the entries' conditions hold, the space itself knows best.
        sampled = space.sample(FixedTrial(defaults | dict(zip(choices, combination, strict=True))))
        values = {name: value for name, value in sampled.items() if name.startswith(PARTS)}
        if values not in seen:
            seen.append(values)
            chosen = ", ".join(f"{name} {values[name]}" for name in choices if name in values)
            yield override(experiment, values, space.source), f"{space.source}: {chosen}: " if chosen else ""


def _check_searched(experiment: Experiment, space: SearchSpace) -> None:
    standard = experiment.teacher.kind == "standard" and "teacher.kind" not in space.names
    if experiment.teacher.source is None or not standard:
        return
    for name in space.names:
        if name.startswith(TRAINED):
            raise RaykdError(f"{space.source}: {name} cannot be searched: teacher.source is taken as it is")
