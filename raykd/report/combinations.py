"""What a method combines with, in sentences: what holds for all methods of its kind, and where it differs."""

from __future__ import annotations

import sys
from typing import Literal

from raykd.knowledge.methods.base import (
    AnswerMethod,
    BatchMethod,
    BatchTerm,
    FeatureMethod,
    HintShapes,
    Labels,
    Method,
    SampleTerm,
    TeacherFree,
    Where,
)
from raykd.knowledge.methods.own import OwnFunction

Kind = Literal["answers", "batch", "features", "no teacher"]

KIND_DESCRIPTIONS: dict[Kind, str] = {
    "answers": "compares the networks' answers, each sample on its own",
    "batch": "compares the networks' answers across the samples of a batch",
    "features": "compares features; its loss is added to that of a method of answers",
    "no teacher": "needs no teacher",
}
ANY = "Any temperature.policy, bias.form, bias.denominator and schedule.form"
FINITE = (
    "It compares logits themselves, so a repair must leave every class some probability: bias.strength below 1 with "
    "pair and one_hot, bias.strength below 1 or bias.smoothing above 0 with smooth, bias.margin below 1 with margin."
)
MIXED = "Of mixed images (data.mixup, data.cutmix) it takes both labels, each with its share."
LABELS: dict[Labels, str] = {
    "unused": "It uses no labels, so images that are mixed (data.mixup, data.cutmix) are taught like any others.",
    "dominant": "Of mixed images (data.mixup, data.cutmix) it takes the label with the larger share.",
    "single": "It needs images of one label: data.mixup and data.cutmix are refused.",
}
AS_ONE = "With several workers, the loss is that of the whole batch."
APART = "With several workers, each compares its own samples only, and the losses are averaged by the workers' shares."
LEARNED = "Its learned parts are trained, saved and resumed with the student, and are not part of the finished model."

LAYERS: dict[Where, str] = {
    "middle": "the last layer of the stage in the middle",
    "last": "the last layer of the last stage",
    "stages": "the last layer of each stage",
    "embedding": "what enters the classifier's head",
    "stages and embedding": "the last layer of each stage, and what enters the classifier's head",
}
"""Descriptions of the layers from which a feature method takes its hints."""


def kind_of(method: Method | OwnFunction) -> Kind:
    """What a method compares."""
    if isinstance(method, TeacherFree):
        return "no teacher"
    if isinstance(method, FeatureMethod):
        return "features"
    if isinstance(method, BatchMethod):
        return "batch"
    term = method.term() if isinstance(method, AnswerMethod) else None
    return "batch" if isinstance(term, BatchTerm) and not isinstance(term, SampleTerm) else "answers"


def combinations(method: Method | OwnFunction) -> list[str]:
    """Sentences on what a method combines with."""
    kind = kind_of(method)
    if kind == "no teacher":
        return ["Temperature, bias and schedule change nothing.", MIXED]
    sentences = [f"{ANY} combine with it."]
    if kind == "features":
        beside = "the method of answers beside it (method.beside, if objective.kd_weight is above 0)"
        sentences = [f"{ANY} apply to {beside}, whose own limits hold."]
    if isinstance(method, AnswerMethod) and method.finite:
        sentences.append(FINITE)
    sentences.append(LABELS[method.labels if isinstance(method, Method) else "dominant"])
    sentences.append(AS_ONE if kind == "answers" else APART)
    return [*sentences, LEARNED] if _learns(method) else sentences


def _learns(method: Method | OwnFunction) -> bool:
    term: object = None
    if isinstance(method, FeatureMethod):
        term = method.term(_example_shapes(method.where))
    elif isinstance(method, AnswerMethod | OwnFunction):
        term = method.term()
    torch = sys.modules.get("torch")
    # A term with parameters imports torch; without torch there is none.
    return torch is not None and isinstance(term, torch.nn.Module)


def _example_shapes(where: Where) -> HintShapes:
    """Shapes of the hints of a narrow student and a wide teacher, for 4 samples of 2 classes."""
    import torch

    stages = ((4, 8, 8), (8, 4, 4), (16, 2, 2))
    narrow: dict[Where, tuple[tuple[int, ...], ...]] = {
        "middle": stages[-1:],
        "last": stages[-1:],
        "stages": stages,
        "embedding": ((16,),),
        "stages and embedding": (*stages, (16,)),
    }
    wide = tuple((2 * channels, *sides) for channels, *sides in narrow[where])
    return HintShapes(student=narrow[where], teacher=wide, labels=torch.tensor([0, 1, 0, 1]))
