"""What a method combines with, as its class and the checks of the settings themselves say."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import combinations as combinations_of
from typing import get_args

from pydantic import ValidationError

from raykd.config import BiasSettings, ScheduleSettings, TemperatureSettings, TrainingSpec
from raykd.config.methods import MethodSettings
from raykd.knowledge.methods.base import (
    AnswerMethod,
    BatchMethod,
    BatchTerm,
    FeatureMethod,
    HintShapes,
    Method,
    SampleTerm,
    TeacherFree,
    Where,
)
from raykd.knowledge.methods.own import OwnFunction

YES = "yes"
NO_SAY = "-"
"""Without teacher there is nothing to soften, repair or schedule: such settings are read and change nothing."""

POLICIES: tuple[str, ...] = get_args(TemperatureSettings.model_fields["policy"].annotation)
FORMS: tuple[str, ...] = get_args(BiasSettings.model_fields["form"].annotation)
SCHEDULES: tuple[str, ...] = get_args(ScheduleSettings.model_fields["form"].annotation)
DENOMINATORS: tuple[str, ...] = get_args(BiasSettings.model_fields["denominator"].annotation)
SHARES = ("strength", "smoothing", "margin")
"""Settings of a repair that may be 0 and 1, which not every method can bear."""
EDGES = [(share, edge) for share in SHARES for edge in (0.0, 1.0)]

LAYERS: dict[Where, str] = {
    "middle": "the last layer of the stage in the middle",
    "last": "the last layer of the last stage",
    "stages": "the last layer of each stage",
    "embedding": "what enters the classifier's head",
    "stages and embedding": "the last layer of each stage, and what enters the classifier's head",
}
"""Where a feature method takes its hints, in words."""


@dataclass(frozen=True)
class Combinations:
    """What a method combines with; each word is `YES`, `NO_SAY`, or a limit such as ``strength < 1``.

    - kind: answers, answers of a batch, features, or no teacher
    - policies, forms: by temperature policy and by bias form
    - schedule, denominator: any form of them
    - workers: how the workers of a classroom share its loss
    - learned: whether it trains parameters of its own beside the student's
    """

    kind: str
    policies: dict[str, str]
    forms: dict[str, str]
    schedule: str
    denominator: str
    workers: str
    learned: bool


def combinations(method: Method | OwnFunction, name: str) -> Combinations:
    """What a method combines with.

    Args:
        method: The method.
        name: What ``--method`` takes for it.
    """
    say = NO_SAY if isinstance(method, TeacherFree) else YES
    return Combinations(
        kind=_kind(method),
        policies=dict.fromkeys(POLICIES, say),
        forms={form: _limit(name, form) if say == YES else say for form in FORMS},
        schedule=say,
        denominator=say,
        workers=_workers(method),
        learned=_learns(method),
    )


def _kind(method: Method | OwnFunction) -> str:
    if isinstance(method, TeacherFree):
        return "no teacher"
    if isinstance(method, FeatureMethod):
        return "features"
    return "batch" if _among_samples(method) else "answers"


def _among_samples(method: Method | OwnFunction) -> bool:
    """Whether a method of the answers relates samples to each other; its class says so, or else its term."""
    if isinstance(method, BatchMethod):
        return True
    if not isinstance(method, AnswerMethod):
        return False
    term = method.term()
    return isinstance(term, BatchTerm) and not isinstance(term, SampleTerm)


def _workers(method: Method | OwnFunction) -> str:
    relates = isinstance(method, FeatureMethod) or _among_samples(method)
    return "each its own samples" if relates else "as one"


def _limit(name: str, form: str) -> str:
    """`YES`, or the limit that the settings put on this form of repair under a method.

    All edges are tried, and then all pairs of those that may be had alone.
    """
    limits: list[str] = []
    alone = []
    for edge in EDGES:
        if _accepted(name, form, edge):
            alone.append(edge)
        else:
            limits.append(_off(edge))
    for one, other in combinations_of(alone, 2):
        if one[0] != other[0] and not _accepted(name, form, one, other):
            limits.append(f"{_off(one)} or {_off(other)}")
    return " and ".join(limits) or YES


def _off(edge: tuple[str, float]) -> str:
    share, value = edge
    return f"{share} < 1" if value == 1 else f"{share} > 0"


def _accepted(name: str, form: str, *edges: tuple[str, float]) -> bool:
    try:
        TrainingSpec(method=MethodSettings(name=name), bias=BiasSettings.model_validate({"form": form, **dict(edges)}))
    except ValidationError:
        return False
    return True


def _learns(method: Method | OwnFunction) -> bool:
    term: object = None
    if isinstance(method, FeatureMethod):
        term = method.term(_example_shapes(method.where))
    elif isinstance(method, AnswerMethod | OwnFunction):
        term = method.term()
    torch = sys.modules.get("torch")
    # A term with parameters has imported torch.
    return torch is not None and isinstance(term, torch.nn.Module)


def _example_shapes(where: Where) -> HintShapes:
    """Hints of a narrow student and a wide teacher, as a method may meet them, of 4 samples of 2 classes."""
    import torch

    stages = tuple((channels, side, side) for channels, side in ((4, 8), (8, 4), (16, 2)))
    narrow: tuple[tuple[int, ...], ...]
    match where:
        case "middle" | "last":
            narrow = stages[-1:]
        case "stages":
            narrow = stages
        case "embedding":
            narrow = ((16,),)
        case "stages and embedding":
            narrow = (*stages, (16,))
    wide = tuple((2 * channels, *sides) for channels, *sides in narrow)
    return HintShapes(student=narrow, teacher=wide, labels=torch.tensor([0, 1, 0, 1]))
