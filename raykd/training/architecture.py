"""What networks have in common that can share code: to be stacked, or compiled once for all."""

from __future__ import annotations

import json
from dataclasses import dataclass

from raykd.training.student import Student


@dataclass(frozen=True)
class Architecture:
    """The same code and shapes, the same kept layers, and whether they are to be compiled."""

    name: str
    arguments: str
    layers: tuple[str, ...]
    compile: bool

    @classmethod
    def of(cls, student: Student) -> Architecture:
        """That of a student's network."""
        model = student.spec.student
        arguments = json.dumps(model.arguments, sort_keys=True, default=str)
        return cls(model.name, arguments, student.layers, student.spec.training.compile)
