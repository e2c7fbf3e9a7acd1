"""What the losses make of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from raykd.config import Experiment, TemperatureSettings, TrainingSpec
from raykd.errors import RaykdError, unknown_name
from raykd.knowledge.methods import METHODS
from raykd.settings import Settings
from raykd.settings_errors import SettingsError
from raykd.settings_io import friendly


def chosen(method: str, settings: Mapping[str, Any], loss: type) -> dict[str, Any]:
    """The section `method` of the settings.

    Args:
        method: A name, or an import path.
        settings: The method's own, by keyword.
        loss: The class that was given them, for errors.

    Raises:
        RaykdError: the method has no such setting, and the loss no such argument.
    """
    if ":" in method:
        return {"name": method, "arguments": dict(settings)}
    if method in METHODS:
        check_keywords(settings, METHODS[method].model_fields, loss)
    return {"name": method, **({method: dict(settings)} if settings else {})}


def check_keywords(given: Iterable[str], known: Iterable[str], loss: type) -> None:
    """Refuse misspelt keyword arguments.

    Args:
        given: Those that no argument of the loss has taken.
        known: The settings among them that there are.
        loss: The class that was given them; the names of its own arguments are proposed as well.

    Raises:
        RaykdError: one of them is unknown.
    """
    inits = [vars(each)["__init__"] for each in loss.__mro__ if "__init__" in vars(each)]
    parameters = [each for init in inits for each in inspect.signature(init).parameters.values()]
    own = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    for name in given:
        if name not in set(known):
            raise unknown_name("argument", name, [*known, *own], loss.__name__)


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
    """What is wrong in a section of the settings is told by its names in an experiment."""
    try:
        yield
    except SettingsError as error:
        raise friendly(error, section=section) from None
