"""The classroom: several students trained in lockstep, with one forward pass of their teacher per batch.

This is the one training loop of the project. Students enter and leave between epochs. Those that share data, batch
size and epochs form a group and see the same batches; a teacher of several of them answers each batch once.
"""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch

from raykd.config import DataSettings, TrainingSpec
from raykd.data import Augmentation, ImageData, evaluation_batches, load_data, training_batches
from raykd.errors import RaykdError, StorageError
from raykd.training.build import autocast_type
from raykd.training.checkpoint import finished_history, stored_checkpoint
from raykd.training.compiled.rehearsal import Scene
from raykd.training.cross_fitting import join_teachers
from raykd.training.faults import ends_worker, is_device_error, is_out_of_memory
from raykd.training.members import Members, failure_report, first_line
from raykd.training.messages import Fault, Report, TrainRequest, WorkerCommands
from raykd.training.stacks.section import Section
from raykd.training.stacks.stacking import Stacking
from raykd.training.student import Student
from raykd.training.teachers import HELD_OUT_BATCHES, Teachers
from raykd.training.team import Team
from raykd.training.used_layers import check_all_used


class Classroom:
    """One worker's students, groups and images.

    Every worker of a classroom follows the same commands, so all hold the same students in the same order.
    """

    def __init__(self, team: Team) -> None:
        self._team = team
        self._students: dict[str, Student] = {}
        self._groups: dict[str, Group] = {}
        self._images: dict[str, ImageData] = {}

    @property
    def seated(self) -> tuple[str, ...]:
        """The tickets of all students that sit here."""
        return tuple(self._students)

    def follow(self, commands: WorkerCommands) -> tuple[Report, ...]:
        """Let students leave and enter, train those that may train for one epoch, and return all new reports.

        Raises:
            Exception: this worker, and with it the others, must end; see `fault`.
        """
        self._team.watch.begin()
        try:
            return self._follow(commands)
        finally:
            self._team.watch.end()

    def fault(self, error: Exception, commands: WorkerCommands) -> Fault | None:
        """What an error says that `follow` has raised; None: no more than that the worker ends."""
        if isinstance(error, StorageError):
            return Fault(str(error), storage=True)
        if is_device_error(error):
            return Fault(f"{self._team.device} of node {platform.node()}: {first_line(error)}", None, device=True)
        if not is_out_of_memory(error):
            return None
        requests = {student.request.ticket: student.request for student in self._students.values()}
        requests |= {request.ticket: request for request in commands.enter}
        concerned = [requests[ticket] for ticket in self._team.watch.tickets or commands.learn if ticket in requests]
        reports = [self._alone_or_crowded(failure_report(request, error), request) for request in concerned]
        return Fault(first_line(error), reports=tuple(reports))

    def _follow(self, commands: WorkerCommands) -> tuple[Report, ...]:
        for ticket in commands.leave:
            self._students.pop(ticket, None)
        reports = [report for request in commands.enter for report in self._seat(request)]
        learning: dict[str, list[Student]] = {}
        for ticket in commands.learn:
            if student := self._students.get(ticket):
                learning.setdefault(_group_key(student.request, student.spec), []).append(student)
        self._forget_unused()
        for key, students in learning.items():
            reports += map(self._alone_or_crowded, self._train_epoch(self._groups[key], students))
        for report in reports:
            if report.last:
                self._students.pop(report.ticket, None)
        if any(report.failure is not None for report in reports):
            self._free_memory()
        return tuple(reports)

    def _seat(self, request: TrainRequest) -> tuple[Report, ...]:
        """Seat a student, and return its earlier reports."""
        # The first worker decides, as file systems show a new file to one node before the other.
        reports, stored = self._team.broadcast(_found(request) if self._team.rank == 0 else None)
        if reports:
            return reports
        failure: Report | None = None
        self._team.watch.at()
        try:
            group = self._group(request, request.spec)
            _check_data(request, group.data)
            if request.members:
                return (group.join_teachers(request),)
            teacher = group.teachers.load(request.teacher)
            self._team.watch.at(request.ticket)
            student = Student(request, group.data, self._team, teacher, stored)
            if not self._team.alone:
                check_all_used(student.network, student.layers, group.data.info, f"student {request.spec.student}")
        except Exception as error:
            if ends_worker(error):
                raise  # Not the student's fault: it is seated again when the classroom has restarted.
            failure = failure_report(request, error)
        self._team.watch.at()
        failure = self._team.first_given(failure)
        if failure is not None:
            return (self._alone_or_crowded(failure, request),)
        if not student.ended:
            student.set_up_distributed()
            if student.views and not self._members(_group_key(request, student.spec)):
                # A student that comes back alone continues with the view that would have been next.
                group.view = student.views[-1] + 1
            self._students[request.ticket] = student
        return student.history

    def _train_epoch(self, group: Group, students: Sequence[Student]) -> list[Report]:
        try:
            return group.train_epoch(students)
        except Exception as error:
            # Of no single student: images that cannot be read, or memory that is too small for what all need.
            ours = isinstance(error, RaykdError) or is_out_of_memory(error)
            if not self._team.alone or ends_worker(error) or not ours:
                raise
            return [failure_report(student.request, error, student.epoch + 1) for student in students]

    def _alone_or_crowded(self, report: Report, *seating: TrainRequest) -> Report:
        """The same report; want of memory is a student's own if it has the classroom for itself."""
        if not report.crowded:
            return report
        others = any(ticket != report.ticket for ticket in self._students)
        return replace(report, crowded=self._forget_unused(*seating) or others)

    def _free_memory(self) -> None:
        """Give back what students that have failed took: their errors may still hold it."""
        gc.collect()
        if self._team.device.type == "cuda":
            torch.cuda.empty_cache()

    def _group(self, request: TrainRequest, spec: TrainingSpec) -> Group:
        key = _group_key(request, spec)
        if key not in self._groups:
            self._groups[key] = Group(spec, self._load(spec.data), self._team)
        return self._groups[key]

    def _load(self, settings: DataSettings) -> ImageData:
        key = _data_key(settings)
        if key not in self._images:
            self._images[key] = load_data(settings).to(self._team.device)
        return self._images[key].with_views_of(settings.seed_of_views, Augmentation.of(settings))

    def _forget_unused(self, *seating: TrainRequest) -> bool:
        """Forget what neither the seated students need nor those being seated; return whether there was any."""
        requests = [*(student.request for student in self._students.values()), *seating]
        if not requests:
            return False  # The next ones may need the same.
        teachers: dict[str, set[str | None]] = {}
        for request in requests:
            teachers.setdefault(_group_key(request, request.spec), set()).add(request.teacher)
        data = {_data_key(request.spec.data) for request in requests}
        known = len(self._groups) + len(self._images)
        self._groups = {key: group for key, group in self._groups.items() if key in teachers}
        self._images = {key: images for key, images in self._images.items() if key in data}
        forgotten = [group.teachers.keep(teachers[key]) for key, group in self._groups.items()]
        return any(forgotten) or len(self._groups) + len(self._images) < known

    def _members(self, key: str) -> list[Student]:
        """The seated students of a group."""
        return [student for student in self._students.values() if _group_key(student.request, student.spec) == key]


def _group_key(request: TrainRequest, spec: TrainingSpec) -> str:
    training = spec.training
    # A student that must see views of its own has a group of its own.
    alone = request.ticket if request.views else ""
    bank = spec.bank.model_dump_json(exclude={"budget"})
    sizes = (training.batch_size, training.epochs, training.precision)
    return "/".join([spec.data.model_dump_json(), bank, *map(str, sizes), alone])


def _data_key(settings: DataSettings) -> str:
    """Identifies images; views of several seeds and augmentations are views of the same images."""
    return settings.model_dump_json(exclude={"view_seed", "augment", "mixup", "cutmix"})


def _check_data(request: TrainRequest, data: ImageData) -> None:
    """Refuse images of this node that differ from those that the run began with."""
    if request.data not in (None, data.info.fingerprint):
        raise RaykdError(
            f"the images of {data.info.name} on node {platform.node()} differ from the driver's: "
            "make data.root the same on all nodes"
        )


def _found(request: TrainRequest) -> tuple[tuple[Report, ...], bytes | None]:
    """What a student's folder holds.

    Returns:
        The reports of a student that needs no seat, as it is finished or cannot be trained; none of any other. And the
        checkpoint from which that goes on.
    """
    try:
        reports = finished_history(request, request.spec)
    except StorageError:
        raise
    except Exception as error:
        reports = (failure_report(request, error),)
    return reports, None if reports else stored_checkpoint(request.folder)


class Group:
    """Students that share batches, and their teachers.

    `view` is the number of the next view. Views repeat after as many epochs as the training has: each student sees each
    of them once, in a rotated order, so that a teacher's answers to them can be stored.
    """

    def __init__(self, spec: TrainingSpec, data: ImageData, team: Team) -> None:
        self.data = data
        self._team = team
        self._epochs = spec.training.epochs
        size, device, rank, workers = spec.training.batch_size, team.device, team.rank, team.count
        self._training = training_batches(data, batch_size=size, device=device, rank=rank, workers=workers)
        self._held_out = evaluation_batches(
            data, data.info.held_out, batch_size=HELD_OUT_BATCHES * size, device=device, rank=rank, workers=workers
        )
        self._precision = autocast_type(spec.training, device)
        scene = Scene(data.info, self._training.share, self._held_out.sizes, self._precision, device)
        self._stacking = Stacking(scene, team)
        self.teachers = Teachers(spec, data, self._training, self._held_out, team)
        self.view = 0

    def join_teachers(self, request: TrainRequest) -> Report:
        """Describe the teachers that a request names as one; see `raykd.training.cross_fitting`."""
        return join_teachers(request, self.data, self._held_out, self._precision, self._team)

    def train_epoch(self, students: Sequence[Student]) -> list[Report]:
        """Train students of this group for their next epoch and return their reports."""
        started = time.perf_counter()
        watch = self._team.watch
        view = students[0].next_view(self.view % self._epochs)
        teaching = self.teachers.view(view, students)
        members = Members(students, self._team)
        sections = self._stacking.sections(students)
        with ExitStack() as opened:
            for section in sections:
                section.train()
                opened.enter_context(section.open())
            for step, batch in enumerate(watch.each(self._training.epoch(view), self._training.steps_per_epoch)):
                knowledge = teaching.of(batch)
                for section in sections:
                    section.learn(step, batch, knowledge, members)
            self._evaluate(sections, members)
        seconds = time.perf_counter() - started
        class_metrics = {
            "view": float(view),
            "class_size": float(len(students)),
            "seconds": seconds,
            "images_per_second": self.data.info.split_sizes["train"] * len(students) / seconds,
        }
        self.view += 1
        places = {student: place for section in sections for student, place in section.places.items()}
        reports = []
        for student in members:
            watch.at()
            own = places[student] | {"banked": float(teaching.is_banked(student))}
            reports.append(student.finish_epoch(view, class_metrics | own))
        return members.failures + reports

    def _evaluate(self, sections: Sequence[Section], members: Members) -> None:
        for student in members:
            student.average_buffers()
        for section in sections:
            section.train(False)
        for number, batch in enumerate(self._team.watch.each(self._held_out)):
            answers = self.teachers.held_out_answers(number)
            for section in sections:
                section.evaluate(batch.images, batch.labels, answers, members)
