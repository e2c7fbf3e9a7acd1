"""Compares ways to search on recorded trainings: how fast each comes near the best setting, and how good its winner is.

    python benchmarks/search_efficiency.py
    python benchmarks/search_efficiency.py --quick

A surrogate that has learned from the table of `search_table.py` stands in for the trainings, so that a search takes
seconds. All ways begin with a study's start points, have 8 seats and the same budget of epochs, and are tried with 30
seeds. A search sees noisy validation accuracies. It is judged by what the surrogate expects of a setting:

- **epochs to 0.3**: epochs trained, by all trials together, until a trial has finished that is within 0.3 points of the
  table's best expected validation accuracy; a search that never comes so far counts with its whole budget;
- **regret**: the table's best expected test accuracy minus that of the search's winner, for two ways to choose it after
  32 whole trainings: by its single result, or among finalists that are taught again under further seeds. A search that
  finds a better setting than the table's has a regret below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Protocol

import numpy as np
import optuna
import tyro
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler
from optuna.trial import TrialState
from output import Outputs, write_json
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr
from search_table import DATA, EXPERIMENT, HERE, SPACE, places_of_references, read_rows
from surrogate import Array, Surrogate

from raykd.config import Experiment, StudySettings
from raykd.places import trial_name
from raykd.search.names import METRIC, TIME, TRIAL
from raykd.search.optuna_study import startup_trials
from raykd.search.sampler import SeededByTrial
from raykd.search.schedulers import make_scheduler
from raykd.search.space import WARMUP_SHARE, SearchSpace, Value
from raykd.search.space_file import load_space
from raykd.search.start_points import StartPoint, enqueue
from raykd.settings_io import override
from raykd.study.start_points import start_points

SEATS = 8
NEAR = 0.003
"""An accuracy that is so near to the best one has arrived."""
FINALISTS, FINALIST_SEEDS = 3, 3
"""As `study.finalists` and `study.finalist_seeds` are by default."""
BUDGET = 64
"""A search has so many times the epochs of a whole training."""
WINNER_AT = 32
"""The winner is taken after so many times the epochs of a whole training, as in the main job."""


class Scheduling(Protocol):
    """Makes the Tune scheduler of a search from the epochs of a whole trial."""

    def __call__(self, epochs: int) -> TrialScheduler: ...


def by_name(scheduler: str, **settings: Any) -> Scheduling:
    """raykd's own scheduler of this name."""
    return lambda epochs: make_scheduler(StudySettings(scheduler=scheduler, **settings), epochs)


def none(epochs: int) -> TrialScheduler:
    """Stops no trial."""
    return FIFOScheduler()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Way:
    """A way to search.

    - sampler: from its seed
    - scheduling: see `Scheduling`
    - pruner: Optuna's, from the epochs of a whole trial
    """

    sampler: Callable[[int], BaseSampler]
    scheduling: Scheduling = none
    pruner: Callable[[int], BasePruner] = lambda epochs: NopPruner()


def tpe(seed: int) -> BaseSampler:
    """raykd's sampler in a study of 32 trials."""
    return SeededByTrial(seed, startup_trials(WINNER_AT))


def gaussian_process(seed: int) -> BaseSampler:
    """Optuna's Gaussian process; settings that depend on others are drawn at random."""
    return GPSampler(seed=seed, deterministic_objective=False)


WAYS: dict[str, Way] = {
    "random": Way(lambda seed: RandomSampler(seed=seed)),
    "tpe": Way(tpe),
    "tpe, asha": Way(tpe, by_name("asha")),
    "tpe, asha after half": Way(tpe, by_name("asha", grace_share=0.5)),
    "tpe, median": Way(tpe, by_name("median")),
    "tpe, hyperband (BOHB)": Way(tpe, pruner=lambda epochs: HyperbandPruner(2, epochs, reduction_factor=2)),
    "gaussian process": Way(gaussian_process),
}


@dataclass(frozen=True)
class Finished:
    """A trial that had all its epochs: those of all trials until then, what was seen, and what is expected of it."""

    spent: int
    seen: float
    expected: Array


@dataclass(frozen=True)
class Row:
    """One search."""

    data: str
    space: str
    way: str
    seed: int
    epochs_to_near: int
    arrived: bool
    regret_single: float
    regret_finalists: float
    trials: int


@dataclass
class _Running:
    trial: optuna.Trial
    stub: Trial
    expected: Array
    observed: Array
    epochs: int = 0


@dataclass
class Search:
    """A search that runs on the surrogate: all seats take an epoch at a time."""

    surrogate: Surrogate
    space: SearchSpace
    start: Sequence[StartPoint]
    way: Way
    seed: int
    finished: list[Finished] = field(default_factory=list)
    trials: int = 0

    def run(self, budget: int) -> list[Finished]:
        """Spend so many epochs; the trials that had all of theirs, in the order in which they ended."""
        whole = self.surrogate.epochs
        random = np.random.default_rng(self.seed)
        study = optuna.create_study(
            direction="maximize",
            sampler=self.way.sampler(self.seed),
            pruner=self.way.pruner(whole),
            study_name=f"search-{self.seed}",
        )
        enqueue(study, self.start)
        scheduler = self.way.scheduling(whole)
        running: list[_Running] = []
        spent = 0
        while spent < budget:
            while len(running) < SEATS:
                running.append(self._begin(study, scheduler, random))
            for one in list(running):
                spent += 1
                if self._epoch(one, study, scheduler, spent):
                    running.remove(one)
        return self.finished

    def _begin(self, study: optuna.Study, scheduler: TrialScheduler, random: np.random.Generator) -> _Running:
        trial = study.ask()
        expected = self.surrogate.expected([in_table(self.space.sample(trial), self.surrogate.epochs)])[0]
        stub = Trial("simulated", trial_id=trial_name(trial.number), config={TRIAL: trial.number}, stub=True)
        scheduler.on_trial_add(None, stub)
        self.trials += 1
        return _Running(trial, stub, expected, self.surrogate.observed(expected, random))

    def _epoch(self, one: _Running, study: optuna.Study, scheduler: TrialScheduler, spent: int) -> bool:
        """Whether the trial has ended with it."""
        seen = float(one.observed[one.epochs])
        one.epochs += 1
        one.trial.report(seen, one.epochs)
        result = {TIME: one.epochs, METRIC: seen}
        if one.epochs == self.surrogate.epochs:
            scheduler.on_trial_complete(None, one.stub, result)
            study.tell(one.trial, seen)
            self.finished.append(Finished(spent, seen, one.expected))
            return True
        stopped = scheduler.on_trial_result(None, one.stub, result) != TrialScheduler.CONTINUE
        if stopped or one.trial.should_prune():
            scheduler.on_trial_complete(None, one.stub, result)
            study.tell(one.trial, state=TrialState.PRUNED)
            return True
        return False


def in_table(values: Mapping[str, Value], epochs: int) -> dict[str, Value]:
    """A setting by the table's names. Of warm-ups the table has none and those of two epochs."""
    known = dict(values)
    share = known.pop(WARMUP_SHARE, None)
    if isinstance(share, float):
        known["objective.warmup_epochs"] = 2 if share * epochs >= 1 else 0
    return known


def epochs_to_near(finished: Sequence[Finished], best: float) -> int | None:
    """When the first setting near the best one had been trained; None: never."""
    return next((one.spent for one in finished if one.expected[-2] >= best - NEAR), None)


def winner_among_finalists(finished: Sequence[Finished], surrogate: Surrogate, random: np.random.Generator) -> Finished:
    """Of the trials with the best single results, the one with the best mean over further seeds."""
    finalists = sorted(finished, key=lambda one: one.seen, reverse=True)[:FINALISTS]
    means = [fmean(surrogate.observed(one.expected, random)[-2] for _ in range(FINALIST_SEEDS)) for one in finalists]
    return finalists[int(np.argmax(means))]


def measure(surrogate: Surrogate, study: Experiment, data: str, name: str, seed: int) -> Row:
    """Run one search and judge it.

    Args:
        surrogate: Of the data set's table.
        study: Says what is searched, and from where.
        data: Name of the data set.
        name: Of the way to search.
        seed: Of the search, and of the students' noise.
    """
    space = load_space(study.study.space, study)
    start = [point for point in start_points(study, space) if point.parameters is not None]
    search = Search(surrogate, space, start, WAYS[name], seed)
    whole = surrogate.epochs
    finished = search.run(BUDGET * whole)
    near = epochs_to_near(finished, surrogate.best[0])
    single = max((one for one in finished if one.spent <= WINNER_AT * whole), key=lambda one: one.seen)
    # The finalists' epochs are part of the budget.
    known = [one for one in finished if one.spent <= (WINNER_AT - FINALISTS * FINALIST_SEEDS) * whole]
    final = winner_among_finalists(known, surrogate, np.random.default_rng([seed, 1]))
    return Row(
        data=data,
        space=study.study.space,
        way=name,
        seed=seed,
        epochs_to_near=near or BUDGET * whole,
        arrived=near is not None,
        regret_single=float(surrogate.best[1] - single.expected[-1]),
        regret_finalists=float(surrogate.best[1] - final.expected[-1]),
        trials=search.trials,
    )


def early_correlations(rows: Sequence[Mapping[str, Any]]) -> str:
    """How much a quarter, half and three quarters of the epochs say of the last one, in words.

    Args:
        rows: Of a table. Only the better half of the drawn settings counts, among which a search must choose.
    """
    curves = np.array([row["validation"] for row in rows if row["values"] and row["test"] is not None])
    last = curves[:, -1]
    better = curves[last >= np.median(last)]
    found = []
    for share in (0.25, 0.5, 0.75):
        epoch = round(share * curves.shape[1])
        found.append(f"{spearmanr(better[:, epoch - 1], better[:, -1]).statistic:.2f} after epoch {epoch}")
    return ", ".join(found)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print a table for each data set, with the means over the seeds."""
    for data in dict.fromkeys(row.data for row in rows):
        headings = ("space", "way", "epochs to 0.3", "arrived", "regret, single", "finalists", "trials")
        table = Table(*headings, title=data)
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            if row.data == data:
                groups.setdefault((Path(row.space).stem, row.way), []).append(row)
        for names, found in groups.items():
            table.add_row(
                *names,
                f"{fmean(row.epochs_to_near for row in found):.0f}",
                f"{fmean(row.arrived for row in found):.0%}",
                _points([row.regret_single for row in found]),
                _points([row.regret_finalists for row in found]),
                f"{fmean(row.trials for row in found):.0f}",
            )
        console.print(table, highlight=False)


def _points(regrets: list[float]) -> str:
    """Their mean and its standard error."""
    error = stdev(regrets) / len(regrets) ** 0.5
    return f"{100 * fmean(regrets):.2f}±{100 * error:.2f}"


@dataclass(frozen=True)
class Options(Outputs):
    """Compare ways to search on recorded trainings."""

    data: tuple[str, ...] = tuple(DATA)
    """Data sets whose tables are used."""
    spaces: tuple[str, ...] = ("dkd_bias",)
    """What is searched: files or names of shipped spaces; the table's own is the widest."""
    ways: tuple[str, ...] = tuple(WAYS)
    """Ways to search."""
    seeds: int = 30
    """Searches of each."""
    quick: bool = False
    """Three seeds."""


def main(options: Options) -> None:
    """Search with every way, print the tables, and keep one row for each search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = Console()
    rows: list[Row] = []
    for data in options.data:
        base = override(EXPERIMENT, DATA[data])
        experiment = override(base, {"method.name": "dkd"})
        rows_of_table = read_rows(HERE / "results" / f"search_table_{data}.jsonl.gz")
        surrogate = Surrogate.of(load_space(SPACE, experiment), rows_of_table, places_of_references(base))
        console.print(
            f"{data}: of the better half of the settings that it has not seen, the surrogate errs by "
            f"{100 * surrogate.error:.2f} points; rank correlation of all {surrogate.rank:.2f}",
            highlight=False,
        )
        console.print(f"rank correlation with the last epoch, better half: {early_correlations(rows_of_table)}")
        for space in options.spaces:
            study = override(experiment, {"study.space": space})
            for name in options.ways:
                for seed in track(range(3 if options.quick else options.seeds), f"{data}: {name}", transient=True):
                    rows.append(measure(surrogate, study, data, name, seed))
    show(rows, console)
    write_json(rows, options.json)


if __name__ == "__main__":
    main(tyro.cli(Options))
