"""A section of a class: the students that pass a batch together, one alone or several as a stack."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor

from raykd.data import Batch
from raykd.knowledge import Losses
from raykd.training.members import Members
from raykd.training.stacks.stack import Stack
from raykd.training.student import Student
from raykd.training.teacher import Knowledge, autocast
from raykd.training.team import Team


class Section:
    """Students by the slot of the stack in which they sit; without a stack, one student in slot 0."""

    def __init__(
        self, students: Mapping[int, Student], stack: Stack | None, precision: torch.dtype | None, team: Team
    ) -> None:
        self._students = students
        self._stack = stack
        self._precision = precision
        self._team = team

    @property
    def places(self) -> dict[Student, dict[str, float]]:
        """What each student's report says about its place, and how it passed batches there."""
        size = 1 if self._stack is None else self._stack.size
        return {
            student: {
                "stack_size": float(size),
                "stack_slot": float(slot),
                "compiled": float(student.is_compiled if self._stack is None else self._stack.is_compiled),
            }
            for slot, student in self._students.items()
        }

    def open(self) -> AbstractContextManager[object]:
        """A context in which the networks can pass batches: stacked, or where compiled code expects them."""
        return self._students[0].open() if self._stack is None else self._stack.open()

    def train(self, mode: bool = True) -> None:
        """Set all networks to training or evaluation."""
        if self._stack is not None:
            self._stack.train(mode)
            return
        for student in self._students.values():
            student.network.train(mode)

    def learn(self, step: int, batch: Batch, knowledge: Mapping[Student, Knowledge], members: Members) -> None:
        """Take one optimizer step with each student that is still a member.

        Args:
            step: Number of the batch in this epoch.
            batch: The images and labels.
            knowledge: What each student that has a teacher is taught about them.
            members: Students that fail are taken out.
        """
        if self._stack is None:
            for student in self._of(members).values():
                with members.guard(student):
                    student.learn(step, batch, knowledge.get(student))
            return
        answers = self._pass(batch.images, members)
        losses: dict[int, Losses] = {}
        self._stack.zero_grad()
        for slot, student in self._of(members).items():
            with members.guard(student):
                student.begin_step(step)
                losses[slot] = student.losses(*answers[slot], batch, knowledge.get(student))
        if losses:
            with members.guard(*self._of(members).values()):
                torch.stack([each.total for each in losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
                parts = [gradient for slot in losses for gradient in self._students[slot].part_gradients]
                self._team.average([*self._stack.gradients, *parts])
                self._stack.hand_out_gradients()
        for slot, student in self._of(members).items():
            with members.guard(student):
                student.end_step(losses[slot], answers[slot][0].detach(), batch.labels)

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor, teacher_answers: Mapping[str, Tensor], members: Members) -> None:
        """Evaluate a held-out batch: images [B, C, H, W] normalised, labels [B], and each teacher's classes [B]."""
        if self._stack is None:
            for student in self._of(members).values():
                with members.guard(student):
                    student.evaluate_batch(images, labels, teacher_answers.get(student.request.teacher or ""))
            return
        if self._averaging(members):
            answers = self._pass(images, members)
            for slot, student in self._averaging(members).items():
                with members.guard(student):
                    student.metrics.add_raw_answers(answers[slot][0], labels)
        with ExitStack() as averaged:
            for student in self._averaging(members).values():
                averaged.enter_context(student.averaged())
            answers = self._pass(images, members)
        for slot, student in self._of(members).items():
            with members.guard(student):
                known = teacher_answers.get(student.request.teacher or "")
                student.metrics.add_answers(answers[slot][0], labels, known)

    def _of(self, members: Members) -> dict[int, Student]:
        return {slot: student for slot, student in self._students.items() if student in members}

    def _averaging(self, members: Members) -> dict[int, Student]:
        return {slot: student for slot, student in self._of(members).items() if student.averages}

    def _pass(self, images: Tensor, members: Members) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Pass a batch through the stack. All run the same code: an error is one of every student."""
        assert self._stack is not None
        with members.guard(*self._of(members).values()), autocast(images.device, self._precision):
            return self._stack(images)
        return []
