"""What stands beside the formula of each idea that a setting chooses, for `raykd explain`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Idea:
    """An idea, such as a repair of wrong answers or a schedule. Its setting's docstring says in a line what it does.

    - formula: as text, in the names of the settings; empty where there is none
    - source: paper and equation, or whose idea it is
    - when: when to use it, and what is known of it
    """

    formula: str
    source: str
    when: str
