"""What a table of forecasts says: how efficient each size is, which one to take, and where more is no help."""

from __future__ import annotations

from collections.abc import Sequence

from raykd.planning.forecast import Forecast

HARDLY_FASTER = 0.95
"""A larger cluster that still takes this share of the time is hardly faster."""


def efficiency(forecast: Forecast, smallest: Forecast) -> float:
    """What share of a size's workers' time the smallest would have needed for the same study."""
    return smallest.hours / forecast.hours


def knee(forecasts: Sequence[Forecast]) -> Forecast:
    """The size whose time and cost are the smallest together: the product of seconds and worker hours."""
    return min(forecasts, key=lambda each: each.seconds * each.hours)


def no_faster_beyond(forecasts: Sequence[Forecast]) -> Forecast:
    """The smallest size that is hardly slower than all larger ones."""
    best = min(each.seconds for each in forecasts)
    return next(each for each in forecasts if each.seconds * HARDLY_FASTER <= best)
