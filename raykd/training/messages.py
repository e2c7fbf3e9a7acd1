"""What trials, the broker and the classrooms send to each other. Plain data: importing this costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from raykd.config import TrainingSpec


@dataclass(frozen=True)
class TrainRequest:
    """One network that is to be trained.

    - student: its name, unique within the broker: ``trial-0007``, ``plain``, ``teacher-1f2e...``
    - spec: all settings that decide its weights, except for its teacher
    - teacher: folder of the finished teacher, or None to learn from labels alone
    - folder: where its checkpoint is and its finished model goes; every worker must see it
    - views: the views it must see, epoch by epoch, as in a replay; it then shares them with no other student. Empty:
      those of its class
    - stacks: size of the stack and slot in which it must sit, epoch by epoch, as in a replay. Empty: as it comes
    - members: folders of the teachers, fold by fold, that are described as one in its folder; nothing is trained then
    - data: fingerprint of the data that it must be trained on, see `raykd.data.DataInfo`. None: any
    - ticket: unique; distinguishes this request from an earlier one of the same student
    """

    student: str
    spec: TrainingSpec
    teacher: str | None
    folder: str
    views: tuple[int, ...] = ()
    stacks: tuple[tuple[int, int], ...] = ()
    members: tuple[str, ...] = ()
    data: str | None = None
    ticket: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Report:
    """The result of one epoch of one student.

    - epoch: 1-based
    - metrics: numbers of this epoch; names as in MLflow
    - finished: all epochs are done, and the finished model is in the student's folder
    - diverged: the loss or the weights are no longer finite; the student has left its seat
    - failure: why the student cannot be trained (then there are no metrics), or None
    - crowded: the failure is want of memory beside other students; it is seated again, among fewer
    - interrupted: the run ends before the student does, for the reason in `failure`, which is not the student's; it
      goes on when the run is resumed
    - weights: digest of its weights after this epoch, see `raykd.training.saved.weights_digest`
    """

    student: str
    ticket: str
    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False
    diverged: bool = False
    failure: str | None = None
    crowded: bool = False
    interrupted: bool = False
    weights: str | None = None

    @property
    def last(self) -> bool:
        """Whether no report comes after this one."""
        return self.finished or self.diverged or self.failure is not None


@dataclass(frozen=True)
class WorkerPoll:
    """What a classroom sends the broker between two epochs: the tickets of its students, and the new reports.

    A restarted classroom has no students; thereby the broker learns which ones to seat again.

    """

    classroom: str
    seats: int
    seated: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True)
class Fault:
    """Why a worker ends, and with it all workers of its classroom.

    - reason: in a line
    - suspects: tickets of the students that may be the cause; empty: it is none of theirs; None: all that were being
      seated or trained
    - device: a device failed: a student may have caused it, or it is broken
    - storage: a store or disk refused: workers that start again may find the same
    - reports: what else the worker has to tell
    """

    reason: str
    suspects: tuple[str, ...] | None = ()
    device: bool = False
    storage: bool = False
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True)
class WorkerCommands:
    """What a classroom is to do next: who leaves (tickets), who enters, and who trains the next epoch (tickets)."""

    leave: tuple[str, ...] = ()
    enter: tuple[TrainRequest, ...] = ()
    learn: tuple[str, ...] = ()
    close: bool = False

    def __bool__(self) -> bool:
        return bool(self.leave or self.enter or self.learn or self.close)
