"""Mean, spread, interval and test of numbers over seeds, and how they are written. Imports scipy when it is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

CONFIDENCE = 0.95
POWER = 0.8
MOST_SEEDS = 1000
"""Larger numbers of seeds are not counted."""
EQUAL = 1e-9
"""Accuracies are shares of images: numbers that lie closer than this are equal but for rounding."""

Verdict = Literal["yes", "no", "not shown"]
"""Whether a difference is above 0: its interval is above it, below it, or holds it."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and how well it is known, by Student's t.

    - count: how many numbers
    - mean, sd: of them; sd is the sample standard deviation, None of a single number
    - low, high: the 95 % interval of the mean; None of a single number, or of equal ones, from which none follows, and
      where numbers are missing: those that are there may be the better ones, as students that diverge leave none
    - p: two-sided, of the hypothesis that the true mean is 0; None as the interval is
    - missing: how many numbers there should be besides
    """

    count: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    missing: int = 0

    @classmethod
    def of(cls, numbers: Iterable[float], wanted: int | None = None) -> Estimate | None:
        """The estimate from these numbers; None of none.

        Args:
            numbers: One of each seed that is known.
            wanted: How many there should be. None: as many as there are.
        """
        values = list(numbers)
        if not values:
            return None
        mean, missing = fmean(values), max((wanted or 0) - len(values), 0)
        if len(values) == 1:
            return cls(1, mean, missing=missing)
        sd = 0.0 if max(values) - min(values) < EQUAL else stdev(values)
        if sd == 0 or missing:
            return cls(len(values), mean, sd, missing=missing)
        from scipy import stats

        test = stats.ttest_1samp(values, 0.0)
        interval = test.confidence_interval(CONFIDENCE)
        return cls(len(values), mean, sd, float(interval.low), float(interval.high), float(test.pvalue))

    @classmethod
    def of_differences(
        cls, first: Mapping[int, float], second: Mapping[int, float], wanted: int | None = None
    ) -> Estimate | None:
        """By how much the first numbers exceed the second, seed by seed, over the seeds that both have.

        Args:
            first, second: By seed.
            wanted: How many seeds both should have. None: as many as they have.
        """
        return cls.of((first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())), wanted)

    @property
    def verdict(self) -> Verdict:
        """Whether the mean is above 0, as far as these numbers show it."""
        if self.low is None or self.high is None:
            return "not shown"
        return "yes" if self.low > 0 else "no" if self.high < 0 else "not shown"

    @property
    def seeds_needed(self) -> int | None:
        """With how many seeds such a mean, under such a deviation, would be distinguished from 0 with 80 % probability.

        The power of the two-sided t-test, from the noncentral t distribution. None if mean or deviation is 0 or
        unknown, if numbers are missing, or if there were more than `MOST_SEEDS`.
        """
        if not self.sd or self.missing or abs(self.mean) < EQUAL:
            return None
        from scipy import stats

        for count in range(2, MOST_SEEDS + 1):
            limit = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
            shift = abs(self.mean) / self.sd * math.sqrt(count)
            # That the test errs to the other side is too rare to count.
            if stats.nct.sf(limit, count - 1, shift) >= POWER:
                return count
        return None


def percent(share: float | None, sign: str = "") -> str:
    """A share in percent, such as "84.64", or a difference in points where `sign` is "+"; "-" for None."""
    # Adding 0 turns -0.0 into 0.0.
    return "-" if share is None else f"{round(100 * share, 2) + 0.0:{sign}.2f}"


def spread(estimate: Estimate | None, sign: str = "") -> str:
    """Mean and sample standard deviation in percent, such as "84.64±0.46"; "-" for None.

    Where numbers are missing, it says of how many they are: "84.64±0.46 (2 of 3)".
    """
    if estimate is None:
        return "-"
    deviation = "" if estimate.sd is None else f"±{100 * estimate.sd:.2f}"
    whole = estimate.count + estimate.missing
    return percent(estimate.mean, sign) + deviation + (f" ({estimate.count} of {whole})" if estimate.missing else "")


def interval(estimate: Estimate | None, sign: str = "") -> str:
    """The 95 % interval of an accuracy in percent, or of a difference in points with `sign` "+"; "-" if unknown."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return "-"
    # There are no accuracies beyond 0 and 100 %; differences may be negative.
    low, high = (estimate.low, estimate.high) if sign else (max(estimate.low, 0.0), min(estimate.high, 1.0))
    return f"{percent(low, sign)} to {percent(high, sign)}"


def p_value(estimate: Estimate | None) -> str:
    """The p value with three decimals; "-" if unknown."""
    if estimate is None or estimate.p is None:
        return "-"
    return "<0.001" if estimate.p < 0.001 else f"{estimate.p:.3f}"
