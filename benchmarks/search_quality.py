"""Measures whether a search finds a better student: whole studies, each confirmed on the test split.

    python benchmarks/search_quality.py --data digits
    python benchmarks/search_quality.py --data fashion_mnist

Each repetition has its own splits, teacher and seeds. It is a study of the main space and one of plain distillation
alone (space `kd`) with as many trials, both with finalists. The winners of both are then taught anew beside
the plain student and KD and DKD as published, under the same further seeds, and measured on the test split
(`raykd confirm`). Differences are taken within a repetition; their interval is over the repetitions, so it holds the
luck of splits, teachers and searches.

Studies lie below `--output`, and a second call goes on where the first one ended. Repetitions that `--json` holds
already are not run again, wherever their studies are.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import tyro
from output import Outputs, write_json
from rich.console import Console
from rich.table import Table
from search_table import DATA, EXPERIMENT

import raykd
from raykd.cluster.session import ray_session
from raykd.command_line import ended_well
from raykd.results.confirm import ConfirmResult, StudentRow
from raykd.results.statistics import Estimate, interval, p_value, spread
from raykd.results.study import StudyResult
from raykd.settings_io import override, setting_value
from raykd.study.confirm.confirm import confirm

STUDIES: dict[str, dict[str, Any]] = {
    "main": {"study.space": "dkd_bias", "method.name": "dkd", "bias.form": "pair"},
    "tuned kd": {"study.space": "kd", "study.start": ("experiment", "kd")},
}
"""What differs between the two studies of a repetition."""
SIZES: dict[str, dict[str, Any]] = {
    "digits": {"repetitions": 10},
    "fashion_mnist": {"repetitions": 5, "data.train_images": 4000},
}
CONFIRMED = ("study.name", "study.output", "study.resume", "teacher.cache", "confirm.seeds")
"""What a confirm is told; the rest it reads from its study."""


@dataclass(frozen=True)
class Options(Outputs):
    """Search, choose, and measure on the test split, several times."""

    data: str = "digits"
    """digits or fashion_mnist (halved to 14x14 pixels)."""
    repetitions: int | None = None
    """Independent pairs of studies. None: 10 of digits, 5 of Fashion-MNIST."""
    trials: int = 32
    """Of each study, start points included."""
    seeds: int = 5
    """Students of each contender on the test split."""
    output: Path = Path("outputs/search_quality")
    """Folder of the studies."""
    quick: bool = False
    """One repetition of 8 trials of digits with 3 epochs."""


@dataclass(frozen=True)
class Row:
    """One repetition.

    - test: mean accuracy on the test split by contender
    - chosen: settings of the winner of each study
    - search: of the winner of the main study, its single result in the search
    - further: its mean over the finalists' seeds, on the validation split; None without finalists
    """

    data: str
    repetition: int
    test: dict[str, float]
    chosen: dict[str, dict[str, Any]]
    search: float
    further: float | None


def experiment_of(options: Options, repetition: int, name: str) -> raykd.Experiment:
    """One of the two studies of a repetition."""
    sizes = {key: value for key, value in SIZES[options.data].items() if key != "repetitions"}
    quick = {"training.epochs": 3, "teacher.training.epochs": 3} if options.quick else {}
    # Far apart, as finalists and confirms add to them.
    seed = 10_000 * (repetition + 1)
    own = {
        "data.seed": seed,
        "training.seed": seed,
        "teacher.training.seed": seed,
        "study.seed": seed,
        "study.name": f"{options.data}-{repetition}-{name.replace(' ', '-')}",
        "study.output": str(options.output.absolute()),
        "study.trials": options.trials,
        "study.resume": True,
        "teacher.cache": str(options.output.absolute() / "cache"),
        "confirm.seeds": options.seeds,
        "tracking.log_model": False,
    }
    return override(EXPERIMENT, DATA[options.data] | sizes | STUDIES[name] | own | quick)


def repeat(options: Options, repetition: int, shown: Console) -> Row:
    """Run both studies of a repetition, and confirm both."""
    results: dict[str, StudyResult] = {}
    confirms: dict[str, ConfirmResult] = {}
    for which in STUDIES:
        experiment = experiment_of(options, repetition, which)
        results[which] = raykd.tune(experiment, shown)
        named = {name: setting_value(experiment, name) for name in CONFIRMED}
        confirms[which] = confirm(override(raykd.Experiment(), named), shown)
    rows: dict[str, StudentRow] = {row.name: row for row in confirms["main"].rows if row.baseline}
    for name, result in confirms.items():
        (rows[name],) = (row for row in result.rows if not row.baseline)
    test = {name: row.accuracy.mean for name, row in rows.items() if row.accuracy is not None}
    best = results["main"].best
    assert best is not None
    finalists = results["main"].finalists
    winner = None if finalists is None else finalists.winner
    return Row(
        data=options.data,
        repetition=repetition,
        test=test,
        chosen={name: dict(result.best.values) for name, result in results.items() if result.best is not None},
        search=best.accuracy or 0.0,
        further=None if winner is None else fmean(winner.accuracies.values()),
    )


def show(rows: list[Row], console: Console) -> None:
    """Print the mean of every contender, and how far the main space's winner is above it."""
    table = Table("contender", "test accuracy, %", "winner over it", "95 % interval", "p", title=rows[0].data)
    for name in rows[0].test:
        own = Estimate.of(row.test[name] for row in rows)
        over = None if name == "main" else Estimate.of(row.test["main"] - row.test[name] for row in rows)
        p = "-" if over is None else p_value(over)
        table.add_row(name, spread(own), spread(over, "+"), interval(over, "+"), p)
    console.print(table, highlight=False)
    luck = Estimate.of(row.search - row.further for row in rows if row.further is not None)
    console.print(
        f"{len(rows)} repetitions. The search's figure for the winner was {spread(luck, '+')} points above its mean "
        "over further seeds.",
        highlight=False,
    )


def main(options: Options) -> None:
    """Run all repetitions, and keep a row for each."""
    if options.quick:
        options = replace(options, repetitions=1, trials=8, seeds=2)
    console = Console()
    found = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    rows = [Row(**row) for row in found]
    # One cluster for all studies.
    with ray_session(raykd.ClusterSettings()):
        for repetition in range(len(rows), options.repetitions or SIZES[options.data]["repetitions"]):
            rows.append(repeat(options, repetition, Console(file=io.StringIO())))
            console.print(rows[-1].test, highlight=False)
            write_json(rows, options.json)
    show(rows, console)


if __name__ == "__main__":
    ended_well(lambda: main(tyro.cli(Options)))
