"""What the study of the papers' claims asks, written down before its first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TEACHER = "teacher of "
"""Before a contender's name: the accuracy of its teacher."""


@dataclass(frozen=True)
class Comparison:
    """A claim: one contender is better than another.

    - better, than: names of contenders; after `TEACHER`, their teachers
    - figure: what is compared: accuracy on the test split, or on those of its images that the standard teacher answers
      wrongly
    """

    better: str
    than: str
    figure: Literal["accuracy", "beyond"] = "accuracy"


@dataclass(frozen=True)
class Question:
    """Comparisons that answer one question; p values are corrected over them.

    - claim: what a paper, or this project, says
    """

    title: str
    claim: str
    comparisons: tuple[Comparison, ...]


def _over(than: str, *better: str) -> tuple[Comparison, ...]:
    return tuple(Comparison(name, than) for name in better)


def _pairs(pairs: Sequence[tuple[str, str]]) -> tuple[Comparison, ...]:
    return tuple(Comparison(better, than) for better, than in pairs)


_REPAIRS = tuple(
    [f"{form} {strength}" for form in ("pair", "one_hot", "smooth") for strength in (0.25, 0.5, 1.0)]
    + ["swap", "revision", "margin"]
)
_HOSTS = ("dkd", "dist", "logit standardisation", "rld", "crd")

QUESTIONS: dict[str, Question] = {
    "baseline": Question(
        "Does distillation help at all?",
        "Students of a teacher are better than the plain student.",
        _over("plain", "kd", "dkd", "dist", "logit standardisation", "rld", "crd", "generous", "honest", "corrected"),
    ),
    "a1": Question(
        "Does elimination help?",
        "Leaving the teacher's wrong answers out is better than teaching them (arXiv 2412.09874).",
        (*_over("kd", "drop"), *_over("plain", "drop")),
    ),
    "a2": Question(
        "Does a repair of wrong answers help?",
        "Repaired wrong answers teach better than they do as they are (arXiv 2412.09874).",
        _over("kd", *_REPAIRS),
    ),
    "a3": Question(
        "Does the paper's whole method help?",
        "Pair repair, subsets and the schedule together are better than plain distillation (arXiv 2412.09874).",
        (*_over("kd", "paper", "cosine to labels"), *_over("plain", "paper"), *_over("drop", "paper")),
    ),
    "a4": Question(
        "Does the schedule help?",
        "Moving weight from right to repaired answers is better than not moving it, and than the reverse.",
        _pairs(
            [
                (f"cosine, {denominator}", f"{form}, {denominator}")
                for denominator in ("subset", "batch")
                for form in ("constant", "rising")
            ]
        ),
    ),
    "a5": Question(
        "Subsets or whole batches?",
        "Averaging right and wrong answers each over its own subset is better than over the batch.",
        _pairs([(f"{form}, subset", f"{form}, batch") for form in ("cosine", "constant", "rising")]),
    ),
    "b1": Question(
        "Is a student beyond its teacher?",
        "Students are more accurate than the teacher that taught them (arXiv 2412.09874).",
        _pairs([(name, TEACHER + name) for name in ("kd", "drop", "paper", "pair 0.5", "generous", "honest + pair")]),
    ),
    "b2": Question(
        "Is it the repair that leads beyond?",
        "Where the teacher is wrong, repaired knowledge makes students right more often than other training does.",
        tuple(
            Comparison(better, than, "beyond")
            for better in ("paper", "pair 0.5", "drop")
            for than in ("plain", "label smoothing", "plain, twice as long", "kd")
        ),
    ),
    "c1": Question(
        "Does a generous teacher teach better?",
        "Students of a generous teacher are better than those of a standard one (Image and Vision Computing 150).",
        _pairs(
            [
                ("generous", "kd"),
                ("dkd, generous", "dkd"),
                ("dist, generous", "dist"),
                ("fitnet, generous", "fitnet"),
            ]
        ),
    ),
    "c2": Question(
        "Is a generous teacher better itself?",
        "A generous teacher is more accurate than the standard one.",
        _pairs([(TEACHER + "generous", TEACHER + "kd")]),
    ),
    "c3": Question(
        "Are its parts needed?",
        "The generous teacher teaches better than its ablations, and m 1 better than other multipliers.",
        _pairs(
            [
                ("generous", f"generous, {other}")
                for other in ("fixed temperature", "full KL", "full DKD", "m 0.5", "m 2.0", "m 4.0")
            ]
        ),
    ),
    "d": Question(
        "Do both papers add up?",
        "A generous teacher whose wrong answers are repaired teaches better than either idea alone.",
        _pairs(
            [
                ("generous + pair", "generous"),
                ("generous + pair", "pair 0.5"),
                ("generous + paper", "generous"),
                ("generous + paper", "paper"),
            ]
        ),
    ),
    "e": Question(
        "Do honest teachers teach better?",
        "Teachers that have not seen what they teach make better students (arXiv 2104.09732), and then a repair helps.",
        _pairs(
            [
                ("honest", "kd"),
                ("corrected", "honest"),
                ("honest + drop", "honest"),
                ("honest + pair", "honest"),
                ("honest + paper", "honest"),
                ("honest + pair", "pair 0.5"),
                ("honest + generous", "generous"),
            ]
        ),
    ),
    "f": Question(
        "Does it help other methods?",
        "Elimination, and repair with schedule, make other methods better (arXiv 2412.09874).",
        _pairs([(f"{host} + {added}", host) for host in _HOSTS for added in ("drop", "paper", "pair")]),
    ),
}
"""By their short names, in the order in which they are answered."""

BEYOND = frozenset(
    name
    for question in QUESTIONS.values()
    for comparison in question.comparisons
    if comparison.figure == "beyond"
    for name in (comparison.better, comparison.than)
)
"""Contenders of whom it is asked how often they are right where the teacher is wrong."""
