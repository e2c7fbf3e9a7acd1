"""What all settings have in common. Importing this costs neither torch nor Ray."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from raykd.errors import shortened
from raykd.settings_errors import SettingsError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
OpenShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]


LONGEST_FILE_NAME = 255
"""Bytes; of most file systems."""
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _is_name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("._-")[:100]
        raise ValueError(
            f"{shortened(repr(text), 100)} cannot name a folder and runs: give up to 100 letters (a to z), digits, "
            f"'.', '_' and '-', a letter or digit first{f', such as {near!r}' if near else ''}"
        )
    return text


Name = Annotated[str, AfterValidator(_is_name)]
"""Of what becomes a folder, a run of MLflow and a study of Optuna."""

LONGEST_MLFLOW_NAME = 250
"""Letters; MLflow's databases have room for a few more."""


def _is_mlflow_name(text: str) -> str:
    if len(text) > LONGEST_MLFLOW_NAME or text != text.strip():
        raise ValueError(
            f"{shortened(repr(text), 100)} cannot name an experiment of MLflow: give up to {LONGEST_MLFLOW_NAME} "
            "letters, the first and the last one no blank"
        )
    return text


MlflowName = Annotated[str, AfterValidator(_is_mlflow_name)]
"""Of an experiment of MLflow."""


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, values are immutable and checked, defaults included.

    Raises:
        SettingsError: a name is unknown or a value is wrong, wherever settings are made, copied or changed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    if not TYPE_CHECKING:  # Type checkers know each class's own names from pydantic.

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise SettingsError.of(error, type(self)) from None

        # Settings within settings are made by pydantic as ever, so that it knows where in the whole an error lies.
        __init__.__pydantic_base_init__ = True

        def __setattr__(self, name: str, value: Any) -> None:
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                raise SettingsError.of(error, type(self)) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As pydantic's, with raykd's error."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise SettingsError.of(error, cls) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, and what is changed is checked."""
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        values = {name: getattr(copied, name) for name in type(self).model_fields}
        return type(self)(**values | dict(update))

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_seems(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what would be taken for something else: `true` for 1, no text for the present folder."""
        if isinstance(value, str | Path):
            _check_text(str(value))
            if _takes(cls.model_fields[info.field_name or ""].annotation, Path) and "://" not in str(value):
                _check_path(Path(value))
        if isinstance(value, bool) and not _takes(cls.model_fields[info.field_name or ""].annotation, bool):
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


def _check_path(path: Path) -> None:
    """Refuse what no file system has, which each of them would say in its own way, and late."""
    if long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_FILE_NAME), None):
        shown = shortened(repr(long), 60)
        raise ValueError(f"{shown} is no name of a file or folder: it is too long, give up to 255 bytes")


def _is_address(text: str | Path | None) -> str | Path | None:
    if isinstance(text, str) and "://" in text:
        try:
            _ = urlsplit(text).port
        except ValueError as error:
            raise ValueError(f"it cannot be read as an address: {error}") from None
    return text


Address = AfterValidator(_is_address)
"""Checks text that may be a URL. Its own message does not show it, as it may hold a password."""


def _takes(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_takes(part, kind) for part in get_args(annotation))


def divided(first: float, second: float, share: float | None) -> tuple[float, float]:
    """Two weights, or where a share is given, their sum divided: `share` of it is the second one's."""
    if share is None:
        return first, second
    # Rounded, 1 - 0.9 is 0.1: equal trainings are then equal to the bit, whichever way they were set.
    return round((1 - share) * (first + second), 12), round(share * (first + second), 12)
