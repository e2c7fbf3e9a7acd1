"""The recorded table, the surrogate that learns from it, and the searches that run on the surrogate."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
import search_efficiency
from search_efficiency import WAYS, Finished, Search, epochs_to_near, winner_among_finalists
from search_table import DATA, EXPERIMENT, HERE, SPACE, places_of_references, read_rows
from surrogate import Surrogate, encoded

from raykd.config import Experiment
from raykd.search.space import SearchSpace
from raykd.search.space_file import load_space
from raykd.settings_io import override

Table = tuple[Experiment, SearchSpace, list[dict[str, Any]]]


def table_of(data: str) -> Table:
    experiment = override(EXPERIMENT, DATA[data])
    return experiment, load_space(SPACE, experiment), read_rows(HERE / "results" / f"search_table_{data}.jsonl.gz")


@pytest.fixture(scope="module")
def digits() -> Table:
    return table_of("digits")


@pytest.fixture(scope="module")
def surrogate(digits: Table) -> Surrogate:
    experiment, space, rows = digits
    return Surrogate.of(space, rows, places_of_references(experiment))


@pytest.mark.parametrize("data", list(DATA))
def test_the_surrogate_reproduces_settings_that_it_has_not_seen(data: str) -> None:
    """Within twice its stated error on the better half, and in their order."""
    experiment, space, rows = table_of(data)
    drawn = sorted({row["setting"] for row in rows if row["values"]})
    held_out = set(drawn[::5])
    known = Surrogate.of(
        space, [row for row in rows if row["setting"] not in held_out], places_of_references(experiment)
    )
    results: dict[str, list[float]] = {}
    for row in rows:
        if row["setting"] in held_out and row["test"] is not None:
            results.setdefault(row["setting"], []).append(row["test"])
    values = {row["setting"]: row["values"] for row in rows}
    real = np.array([np.mean(tests) for tests in results.values()])
    predicted = known.expected([values[setting] for setting in results])[:, -1]
    better = real >= np.median(real)
    assert np.abs(predicted - real)[better].mean() < 2 * known.error
    assert np.corrcoef(predicted.argsort().argsort(), real.argsort().argsort())[0, 1] > 0.4
    assert known.rank > 0.5


def test_a_setting_is_coded_by_the_place_of_its_values(digits: Table) -> None:
    _, space, _ = digits
    low = {"training.learning_rate": 0.0125, "objective.kd_share": 0.0, "method.name": "kd", "bias.form": "keep"}
    high = {"training.learning_rate": 0.2, "objective.kd_share": 1.0, "method.name": "kd", "bias.form": "keep"}
    first, second = (dict(zip(_columns(space), encoded(space, values), strict=True)) for values in (low, high))
    assert (first["training.learning_rate"], second["training.learning_rate"]) == (0.0, 1.0)
    assert (first["objective.kd_share"], second["objective.kd_share"]) == (0.0, 1.0)
    assert first["method.name=kd"] == 1.0 and first["method.name=dkd"] == 0.0
    # What a setting does not have is outside of all ranges, and none of the choices.
    assert first["bias.strength"] == -1.0 and first["bias.denominator=batch"] == first["bias.denominator=subset"] == 0.0


def _columns(space: SearchSpace) -> list[str]:
    return [
        f"{parameter.name}={choice}" if choice is not None else parameter.name
        for parameter in space.parameters
        for choice in space.choices(parameter.name) or (None,)
    ]


def test_noise_is_as_large_as_that_of_similar_settings(surrogate: Surrogate) -> None:
    expected = np.full(surrogate.epochs + 1, 0.95)
    random = np.random.default_rng(0)
    seen = np.array([surrogate.observed(expected, random)[-1] for _ in range(500)])
    assert abs(seen.mean() - 0.95) < 0.01
    assert 0.002 < seen.std() < 0.03


def finished(spent: int, seen: float, validation: float, test: float = 0.5) -> Finished:
    return Finished(spent, seen, np.array([validation, test]))


def test_a_search_arrives_with_its_first_setting_near_the_best() -> None:
    trials = [finished(16, 0.99, 0.90), finished(32, 0.90, 0.968), finished(48, 0.95, 0.97)]
    assert epochs_to_near(trials, 0.97) == 32
    assert epochs_to_near(trials[:1], 0.97) is None


def test_finalists_undo_the_luck_of_a_single_result(surrogate: Surrogate) -> None:
    """A lucky student of a bad setting does not win against three of a good one."""
    good, lucky = np.full(surrogate.epochs + 1, 0.95), np.full(surrogate.epochs + 1, 0.80)
    trials = [Finished(16, 0.94, good), Finished(32, 0.97, lucky)]
    for seed in range(10):
        assert winner_among_finalists(trials, surrogate, np.random.default_rng(seed)) is trials[0]


@pytest.mark.parametrize("name", ["random", "tpe", "tpe, asha", "tpe, median", "tpe, hyperband (BOHB)"])
def test_every_way_spends_its_budget_on_trials_and_repeats_itself(
    digits: Table, surrogate: Surrogate, name: str
) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _, space, _ = digits
    budget = 16 * surrogate.epochs

    def run() -> tuple[list[tuple[int, float]], int]:
        search = Search(surrogate, space, (), WAYS[name], seed=3)
        return [(one.spent, one.seen) for one in search.run(budget)], search.trials

    results, trials = run()
    assert run() == (results, trials)
    assert all(spent <= budget + search_efficiency.SEATS for spent, _ in results)
    stops = name not in ("random", "tpe")
    assert len(results) == 16 if not stops else 1 <= len(results) < trials
