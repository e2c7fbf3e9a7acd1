"""Estimates over seeds against closed forms: Student's t with 2 degrees of freedom has elementary functions."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raykd.results.statistics import Estimate, interval, p_value, spread

T_975 = {1: 12.706204736, 2: 4.302652730, 4: 2.776445105, 9: 2.262157163}
"""Quantiles of Student's t by degrees of freedom, from a printed table."""

ACCURACIES = st.integers(0, 360).map(lambda right: right / 360)


@pytest.mark.parametrize("degrees", T_975)
def test_the_interval_is_student_s(degrees):
    values = np.random.default_rng(degrees).normal(0.9, 0.02, degrees + 1)
    found = Estimate.of(values.tolist())
    half = T_975[degrees] * values.std(ddof=1) / math.sqrt(len(values))
    assert found.count == len(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.sd == pytest.approx(values.std(ddof=1))
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-7)


@given(st.lists(ACCURACIES, min_size=3, max_size=3), st.lists(ACCURACIES, min_size=3, max_size=3))
def test_p_of_three_pairs_is_the_closed_form(mine, theirs):
    differences = np.subtract(mine, theirs)
    found = Estimate.of(differences.tolist())
    if np.ptp(differences) < 1e-9:
        assert found.p is None
        return
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(3))
    assert found.p == pytest.approx(1 - abs(t) / math.sqrt(2 + t * t), abs=1e-9)


@given(st.lists(ACCURACIES, min_size=2, max_size=8))
def test_the_verdict_follows_the_interval_and_agrees_with_p(accuracies):
    differences = [each - 0.5 for each in accuracies]
    found, turned = (Estimate.of(sign * each for each in differences) for sign in (1, -1))
    shown = found.p is not None and found.p < 0.05
    assert (found.verdict != "not shown") == shown
    assert (found.verdict == "yes") == (turned.verdict == "no")
    assert (found.verdict == "yes") == (shown and found.mean > 0)


@pytest.mark.parametrize("value", [0.0, 1 / 360, 0.3])
def test_equal_numbers_give_no_interval_and_no_warning(value):
    # Rounding must not look like a spread.
    numbers = [value, (0.1 + value) - 0.1, (0.7 + value) - 0.7, value]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Estimate.of(numbers)
    assert found.mean == pytest.approx(value)
    assert found.sd == 0
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.verdict == "not shown"
    assert found.seeds_needed is None


def test_one_number_has_no_spread_and_none_no_estimate():
    assert Estimate.of([0.5]) == Estimate(1, 0.5)
    assert Estimate.of([0.5]).verdict == "not shown"
    assert Estimate.of([]) is None


def test_while_numbers_are_missing_nothing_is_shown():
    numbers = [0.02, 0.021, 0.019, 0.0205]
    assert Estimate.of(numbers).verdict == "yes"
    assert Estimate.of(numbers, wanted=4) == Estimate.of(numbers)
    found = Estimate.of(numbers, wanted=6)
    assert (found.count, found.missing, found.verdict) == (4, 2, "not shown")
    assert (found.mean, found.sd) == (Estimate.of(numbers).mean, Estimate.of(numbers).sd)
    assert (found.low, found.high, found.p, found.seeds_needed) == (None, None, None, None)
    assert spread(found, "+") == "+2.01±0.09 (4 of 6)"
    assert interval(found, "+") == p_value(found) == "-"


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_seeds_that_are_needed_are_those_of_published_power_tables(effect, seeds):
    """Two-sided t-test of pairs, level 0.05, power 0.8; the same for differences below 0."""
    assert Estimate(3, effect * 0.02, sd=0.02).seeds_needed == seeds
    assert Estimate(3, -effect * 0.02, sd=0.02).seeds_needed == seeds


def test_differences_too_small_to_ever_be_shown_need_no_number():
    assert Estimate(3, 1e-5, sd=0.02).seeds_needed is None
    assert Estimate(3, 0.0, sd=0.02).seeds_needed is None
