"""From students' figures to what is shown of a claim."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raykd.results.claims import ClaimsRecord, StudentRecord, TunedFamily, holm, summary
from raykd.results.questions import BEYOND, QUESTIONS, TEACHER
from raykd.results.statistics import Estimate

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def student(contender: str, seed: int, accuracy: float, variant: str = "strong", **figures: float) -> StudentRecord:
    known = {"teacher_accuracy": None, "wrong_share": None, "beyond": None} | figures
    return StudentRecord(variant=variant, contender=contender, seed=seed, accuracy=accuracy, epochs=10, **known)


def record(**accuracies: list[float]) -> ClaimsRecord:
    """A contender's accuracies over the seeds 1, 2, ..."""
    return ClaimsRecord(
        students=[
            student(name, seed, accuracy)
            for name, row in accuracies.items()
            for seed, accuracy in enumerate(row, start=1)
        ]
    )


def test_holm_s_correction_of_a_published_example() -> None:
    # As R's p.adjust says of the same numbers.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([]) == []


@given(probabilities)
def test_corrected_p_values_keep_their_order_and_lie_between_p_and_bonferroni_s(values: list[float]) -> None:
    corrected = holm(values)
    for p, after in zip(values, corrected, strict=True):
        assert after is not None
        assert p <= after <= min(len(values) * p, 1.0) or after == pytest.approx(p)
    order = sorted(range(len(values)), key=values.__getitem__)
    known = [corrected[place] or 0.0 for place in order]
    assert known == sorted(known)


def test_differences_are_taken_seed_by_seed() -> None:
    found = record(kd=[0.80, 0.70, 0.90], drop=[0.82, 0.73, 0.91])
    (outcome,) = [each for each in found.outcomes() if each.comparison.better == "drop"]
    assert outcome.difference.mean == pytest.approx(0.02)
    expected = Estimate.of([0.02, 0.03, 0.01])
    assert expected is not None
    assert outcome.p == pytest.approx(expected.p)


def test_only_seeds_that_both_have_are_compared_and_without_a_verdict_while_others_are_missing() -> None:
    found = record(kd=[0.80, 0.70, 0.90, 0.85], drop=[0.85, 0.751, 0.949])
    (outcome,) = found.outcomes()
    assert (outcome.difference.count, outcome.difference.missing) == (3, 1)
    assert (outcome.p, outcome.finding) == (None, "seeds missing")
    whole = record(kd=[0.80, 0.70, 0.90], drop=[0.85, 0.751, 0.949])
    assert [each.finding for each in whole.outcomes()] == ["shown"]
    # Not before all seeds that were decided on are measured, nor do the missing ones make another claim easier to show.
    whole.about["seeds"] = 5
    assert summary(whole.outcomes()) == {"shown": 0, "refuted": 0, "not shown": 0, "seeds missing": 1}
    kd, pair = [0.80, 0.70, 0.90], [0.85, 0.753, 0.948]
    alone = next(
        each for each in record(kd=kd, **{"pair 0.5": pair}).outcomes() if each.comparison.better == "pair 0.5"
    )
    both = record(kd=kd, swap=[0.8, 0.7], **{"pair 0.5": pair}).outcomes()
    (beside,) = [each for each in both if each.comparison.better == "pair 0.5"]
    assert alone.p is not None
    assert beside.p == pytest.approx(2 * alone.p)


def test_what_is_shown_refuted_and_not_shown() -> None:
    base = [0.80, 0.70, 0.90, 0.85]
    noise = [0.001, -0.001, 0.002, -0.002]
    shifts = {"pair 0.5": 0.05, "swap": -0.05, "margin": 0.0}
    moved = {name: [a + shift + n for a, n in zip(base, noise, strict=True)] for name, shift in shifts.items()}
    outcomes = list(record(kd=base, **moved).outcomes())
    findings = {each.comparison.better: each.finding for each in outcomes}
    assert findings == {"pair 0.5": "shown", "swap": "refuted", "margin": "not shown"}
    assert summary(outcomes) == {"shown": 1, "refuted": 1, "not shown": 1, "seeds missing": 0}


def test_teachers_and_images_that_the_teacher_answers_wrongly_are_compared_too() -> None:
    students = [
        student("kd", seed, 0.8, teacher_accuracy=0.7 + seed / 100, beyond=0.2 + seed / 50) for seed in (1, 2, 3)
    ]
    students += [student("paper", seed, 0.8, teacher_accuracy=0.7, beyond=0.5) for seed in (1, 2, 3)]
    outcomes = {(e.comparison.better, e.comparison.than): e for e in ClaimsRecord(students=students).outcomes()}
    assert outcomes["kd", TEACHER + "kd"].difference.mean == pytest.approx(0.8 - 0.72)
    assert outcomes["paper", "kd"].comparison.figure == "beyond"
    assert outcomes["paper", "kd"].difference.mean == pytest.approx(0.5 - 0.24)


def test_conditions_are_kept_apart() -> None:
    students = [student(name, seed, 0.5 + seed / 10, "weak") for name in ("kd", "drop") for seed in (1, 2)]
    found = ClaimsRecord(students=[*record(kd=[0.8, 0.7], drop=[0.9, 0.9]).students, *students])
    assert [each.variant for each in found.outcomes()] == ["strong", "weak"]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(kd=[0.8], plain=[0.7])
    written.about = {"data": "digits"}
    written.add([student("kd", 2, 0.5)], 1.5, "1 node", {"torch": "2"})
    written.tuned.append(TunedFamily("strong", "kd", {"temperature.value": 4.0}, (0.5, None)))
    written.write(tmp_path / "claims.json")
    assert ClaimsRecord.read(tmp_path / "claims.json") == written
    assert ClaimsRecord.read(tmp_path / "none.json") == ClaimsRecord()


def test_nobody_is_compared_with_itself_or_twice() -> None:
    for question in QUESTIONS.values():
        pairs = [(each.better, each.than, each.figure) for each in question.comparisons]
        assert len(set(pairs)) == len(pairs)
        assert all(better != than for better, than, _ in pairs)
    assert {"paper", "plain", "kd"} <= BEYOND
