"""What all settings have in common. Importing this costs neither torch nor Ray."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
OpenShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, values are immutable and checked, defaults included."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


def divided(first: float, second: float, share: float | None) -> tuple[float, float]:
    """Two weights, or where a share is given, their sum divided: `share` of it is the second one's."""
    if share is None:
        return first, second
    # Rounded, 1 - 0.9 is 0.1: equal trainings are then equal to the bit, whichever way they were set.
    return round((1 - share) * (first + second), 12), round(share * (first + second), 12)
