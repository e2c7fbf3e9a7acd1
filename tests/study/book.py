"""Messages for tests of the register and the broker."""

from __future__ import annotations

from raykd.training.messages import Attendance, Enrolment, Report


def enrolment(student: str, rate: float = 0.1, ticket: str | None = None) -> Enrolment:
    return Enrolment(student, {"rate": rate}, None, f"/folders/{student}", ticket or f"{student}-ticket")


def report(of: Enrolment, epoch: int, *, finished: bool = False, failure: str | None = None) -> Report:
    return Report(of.student, of.ticket, epoch, {"epoch": float(epoch)}, finished=finished, failure=failure)


def attendance(
    classroom: str, *seated: Enrolment, seats: int = 2, reports: tuple[Report, ...] | list[Report] = ()
) -> Attendance:
    return Attendance(classroom, seats, tuple(one.ticket for one in seated), tuple(reports))
