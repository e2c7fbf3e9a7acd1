"""What all settings have in common. Importing this costs neither torch nor Ray."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
OpenShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]


NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _is_name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError(
            f"{text[:100]!r} cannot name a folder and runs: give up to 100 letters (a to z), digits, '.', '_' and '-', "
            "a letter or digit first"
        )
    return text


Name = Annotated[str, AfterValidator(_is_name)]
"""Of what becomes a folder, a run of MLflow and a study of Optuna."""


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, values are immutable and checked, defaults included."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_seems(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what would be taken for something else: `true` for 1, no text for the present folder."""
        if isinstance(value, str | Path):
            _check_text(str(value))
        if isinstance(value, bool) and not _takes_truth(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError(f"it cannot be {str(value).lower()}")
        return value


def _check_text(text: str) -> None:
    """Refuse text that no setting has, and that fails only where it is used."""
    if not text:
        raise ValueError("it is empty: give a value, or leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8, and could not be recorded: name a folder by a link whose path is") from None
    if steering := next((letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf")), None):
        raise ValueError(f"it holds {steering!a}, which is not shown: leave it out")
    if text.startswith("~"):
        try:
            Path(text).expanduser()
        except RuntimeError:
            raise ValueError(f"there is no home folder {text.partition('/')[0]}: write the path out") from None


def _is_address(text: str | Path | None) -> str | Path | None:
    if isinstance(text, str) and "://" in text:
        try:
            _ = urlsplit(text).port
        except ValueError as error:
            raise ValueError(f"it cannot be read as an address: {error}") from None
    return text


Address = AfterValidator(_is_address)
"""Checks text that may be a URL. Its own message does not show it, as it may hold a password."""


def _takes_truth(annotation: Any) -> bool:
    return annotation is bool or any(map(_takes_truth, get_args(annotation)))


def divided(first: float, second: float, share: float | None) -> tuple[float, float]:
    """Two weights, or where a share is given, their sum divided: `share` of it is the second one's."""
    if share is None:
        return first, second
    # Rounded, 1 - 0.9 is 0.1: equal trainings are then equal to the bit, whichever way they were set.
    return round((1 - share) * (first + second), 12), round(share * (first + second), 12)
