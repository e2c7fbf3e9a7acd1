"""What trials, the broker and the classrooms say to each other. Plain data: importing this costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from raykd.config import TrainingSpec


@dataclass(frozen=True)
class TrainRequest:
    """One network that wants to be taught.

    - student: its name, unique within the broker: ``trial-0007``, ``plain``, ``teacher-1f2e...``
    - spec: all that decides its weights, but for its teacher
    - teacher: folder of the finished teacher, or None to learn from labels alone
    - folder: where its checkpoint is and its finished model goes; every worker must see it
    - views: the views it must see, epoch by epoch, as one that is replayed; it then shares them with nobody. Empty:
      those of its class
    - data: fingerprint of the data that it must be taught on, see `raykd.data.DataInfo`. None: whatever is there
    - ticket: tells this request from an earlier one of the same student
    """

    student: str
    spec: TrainingSpec
    teacher: str | None
    folder: str
    views: tuple[int, ...] = ()
    data: str | None = None
    ticket: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Report:
    """What one epoch of one student gave.

    - epoch: 1-based
    - metrics: numbers of this epoch; names as in MLflow
    - finished: all epochs of the lesson are done, and the finished model is in the student's folder
    - diverged: the loss or the weights are no longer finite; the student has left its seat
    - failure: why the student cannot be taught (then there are no metrics), or None
    - weights: digest of its weights after this epoch, see `raykd.training.digest`
    """

    student: str
    ticket: str
    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False
    diverged: bool = False
    failure: str | None = None
    weights: str | None = None

    @property
    def last(self) -> bool:
        """Nothing comes after this report."""
        return self.finished or self.diverged or self.failure is not None


@dataclass(frozen=True)
class WorkerPoll:
    """What a classroom tells the broker between two epochs: who sits there (tickets), and the reports so far.

    A restarted classroom says that nobody sits there; that is how the broker learns whom to seat again.
    """

    classroom: str
    seats: int
    seated: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True)
class WorkerCommands:
    """What the broker asks of a classroom: who leaves (tickets), who enters, who learns the next epoch (tickets)."""

    leave: tuple[str, ...] = ()
    enter: tuple[TrainRequest, ...] = ()
    learn: tuple[str, ...] = ()
    close: bool = False

    def __bool__(self) -> bool:
        return bool(self.leave or self.enter or self.learn or self.close)
