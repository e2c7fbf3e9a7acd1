"""The page of the study of the papers' claims, and its figures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from raykd.errors import RaykdError
from raykd.report.claims_figures import differences, draw, wrong_share
from raykd.report.claims_page import claims_page, main, pictures_of, write_page
from raykd.results.claims import ClaimsRecord, StudentRecord
from tests.helpers.paths import ROOT

GAINS = {"plain": -0.03, "kd": 0.0, "drop": 0.02, "pair 0.5": -0.02, "paper": 0.001, "honest": 0.01}


def student(variant: str, contender: str, seed: int, wrong: float) -> StudentRecord:
    """Students that differ from plain distillation by a known gain, and a little by their seed."""
    taught = contender != "plain"
    return StudentRecord(
        variant=variant,
        contender=contender,
        seed=seed,
        accuracy=0.8 + seed / 100 + GAINS[contender] * (1 + seed / 50),
        teacher_accuracy=0.85 if taught else None,
        wrong_share=wrong if taught else None,
        beyond=0.3 + seed / 100,
        epochs=10,
    )


@pytest.fixture
def record() -> ClaimsRecord:
    about = {
        "data": "digits",
        "image": [1, 8, 8],
        "split_sizes": {"train": 100, "test": 50},
        "student": "resnet8",
        "teacher": "resnet20",
        "epochs": 10,
        "teacher_epochs": 20,
        "tuning_trials": 2,
    }
    students = [
        student(variant, contender, seed, wrong)
        for variant, wrong in (("strong", 0.02), ("weak", 0.3))
        for contender in GAINS
        for seed in (1, 2, 3)
    ]
    made = ClaimsRecord(about=about)
    made.add(students[:6], 1800.0, "1 node, 2 CPUs, 0 GPUs", {"torch": "2"})
    made.add(students[6:9], 5400.0, "1 node, 2 CPUs, 0 GPUs", {"torch": "2"})
    made.add(students[9:], 360.0, "2 nodes, 32 CPUs, 2 GPUs", {"torch": "2"})
    return made


def test_page_and_figures_are_made_from_the_record_alone(record: ClaimsRecord, tmp_path: Path) -> None:
    file, page = tmp_path / "claims" / "digits.json", tmp_path / "claims.md"
    file.parent.mkdir()
    record.write(file)
    main([str(file), str(page)])
    text = page.read_text()
    assert "| strong | drop | kd | +2.08±0.04 |" in text
    assert "- 9 of them in 2.0 hours on 1 node, 2 CPUs, 0 GPUs; torch 2" in text
    assert f"- {len(record.students) - 9} of them in 0.1 hours on 2 nodes, 32 CPUs, 2 GPUs; torch 2" in text
    for name in ("differences", "wrong_share"):
        picture = f"claims/digits_{name}.svg"
        assert f"]({picture})" in text
        ElementTree.parse(tmp_path / picture)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    main([str(file), str(page)])
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


def test_the_forest_plot_has_an_interval_for_every_comparison_of_students(record: ClaimsRecord) -> None:
    figure = differences(record)
    assert [axes.get_title() for axes in figure.axes] == ["strong", "weak"]
    of_students = [
        each
        for each in record.outcomes()
        if each.comparison.figure == "accuracy" and not each.comparison.than.startswith("teacher of")
    ]
    for axes in figure.axes:
        drawn = [container.lines[0].get_xdata()[0] for container in axes.containers]
        expected = [100 * each.difference.mean for each in of_students if each.variant == axes.get_title()]
        assert sorted(drawn) == pytest.approx(sorted(expected))
        low, high = axes.get_xlim()
        assert all(low < value < high for value in drawn)


def test_conditions_beyond_the_fourth_stand_below_with_rows_of_their_own(record: ClaimsRecord) -> None:
    few = [
        student(f"noise {share}", name, seed, 0.1) for share in (1, 2, 3) for name in ("kd", "plain") for seed in (1, 2)
    ]
    record.students += few
    figure = differences(record)
    assert [axes.get_title() for axes in figure.axes] == ["strong", "weak", "noise 1", "noise 2", "noise 3"]
    first, last = figure.axes[0], figure.axes[-1]
    rows = [label.get_text() for label in last.get_yticklabels()]
    assert rows == ["baseline: kd over plain"]
    assert len(first.get_yticklabels()) > 1
    assert first.get_xlim() == last.get_xlim()


def test_gains_stand_over_the_share_of_wrong_answers(record: ClaimsRecord) -> None:
    panels = {axes.get_title(): axes for axes in wrong_share(record).axes}
    points = {tuple(container.lines[0].get_xydata()[0]) for container in panels["drop over kd"].containers}
    assert {round(share) for share, _ in points} == {2, 30}
    assert all(gain == pytest.approx(2.08) for _, gain in points)


def test_nothing_is_made_of_an_empty_record_or_beside_another_folder(record: ClaimsRecord, tmp_path: Path) -> None:
    with pytest.raises(RaykdError, match="no student was measured"):
        write_page(tmp_path / "none.json", tmp_path / "claims.md")
    record.write(tmp_path / "digits.json")
    with pytest.raises(RaykdError, match="must lie below"):
        write_page(tmp_path / "digits.json", tmp_path / "docs" / "claims.md")
    assert not list(tmp_path.rglob("*.md"))


def test_equal_differences_have_no_interval_and_are_drawn(tmp_path: Path) -> None:
    students = [student("strong", name, 1, 0.1) for name in ("kd", "drop")]
    files = draw(ClaimsRecord(students=students), tmp_path / "one.json")
    assert all(path.exists() for path in files.values())


@pytest.mark.parametrize("file", sorted((ROOT / "docs/claims").glob("*.json")), ids=lambda file: file.stem)
def test_the_page_in_docs_is_that_of_its_record(file: Path) -> None:
    """`python -m raykd.report.claims_page docs/claims/fashion_mnist.json docs/claims.md` makes it anew."""
    page = ROOT / "docs/claims.md"
    record = ClaimsRecord.read(file)
    pictures = pictures_of(file, page)
    assert page.read_text(encoding="utf-8") == claims_page(record, file.relative_to(ROOT).as_posix(), pictures)
    assert all((page.parent / picture).is_file() for picture in pictures.values())
    # No condition is told of in part.
    assert all(outcome.finding != "seeds missing" for outcome in record.outcomes())
