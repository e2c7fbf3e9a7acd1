"""The pictures of the page papers.md, drawn by raykd's own functions.

    python docs/pictures.py        # writes docs/pictures/*.svg

From the same code, the same matplotlib makes the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from raykd.knowledge.bias import BiasSettings, rectify
from raykd.knowledge.schedule import ScheduleSettings
from raykd.knowledge.temperature import TemperatureSettings

FOLDER = Path(__file__).parent / "pictures"
CLASSES = ("cat", "dog", "fox", "deer", "horse", "truck")
LABEL, WRONG = 0, 1
ANSWER = torch.tensor([[0.22, 0.50, 0.15, 0.07, 0.04, 0.02]])
"""A teacher's answer to the picture of a cat, at the temperature of the loss: it takes it for a dog."""
GREY, GREEN, RED, BLUE, ORANGE, PURPLE = "#999999", "#1b7837", "#b2182b", "#2166ac", "#e08214", "#762a83"
REPAIRS = {
    "keep: as it is": BiasSettings(form="keep"),
    "pair, strength 0.5": BiasSettings(form="pair"),
    "swap": BiasSettings(form="swap"),
    "one_hot, strength 0.5": BiasSettings(form="one_hot"),
    "smooth, strength 0.5": BiasSettings(form="smooth"),
    "revision, eta 0.8": BiasSettings(form="revision"),
    "margin 0.4": BiasSettings(form="margin", margin=0.4),
    "pair, strength 1": BiasSettings(form="pair", strength=1.0),
}


def repaired(answer: Tensor, bias: BiasSettings) -> Tensor:
    """The teacher's probabilities [1, C] after a repair; the label is class `LABEL`."""
    return rectify(answer.log(), torch.tensor([LABEL]), bias).exp()


def repairs() -> Figure:
    """What each form of repair makes of one wrong answer."""
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    colours = [GREEN, RED, *[GREY] * 4]
    for axes, (title, bias) in zip(figure.subplots(2, 4, sharex=True, sharey=True).flat, REPAIRS.items(), strict=True):
        after = repaired(ANSWER, bias)[0].tolist()
        axes.bar(CLASSES, after, color=colours, width=0.7)
        axes.bar(CLASSES, ANSWER[0].tolist(), fill=False, edgecolor="black", linewidth=0.8, linestyle=":", width=0.7)
        axes.set_title(title)
        axes.tick_params(axis="x", rotation=60)
        axes.grid(axis="y", alpha=0.3)
        for place in (LABEL, WRONG):
            axes.text(place, after[place] + 0.02, f"{after[place]:.2f}", ha="center", fontsize=8)
        axes.set_ylim(0, 0.85)
    figure.supylabel("probability that the student is taught", fontsize=9)
    return figure


def strength() -> Figure:
    """Label and wrong class under the pair repair, by its strength."""
    strengths = [each / 100 for each in range(101)]
    rows = [repaired(ANSWER, BiasSettings(form="pair", strength=each))[0].tolist() for each in strengths]
    figure = Figure(figsize=(5.5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(strengths, [row[LABEL] for row in rows], color=GREEN, label="label (cat)")
    axes.plot(strengths, [row[WRONG] for row in rows], color=RED, label="wrong class (dog)")
    axes.plot(strengths, [row[2] for row in rows], color=GREY, label="fox, as all others: unchanged")
    gap = (ANSWER[0, WRONG] - ANSWER[0, LABEL]).item()
    axes.axvline(gap / (1 + gap), color="black", linewidth=0.8, linestyle=":")
    axes.text(gap / (1 + gap) + 0.01, 0.02, "the label overtakes", fontsize=8)
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.text(0.51, 0.02, "the authors' formula", fontsize=8)
    _named(axes, "bias.strength", "probability")
    axes.set_ylim(0, 0.75)
    return figure


def schedules() -> Figure:
    """The weight of right knowledge over the training: forms, and what shape does to the cosine."""
    forms: dict[str, ScheduleSettings] = {
        "cosine": ScheduleSettings(form="cosine"),
        "linear": ScheduleSettings(form="linear"),
        "step, step_at 0.5": ScheduleSettings(form="step"),
        "constant, weight 0.5": ScheduleSettings(form="constant"),
        "rising": ScheduleSettings(form="rising"),
    }
    shapes = {
        f"cosine, shape {shape:g}": ScheduleSettings(form="cosine", shape=shape) for shape in (0.5, 1.0, 2.0, 4.0)
    }
    progress = [each / 200 for each in range(201)]
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    for axes, settings in zip(figure.subplots(1, 2, sharey=True), (forms, shapes), strict=True):
        for (name, schedule), colour in zip(settings.items(), (BLUE, ORANGE, GREEN, GREY, PURPLE), strict=False):
            axes.plot(progress, [schedule.right_weight(each) for each in progress], color=colour, label=name)
        _named(axes, "progress: epoch / epochs", "b, weight of right knowledge")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    return figure


def temperatures() -> Figure:
    """A confident and an unsure answer, softened by a constant temperature and by their own standard deviation."""
    logits = torch.tensor([[12.0, 4.0, 2.0, 0.0, -2.0, -4.0], [3.0, 1.0, 0.5, 0.0, -0.5, -1.0]])
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "T = 1": torch.ones_like,
        "constant, value 4": TemperatureSettings(policy="constant", value=4.0).of,
        "std, multiplier 1": TemperatureSettings(policy="std", multiplier=1.0).of,
        "std, multiplier 2": TemperatureSettings(policy="std", multiplier=2.0).of,
    }
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for column, (title, of) in enumerate(ways.items()):
        softened = (logits / of(logits)).softmax(dim=1)
        for row, name in enumerate(("spread-out logits", "narrow logits")):
            axes = panels[row, column]
            axes.bar(range(6), softened[row].tolist(), color=(BLUE, ORANGE)[row], width=0.7)
            temperature = of(logits)[row, 0].item()
            axes.text(5.4, 0.9, f"T = {temperature:.1f}", ha="right", fontsize=8)
            axes.grid(axis="y", alpha=0.3)
            if row == 0:
                axes.set_title(title)
            if column == 0:
                axes.set_ylabel(name)
    figure.supxlabel("class", fontsize=9)
    return figure


def non_target() -> Figure:
    """What a generous teacher learns of a standard one's answer: all classes but the label, as a distribution."""
    answer = torch.tensor([0.80, 0.11, 0.05, 0.02, 0.012, 0.008])
    taught = answer.clone()
    taught[LABEL] = 0
    taught /= taught.sum()
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    for axes, values, title in zip(
        figure.subplots(1, 2, sharey=True),
        (answer, taught),
        ("the standard teacher's answer", "what the generous teacher is taught"),
        strict=True,
    ):
        axes.bar(CLASSES, values.tolist(), color=[GREEN, *[BLUE] * 5], width=0.7)
        axes.set_title(title)
        axes.grid(axis="y", alpha=0.3)
    return figure


def gradients() -> Figure:
    """How large the gradient at a student's logits is, by how much these spread: what the floor is for."""
    teacher = torch.tensor([[6.0, 2.0, 1.0, 0.0, -1.0, -2.0]])
    shape = torch.tensor([[-1.0, 2.0, 1.0, 0.5, -2.0, -0.5]])
    spreads = [math.exp(each / 20) for each in range(-140, 41)]
    figure = Figure(figsize=(5.5, 3.2), layout="constrained")
    axes = figure.subplots()
    for floor, colour, name in ((0.0, RED, "floor 0 (the papers)"), (0.1, BLUE, "floor 0.1 (default)")):
        settings = TemperatureSettings(policy="std", multiplier=2.0, floor=floor)
        teacher_temperature = settings.of(teacher)
        sizes = []
        for spread in spreads:
            student = (shape / shape.std() * spread * teacher.std()).requires_grad_()
            student_log = (student / settings.of_student(student, teacher_temperature)).log_softmax(dim=1)
            target = (teacher / teacher_temperature).softmax(dim=1)
            loss = settings.squared_weight(teacher_temperature) * (target * (target.log() - student_log)).sum(dim=1)
            (gradient,) = torch.autograd.grad(loss.sum(), student)
            sizes.append(gradient.norm().item())
        axes.plot(spreads, sizes, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _named(axes, "standard deviation: student's / teacher's", "norm of the gradient")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "repairs": repairs,
    "strength": strength,
    "schedules": schedules,
    "temperatures": temperatures,
    "non_target": non_target,
    "gradients": gradients,
}
"""All pictures, by the names of their files."""


def draw(name: str, folder: Path) -> Path:
    """Write one picture as SVG into a folder that exists, and return its file."""
    file = folder / f"{name}.svg"
    with mpl.rc_context({"svg.hashsalt": "raykd", "svg.fonttype": "none", "font.size": 9.0, "axes.titlesize": 9.0}):
        PICTURES[name]().savefig(file, metadata={"Date": None})
    return file


def _named(axes: Axes, horizontal: str, vertical: str) -> None:
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in PICTURES:
        print(draw(each, FOLDER))
