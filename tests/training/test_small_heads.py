"""A student whose head starts near zero: under the std temperature it learns, and without the floor it does not."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.specs import of, request_for, spec, train


def test_a_student_with_a_small_head_learns_under_the_std_temperature(tmp_path: Path, teacher: Path) -> None:
    epochs = 8
    requests = [
        request_for(
            spec(
                student={"name": "tests.helpers.networks:SmallHead"},
                training={"epochs": epochs, "batch_size": 10, "decay": "cosine"},
                method={"name": "kd"},
                temperature={"multiplier": 2.0} | floor,
                bias={"form": "keep"},
            ),
            tmp_path / name,
            teacher,
        )
        for name, floor in (("floor", {}), ("papers", {"floor": 0.0}))
    ]
    reports = train(*requests)
    floor, papers = (of(reports, name) for name in ("floor", "papers"))
    assert floor[-1].metrics["train_accuracy"] > 0.5 > papers[-1].metrics["train_accuracy"]
    # The first steps of the other one were so large that its logits spread many times wider than its teacher's.
    ratios = [
        each[0].metrics["student_temperature"] / each[0].metrics["teacher_temperature"] for each in (floor, papers)
    ]
    assert ratios[0] < 2 < 10 < ratios[1]
