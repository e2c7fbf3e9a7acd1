"""How large and how slow students are: counted and measured once for each architecture of a study."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod
from statistics import median

import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FixedTrial
from torch import nn

from raykd.config import Experiment, Goal, ModelSettings
from raykd.data import DataInfo
from raykd.models import build_model, parameter_count
from raykd.search.goals import GOALS, STUDENT
from raykd.search.space import Distribution, SearchSpace, Value, on_grid
from raykd.search.start_points import settings_of
from raykd.settings_io import override

MOST_ARCHITECTURES = 64
"""Up to this number all are measured before the search, while nothing else runs; in larger spaces, as they come."""

WARMUP_PASSES = 10
LEAST_PASSES = 50
LEAST_SECONDS = 0.1
ROUNDS = 3


def latency_ms(network: nn.Module, info: DataInfo) -> float:
    """Milliseconds that a network takes for one image on one thread of this machine's CPU.

    The median of at least 50 forward passes over at least 0.1 s, after 10 that do not count. The network is left in
    evaluation mode, the number of torch's threads as it was.

    Args:
        network: On the CPU.
        info: The data, whose image size it takes.
    """
    image = torch.zeros(1, info.channels, info.height, info.width)
    network.eval()
    seconds: list[float] = []
    with _one_thread(), torch.inference_mode():
        for _ in range(WARMUP_PASSES):
            network(image)
        began = time.perf_counter()
        while len(seconds) < LEAST_PASSES or time.perf_counter() - began < LEAST_SECONDS:
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class StudentSizes:
    """The sizes of a study's students, by the keys of `raykd.search.goals.GOALS`.

    Called with a trial's settings. Each architecture is measured once in a study: sizes that its trials have
    already are kept in resumed launches, which may run on another machine.

    Args:
        experiment: Gives what is not searched.
        info: The data.
        goals: The study's; without latency nothing is measured.
        study: Its trials so far.
    """

    def __init__(self, experiment: Experiment, info: DataInfo, goals: Sequence[Goal], study: Study) -> None:
        self._experiment = experiment
        self._info = info
        self._goals = [goal for goal in goals if goal != "accuracy"]
        self._known: dict[str, dict[str, float]] = {}
        keys = {GOALS[goal].key for goal in self._goals}
        for trial in study.get_trials(deepcopy=False):
            if keys <= trial.user_attrs.keys():
                model = self._student(settings_of(trial))
                self._known.setdefault(model.model_dump_json(), {key: trial.user_attrs[key] for key in keys})

    def __call__(self, values: Mapping[str, Value]) -> dict[str, float]:
        model = self._student(values)
        key = model.model_dump_json()
        if key not in self._known:
            self._known[key] = self._measured(model)
        return self._known[key]

    def measure_all(self, space: SearchSpace) -> None:
        """Measure every architecture of a space before anything else runs, if they are few enough.

        The fastest of three rounds counts, as a machine that is busy for a moment slows one of them down.
        """
        fresh = {self._student(values).model_dump_json(): values for values in architectures(space)}
        fresh = {key: values for key, values in fresh.items() if key not in self._known}
        for _ in range(ROUNDS if "latency" in self._goals else 1):
            for key, values in fresh.items():
                sizes = self._measured(self._student(values))
                before = self._known.get(key, sizes)
                self._known[key] = {name: min(before[name], size) for name, size in sizes.items()}

    def __str__(self) -> str:
        if not self._known:
            return "students are measured as they come"
        sizes = list(self._known.values())
        words = [f"{len(sizes)} architectures"]
        if "parameters" in self._goals:
            counts = [size["parameters"] for size in sizes]
            words.append(f"{min(counts):,.0f} to {max(counts):,.0f} parameters")
        if "latency" in self._goals:
            latencies = [size["latency_ms"] for size in sizes]
            words.append(f"{min(latencies):.2f} to {max(latencies):.2f} ms for one image on one CPU thread here")
        return ", ".join(words)

    def _student(self, values: Mapping[str, Value]) -> ModelSettings:
        own = {name: value for name, value in values.items() if name.startswith(STUDENT)}
        return override(self._experiment, own).student

    def _measured(self, model: ModelSettings) -> dict[str, float]:
        fresh = model.model_copy(update={"weights": None})
        with torch.random.fork_rng(devices=[]):
            network = build_model(fresh, num_classes=self._info.num_classes, in_channels=self._info.channels)
        return {
            GOALS[goal].key: parameter_count(network) if goal == "parameters" else latency_ms(network, self._info)
            for goal in self._goals
        }


def architectures(space: SearchSpace) -> list[dict[str, Value]]:
    """The settings of every student that a space has; none where they are more than 64, or a range is continuous."""
    defaults = {parameter.name: parameter.default for parameter in space.parameters}
    choices = {p.name: _choices(p.distribution) for p in space.parameters if p.name.startswith(STUDENT)}
    if not 0 < prod(map(len, choices.values())) <= MOST_ARCHITECTURES:
        return []
    students: list[dict[str, Value]] = []
    for combination in product(*choices.values()):
        # The space itself decides whether the entries' conditions hold.
        sampled = space.sample(FixedTrial(defaults | dict(zip(choices, combination, strict=True))))
        values = {name: value for name, value in sampled.items() if name in choices}
        if values not in students:
            students.append(values)
    return students


def _choices(distribution: Distribution) -> Sequence[Value]:
    """All values of a distribution; none where they cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if distribution.step is None:
        return ()
    low, high, step = distribution.low, distribution.high, distribution.step
    return [on_grid(low + i * step, low, high, step) for i in range(round((high - low) / step) + 1)]
