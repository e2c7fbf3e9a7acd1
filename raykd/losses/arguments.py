"""What the losses make of their arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from raykd.config import Experiment, TemperatureSettings, TrainingSpec
from raykd.errors import RaykdError
from raykd.settings import Settings
from raykd.settings_io import friendly


def chosen(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The section `method` of the settings."""
    if ":" in method:
        return {"name": method, "arguments": dict(settings)}
    return {"name": method, **({method: dict(settings)} if settings else {})}


def training_spec(
    method: Mapping[str, Any],
    temperature: float | TemperatureSettings,
    objective: Mapping[str, float],
    epochs: int | None,
    training: Mapping[str, float] | None = None,
    **sections: Settings,
) -> TrainingSpec:
    """How a student would be trained that has such a loss; other settings are raykd's defaults.

    Raises:
        RaykdError: a value is wrong.
    """
    values = {
        "method": method,
        "temperature": temperature if isinstance(temperature, TemperatureSettings) else {"value": temperature},
        "objective": objective,
        "training": {**(training or {}), "epochs": 1 if epochs is None else epochs},
        **sections,
    }
    with plain_words():
        return Experiment.model_validate(values).training_spec()


def check_epochs(spec: TrainingSpec, epochs: int | None) -> None:
    """Refuse a loss that depends on how many epochs are trained where that is not known.

    Raises:
        RaykdError: it does, and `epochs` is None.
    """
    if epochs is not None:
        return
    if spec.objective.warmup_epochs:
        raise RaykdError("epochs is missing: with warmup_epochs, the loss depends on how many epochs are trained")
    if spec.bias.form != "keep" and spec.schedule.form != "constant":
        raise RaykdError(
            f"epochs is missing: the schedule {spec.schedule.form} moves weight over the epochs that are trained\n"
            'give their number, or schedule=ScheduleSettings(form="constant", ...)'
        )


@contextmanager
def plain_words(section: str = "") -> Iterator[None]:
    """What pydantic refuses in a section of the settings becomes raykd's own error."""
    try:
        yield
    except ValidationError as error:
        raise friendly(error, section=section) from None
