"""Where an axis has ticks, and what stands at them: round numbers, each written out, no two of them alike."""

from __future__ import annotations

import math

from matplotlib.ticker import MaxNLocator

MOST = 6
DECADES = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
"""Leading digits of the ticks of a logarithmic axis, the densest choice first."""
PERCENT = {"ticksuffix": " %", "hoverformat": ".2f"}
"""An axis of percents: plotly itself then writes as many decimals as tell its ticks apart, at any zoom."""


def ticks(low: float, high: float, logarithmic: bool = False) -> dict[float, str]:
    """The ticks between two values, by their place, each with its text; at least one.

    Args:
        low, high: Ends of the axis; both above 0 where it is logarithmic.
        logarithmic: Whether equal factors are equally far apart.
    """
    places = _decades(low, high) if logarithmic else []
    if len(places) < 3:
        between = MaxNLocator(MOST, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if high > low else [low]
        places = [float(place) for place in between]
    slack = (high - low) * 1e-9
    kept = [place for place in places if low - slack <= place <= high + slack] or [low]
    return {place: f"{round(place, 12):.6g}" for place in kept}


def whole_step(low: float, high: float) -> int:
    """The distance of ticks between two whole numbers: 1, 2, 5, 10 and so on."""
    wanted = max((high - low) / MOST, 1.0)
    power = 10 ** math.floor(math.log10(wanted))
    return int(next(digit * power for digit in (1, 2, 5, 10) if digit * power >= wanted))


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in DECADES:
        places = [float(f"{digit}e{power}") for power in powers for digit in digits]
        if sum(low <= place <= high for place in places) <= MOST + 1:
            break
    return places
