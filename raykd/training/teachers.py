"""The teachers of a group: each answers a view or batch once for all of its students."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from raykd.config import TrainingSpec
from raykd.data import Batch, ImageData, TrainingBatches, WholeViews, evaluation_batches
from raykd.training.bank.bank import Bank
from raykd.training.build import autocast_type
from raykd.training.cross_fitting import AnyTeacher, load_teacher
from raykd.training.student import Student
from raykd.training.teacher import Knowledge
from raykd.training.team import Team

HELD_OUT_BATCHES = 4
"""Batches of training whose images make one of held-out images: no gradients are kept for these."""


@dataclass(frozen=True)
class _Known:
    """A teacher, its bank if its answers are stored, and its classes for the held-out images, batch by batch."""

    teacher: AnyTeacher
    bank: Bank | None
    held_out: list[Tensor]


class Teachers:
    """The teachers of a group, by folder.

    Args:
        spec: Of any student of the group.
        data: The images.
        training, held_out: Batches of them.
        team: The classroom's workers.
    """

    def __init__(
        self, spec: TrainingSpec, data: ImageData, training: TrainingBatches, held_out: Iterable[Batch], team: Team
    ) -> None:
        self._settings = spec.bank
        self._seed = spec.data.seed
        self._batch_size = HELD_OUT_BATCHES * spec.training.batch_size
        self._data = data
        self._precision = autocast_type(spec.training, team.device)
        self._training = training
        self._held_out = held_out
        self._team = team
        self._known: dict[str, _Known] = {}

    def load(self, folder: str | None) -> AnyTeacher | None:
        """The teacher in a folder; a new one is loaded, and answers the held-out images."""
        if folder is None:
            return None
        if folder not in self._known:
            teacher = load_teacher(folder, self._data, self._seed, self._precision, self._team.device)
            held_out = [teacher.classify(batch) for batch in self._team.watch.each(self._held_out_for(teacher))]
            self._known[folder] = _Known(teacher, self._bank(teacher), held_out)
        return self._known[folder].teacher

    def keep(self, folders: set[str | None]) -> bool:
        """Forget all teachers but these; return whether there were others."""
        others = self._known.keys() - folders
        for folder in others:
            del self._known[folder]
        return bool(others)

    def held_out_answers(self, number: int) -> dict[str, Tensor]:
        """Each teacher's classes [B] for a held-out batch, by folder."""
        return {folder: known.held_out[number] for folder, known in self._known.items()}

    def view(self, number: int, students: Sequence[Student]) -> ViewTeaching:
        """What the teachers give these students for one view."""
        return ViewTeaching(self._known, number, students)

    def _held_out_for(self, teacher: AnyTeacher) -> Iterable[Batch]:
        """The held-out images as a teacher wants them: cropped out of their files in its own way."""
        data = self._data.seen_as(teacher.info)
        if data is self._data:
            return self._held_out
        size, team = self._batch_size, self._team
        return evaluation_batches(
            data, data.info.held_out, batch_size=size, device=team.device, rank=team.rank, workers=team.count
        )

    def _bank(self, teacher: AnyTeacher) -> Bank | None:
        if self._settings.mode == "off" or not isinstance(self._training, WholeViews):
            return None
        return Bank(self._settings, teacher, self._training, self._data.info, self._team)


class ViewTeaching:
    """What teachers give for one view: logits from the bank, hints and what is not banked from the living teacher."""

    def __init__(self, known: dict[str, _Known], view: int, students: Sequence[Student]) -> None:
        self._known = known
        self._answers: dict[str, Tensor] = {}
        self._layers: dict[str, set[str]] = {}
        self._banked: dict[Student, str] = {}
        self._live: dict[Student, str] = {}
        for student in students:
            folder = student.request.teacher
            if folder is None:
                continue
            bank = known[folder].bank
            # A student that needs hints is taught as if there were no bank: the teacher answers for it anyway.
            if bank is None or student.teacher_layers:
                self._live[student] = folder
                self._layers.setdefault(folder, set()).update(student.teacher_layers)
            else:
                self._banked[student] = folder
                if folder not in self._answers:
                    self._answers[folder] = bank.answers(view)

    def is_banked(self, student: Student) -> bool:
        """Whether a student is taught from the bank."""
        return student in self._banked

    def of(self, batch: Batch) -> dict[Student, Knowledge]:
        """What each student that has a teacher is taught about a batch."""
        live = {
            folder: self._known[folder].teacher.teach(batch, sorted(layers)) for folder, layers in self._layers.items()
        }
        banked = {folder: Knowledge(answers[batch.indices], {}) for folder, answers in self._answers.items()}
        taught = {student: live[folder] for student, folder in self._live.items()}
        return taught | {student: banked[folder] for student, folder in self._banked.items()}
