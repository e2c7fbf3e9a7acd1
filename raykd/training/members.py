"""The students of a class in one epoch: an error of one takes it out, and the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from raykd.errors import RaykdError
from raykd.storage import below, write
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
    def guard(self, student: Student) -> Iterator[None]:
        """Turn an error in one student's step into its failure report."""
        try:
            yield
        except Exception as error:
            if not self._team.alone:
                raise  # Other workers may wait in a collective: only a restart brings all back in step.
            self.failures.append(failure_report(student, failure_text(student.request, error)))
            self._present.remove(student)


def failure_text(request: TrainRequest, error: Exception) -> str:
    """An error in a line for the user; the traceback goes to the student's folder."""
    if isinstance(error, RaykdError):
        return str(error)
    write(request.folder, FAILURE, "".join(traceback.format_exception(error)).encode())
    file = below(request.folder, FAILURE)
    return f"{''.join(traceback.format_exception_only(error)).splitlines()[0]} (traceback in {file})"


def failure_report(student: Student, failure: str) -> Report:
    request = student.request
    return Report(request.student, request.ticket, student.epoch + 1, failure=failure)
