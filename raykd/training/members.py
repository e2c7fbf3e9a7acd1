"""The students of a class in one epoch: an error of one takes it out, and the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from raykd.errors import RaykdError, plain
from raykd.storage import below, write
from raykd.training.faults import ends_worker, is_out_of_memory
from raykd.training.folder import FAILURE
from raykd.training.messages import Report, TrainRequest
from raykd.training.student import Student
from raykd.training.team import Team


class Members:
    """The students that train together in one epoch.

    Attributes:
        failures: Reports of those that were taken out.
    """

    def __init__(self, students: Sequence[Student], team: Team) -> None:
        self.failures: list[Report] = []
        self._present = list(students)
        self._team = team

    def __iter__(self) -> Iterator[Student]:
        return iter(tuple(self._present))

    def __contains__(self, student: Student) -> bool:
        return student in self._present

    @contextmanager
    def guard(self, *students: Student) -> Iterator[None]:
        """Turn an error in a step of one student, or of several together, into the failure report of each."""
        watch = self._team.watch
        watch.at(*(student.request.ticket for student in students))
        try:
            yield
        except Exception as error:
            if not self._team.alone or ends_worker(error):
                raise  # Other workers may wait in a collective: only a restart brings all back in step.
            self.take_out(students, error)
        watch.at()

    def take_out(self, students: Iterable[Student], error: Exception) -> None:
        """Go on without students, because of an error."""
        for student in students:
            self._present.remove(student)
            self.failures.append(failure_report(student.request, error, student.epoch + 1))


def failure_report(request: TrainRequest, error: Exception, epoch: int = 1) -> Report:
    """The report of a student that an error has stopped in an epoch (1-based)."""
    failure, crowded = failure_text(request, error), is_out_of_memory(error)
    return Report(request.student, request.ticket, epoch, failure=failure, crowded=crowded)


def failure_text(request: TrainRequest, error: Exception) -> str:
    """An error in a line for the user; the traceback goes to the student's folder."""
    if isinstance(error, RaykdError):
        return plain(error)
    write(request.folder, FAILURE, plain("".join(traceback.format_exception(error))).encode())
    file = below(request.folder, FAILURE)
    return f"{first_line(error)} (traceback in {file})"


def first_line(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    return plain("".join(traceback.format_exception_only(error))).splitlines()[0]
