"""What the logit methods and the objective should give: float64, one sample and one class at a time, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]
LEARNED_T = 1 + 20 / (1 + math.exp(-1.0))
"""CTKD's temperature before any step: its parameter starts at 1, its range is (1, 21)."""


def softmax(row: Row) -> Row:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def kl(p: Row, q: Row) -> float:
    return sum(float(a * (math.log(a) - math.log(b))) for a, b in zip(p, q, strict=True) if a > 0)


def binary(p: float, q: float) -> float:
    return kl(np.array([p, 1 - p]), np.array([q, 1 - q]))


FLOOR = 0.1
"""Of the teacher's deviation, that of the student's counts as at least so much."""


def deviation(row: Row) -> float:
    return math.sqrt(((row - row.mean()) ** 2).sum() / (len(row) - 1))


def kd(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    return weight * kl(softmax(u), softmax(v / t_student))


def dkd(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    p, q = softmax(u), softmax(v / t_student)
    rest = [k for k in range(len(p)) if k != y]
    among = kl(p[rest] / p[rest].sum(), q[rest] / q[rest].sum())
    return weight * (binary(p[y], q[y]) + 8 * among)


def corrected_kd(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    """The target moves along its slope in the teacher's probabilities, class by class, by how far the label is away."""
    p, q, untempered = softmax(u), softmax(v / t_student), softmax(u * t_teacher)
    label = np.eye(len(p))[y]
    away = label / max(untempered[y], 0.01) - 1
    slope = (np.diag(p) - np.outer(p, p)) / t_teacher
    return weight * (kl(p, q) - float((slope @ away) @ np.log(q)))


def mse(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    return weight * sum((a - b / t_student) ** 2 for a, b in zip(u, v, strict=True)) / len(u)


def hard(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    return -math.log(softmax(v)[u.argmax()])


def ttm(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    powered = softmax(u * t_teacher) ** (1 / t_teacher)
    return kl(powered / powered.sum(), softmax(v))


def wttm(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    powered = softmax(u * t_teacher) ** (1 / t_teacher)
    return powered.sum() * kl(powered / powered.sum(), softmax(v))


def ctkd(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    return weight * LEARNED_T**2 * kl(softmax(u / LEARNED_T), softmax(v / t_student / LEARNED_T))


def rld(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    confidence = binary(softmax(u * t_teacher).max(), softmax(v)[y])
    kept = [k for k in range(len(u)) if not u[k] >= u[y]]
    ranking = kl(softmax(u[kept]), softmax(v[kept] / t_student)) if kept else 0.0
    return confidence + 8 * weight * ranking


def logit_standardisation(v: Row, u: Row, t_student: float, t_teacher: float, weight: float, y: int) -> float:
    of_teacher = deviation(u * t_teacher)
    of_student = max(deviation(v), FLOOR * of_teacher)
    return 4 * kl(softmax(u * t_teacher / of_teacher / 2), softmax(v / of_student / 2))


def correlation(a: Row, b: Row, hotter: Row) -> float:
    """Of the teacher's and the student's probabilities; the teacher's are given at the student's scale as well."""
    a, b, least = a - a.mean(), b - b.mean(), FLOOR * (hotter - hotter.mean())
    length = math.sqrt((a @ a) * max(b @ b, least @ least))
    return float(a @ b) / length if length > 1e-12 else 0.0


def dist(rows: list[tuple[Any, ...]]) -> float:
    """Of the given samples alone, 0 of none."""
    if not rows:
        return 0.0
    p, q = (np.array(x) for x in zip(*((softmax(u), softmax(v / t)) for v, u, t, _, _, _ in rows), strict=True))
    weights = [weight for *_, weight, _ in rows]
    hotter = np.array(
        [a * t_teacher / t_student for a, (_, _, t_student, t_teacher, _, _) in zip(p, rows, strict=True)]
    )
    inter = sum(w * (1 - correlation(*each)) for w, *each in zip(weights, p, q, hotter, strict=True)) / len(rows)
    intra = sum(1 - correlation(p[:, k], q[:, k], hotter[:, k]) for k in range(p.shape[1])) / p.shape[1]
    return 2 * inter + 2 * intra * sum(weights) / len(rows)


HOSTS: dict[str, Callable[..., float]] = {
    "kd": kd,
    "dkd": dkd,
    "corrected_kd": corrected_kd,
    "mse": mse,
    "hard": hard,
    "ttm": ttm,
    "wttm": wttm,
    "ctkd": ctkd,
    "rld": rld,
    "logit_standardisation": logit_standardisation,
}
"""Loss of one sample with its temperature weight: student logits v, tempered and repaired teacher logits u, label y."""


def host(name: str, rows: list[tuple[Any, ...]], divisor: float) -> float:
    """The method over samples: their sum over the divisor; of a batch method, their mean, weighed by their share."""
    if name == "dist":
        return dist(rows) * len(rows) / divisor
    return sum(HOSTS[name](*row) for row in rows) / divisor


def repaired(p: Row, y: int, form: str, amount: float, smoothing: float = 0.1) -> Row:
    """The probabilities of a wrong answer after its repair."""
    w = max((k for k in range(len(p)) if k != y), key=lambda k: p[k])
    label, new = np.eye(len(p))[y], p.copy()
    if form == "pair":
        mass = p[y] + p[w]
        d = (1 - amount) * mass + amount
        new[y], new[w] = mass * ((1 - amount) * p[y] + amount) / d, mass * (1 - amount) * p[w] / d
    elif form == "swap":
        new[y], new[w] = p[w], p[y]
    elif form == "one_hot":
        new = (1 - amount) * p + amount * label
    elif form == "smooth":
        new = (1 - amount) * p + amount * ((1 - smoothing) * label + smoothing / len(p))
    elif form == "revision":
        beta = amount / (p[w] - p[y] + 1)
        new = beta * p + (1 - beta) * label
    elif form == "margin":
        # x p + (1 - x) label leads by amount where x p_y + 1 - x - x p_w = amount.
        x = (1 - amount) / (1 + p[w] - p[y])
        new = x * p + (1 - x) * label
    return new


def temperature(row: Row, policy: tuple[str, float]) -> float:
    """Of one sample; the policy is constant, std or multiplier (std, weighed by the multiplier), and its number."""
    kind, number = policy
    return number if kind == "constant" else number * deviation(row)


def prepared(v: Row, z: Row, y: int, policy: tuple[str, float], form: str = "keep", amount: float = 0.0) -> Any:
    """What the hosts take of one sample, and whether its teacher is wrong."""
    t_teacher = temperature(z, policy)
    t_student = max(temperature(v, policy), FLOOR * t_teacher)
    weight = policy[1] ** 2 if policy[0] == "multiplier" else t_teacher**2
    u, is_wrong = z / t_teacher, int(z.argmax()) != y
    if is_wrong and form not in ("keep", "drop"):
        offset = u.max() + math.log(np.exp(u - u.max()).sum())
        with np.errstate(divide="ignore"):
            u = np.log(repaired(softmax(u), y, form, amount)) + offset
    return (v, u, t_student, t_teacher, weight, y), is_wrong


def objective(
    student: Row,
    teacher: Row,
    labels: list[int],
    *,
    method: str,
    policy: tuple[str, float],
    form: str,
    amount: float,
    denominator: str,
    ce_weight: float,
    kd_weight: float,
    right_weight: float,
    hand_over: str = "rectified",
) -> float:
    """ce_weight CE + kd_weight [b L_right + (1 - b) L_rectified], kd_weight with its warm-up, b = right_weight.

    Handed over to labels, what is missing to weight 1 goes to the cross-entropy of the same samples; to "right", right
    samples keep weight 1.
    """
    samples = list(zip(student, teacher, labels, strict=True))
    cross_entropy = sum(-math.log(softmax(v)[y]) for v, _, y in samples) / len(samples)
    both = [prepared(v, z, y, policy, form, amount) for v, z, y in samples]
    right, wrong = ([row for row, is_wrong in both if is_wrong is kind] for kind in (False, True))
    if form == "keep":
        distilled = host(method, [row for row, _ in both], len(both))
    else:
        divisors = [max(len(rows), 1) if denominator == "subset" else len(both) for rows in (right, wrong)]
        weights = [1.0 if hand_over == "right" else right_weight, 0.0 if form == "drop" else 1 - right_weight]
        distilled = 0.0
        for rows, weight, divisor in zip((right, wrong), weights, divisors, strict=True):
            distilled += weight * host(method, rows, divisor)
            if hand_over == "labels":
                distilled += (1 - weight) * sum(-math.log(softmax(row[0])[row[-1]]) for row in rows) / divisor
    return ce_weight * cross_entropy + kd_weight * distilled


def slope(function: Callable[[Row], float], at: Row, direction: Row, step: float = 1e-5) -> float:
    """The derivative along a direction, by central differences."""
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)


def gradient(function: Callable[[Row], float], at: Row) -> Row:
    """All derivatives, by central differences."""
    units = np.eye(at.size).reshape(at.size, *at.shape)
    return np.array([slope(function, at, unit) for unit in units]).reshape(at.shape)
