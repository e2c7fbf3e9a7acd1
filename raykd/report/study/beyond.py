"""Where the teacher is wrong: does the student repeat its answer there, or get beyond it?"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from raykd.errors import RaykdError
from raykd.places import PLAIN
from raykd.report.study.facts import StudyFacts
from raykd.training.folder import description

if TYPE_CHECKING:
    from raykd.data import ImageData
    from raykd.training.answers import Answers

MOST_IMAGES = 10_000
"""Validation images that are looked at."""
MOST_CLASSES = 12
"""Classes of a confusion matrix; the rest become one."""
SHOWN_EACH = 4
"""Pictures of each kind."""
OTHERS = "others"


@dataclass(frozen=True)
class Counts:
    """Numbers of images, by who answers them rightly.

    - teacher_wrong: of all that the teacher answers wrongly
    - beyond: of these, those that the student answers rightly
    - same: those that the student answers as the teacher does
    - other: those that the student answers wrongly, but otherwise
    - lost: those that the teacher answers rightly and the student wrongly
    """

    images: int
    teacher_wrong: int
    beyond: int
    same: int
    other: int
    lost: int

    @classmethod
    def of(cls, labels: Answers, teacher: Answers, student: Answers) -> Counts:
        """Count answers (N,), classes all of them."""
        wrong, right = teacher != labels, student == labels
        same = student == teacher
        return cls(
            images=len(labels),
            teacher_wrong=int(wrong.sum()),
            beyond=int((wrong & right).sum()),
            same=int((wrong & same).sum()),
            other=int((wrong & ~right & ~same).sum()),
            lost=int((~wrong & ~right).sum()),
        )


@dataclass(frozen=True)
class Confusion:
    """How often images of a class (row) got an answer (column).

    - classes: names of rows and columns, in the order of the labels
    - counts: (rows, columns)
    """

    classes: list[str]
    counts: Answers


@dataclass(frozen=True)
class Picture:
    """One image, as a data URI, with its label and the answers to it."""

    source: str
    label: str
    teacher: str
    student: str
    right: bool


@dataclass(frozen=True)
class Beyond:
    """Answers to the validation split.

    - student: counts of the best student
    - plain: those of the plain student on the same images, or None if there is none
    - of_teacher, of_student: their answers where the teacher is wrong
    - pictures: some of these images
    """

    student: Counts
    plain: Counts | None
    of_teacher: Confusion
    of_student: Confusion
    pictures: list[Picture]


def beyond_teacher(facts: StudyFacts) -> Beyond:
    """Ask teacher, best student and plain student for the validation images.

    Raises:
        RaykdError: there is no best student yet, a model or the data are missing, or the data have changed since.
    """
    from raykd.data import load_data
    from raykd.training.answers import answers_to

    best = facts.result.best_folder
    if facts.result.best is None or description(best) is None:
        raise RaykdError("there is no best student yet")
    settings = facts.recorded.experiment.data.model_copy(update={"loader_processes": 0})
    data = load_data(settings)
    if data.info.fingerprint != facts.result.teacher["data"]["fingerprint"]:
        raise RaykdError(f"the images of {settings.name} have changed since the study")
    folders = {"teacher": facts.result.teacher["folder"], "student": best}
    if facts.result.plain is not None:
        folders["plain"] = facts.recorded.folder / PLAIN
    labels, answers = answers_to(data, "validation", folders, MOST_IMAGES)
    return _found(data, labels, answers)


def confusion(classes: list[str], labels: Answers, answers: Answers) -> Confusion:
    """Count answers (N,) by label (N,); of many classes, the ones that occur most, and the rest as one."""
    size = len(classes)
    occurring = np.bincount(labels, minlength=size) + np.bincount(answers, minlength=size)
    names = classes
    if size > MOST_CLASSES:
        kept = np.sort(np.argsort(-occurring, kind="stable")[:MOST_CLASSES])
        place = np.full(size, MOST_CLASSES)
        place[kept] = np.arange(MOST_CLASSES)
        labels, answers = place[labels], place[answers]
        names = [*(classes[each] for each in kept), OTHERS]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (labels, answers), 1)
    return Confusion(list(names), counts)


def _found(data: ImageData, labels: Answers, answers: dict[str, Answers]) -> Beyond:
    teacher, student, plain = answers["teacher"], answers["student"], answers.get("plain")
    wrong = teacher != labels
    classes = list(data.info.class_names)
    return Beyond(
        student=Counts.of(labels, teacher, student),
        plain=None if plain is None else Counts.of(labels, teacher, plain),
        of_teacher=confusion(classes, labels[wrong], teacher[wrong]),
        of_student=confusion(classes, labels[wrong], student[wrong]),
        pictures=_pictures(data, labels, teacher, student),
    )


def _pictures(data: ImageData, labels: Answers, teacher: Answers, student: Answers) -> list[Picture]:
    wrong, right, same = teacher != labels, student == labels, student == teacher
    kinds = (wrong & right, wrong & same, wrong & ~right & ~same)
    rows = np.concatenate([np.flatnonzero(kind)[:SHOWN_EACH] for kind in kinds])
    names = data.info.class_names
    return [
        Picture(source, names[labels[row]], names[teacher[row]], names[student[row]], bool(student[row] == labels[row]))
        for row, source in zip(rows, _sources(data, rows), strict=True)
    ]


def _sources(data: ImageData, rows: Answers) -> list[str]:
    """PNGs of validation images as data URIs."""
    from dataclasses import replace

    from PIL import Image

    from raykd.data import evaluation_batches

    chosen = replace(data, splits={**data.splits, "validation": data.split("validation").take(rows)})
    sources = []
    for batch in evaluation_batches(chosen, "validation", batch_size=1):
        pixels = (batch.pixels[0] * 255).round().byte()
        # A PNG has one channel or three.
        colours = pixels[0] if len(pixels) < 3 else pixels[:3].permute(1, 2, 0)
        picture = io.BytesIO()
        Image.fromarray(colours.numpy()).save(picture, "PNG")
        sources.append(f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}")
    return sources
