"""Who wins among the finalists, what is said about it, and that a study's folder keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from raykd.results.finalists import Finalist, Finalists


def finalist(
    name: str, *accuracies: float, start: str | None = None, settings: int = 5, search: float = 0.9
) -> Finalist:
    return Finalist(name, start, settings, search, dict(enumerate(accuracies, 1001)))


def of(*rows: Finalist, seeds: int = 3) -> Finalists:
    return Finalists(rows, seeds)


def winner(*rows: Finalist, seeds: int = 3) -> str | None:
    found = of(*rows, seeds=seeds).winner
    return None if found is None else found.name


def test_the_highest_mean_over_further_seeds_wins_whatever_the_search_said() -> None:
    lucky = finalist("trial-0007", 0.80, 0.81, 0.82, search=0.95)
    steady = finalist("trial-0003", 0.85, 0.86, 0.87, search=0.90)
    assert winner(lucky, steady) == "trial-0003"
    assert lucky.luck == pytest.approx(0.14)


def test_of_equals_the_simplest_wins() -> None:
    # The lead is 0.01 in the mean, and its standard error larger.
    best = finalist("trial-0009", 0.90, 0.84, 0.88)
    fewer = finalist("trial-0008", 0.85, 0.88, 0.86, settings=2)
    published = finalist("trial-0001", 0.86, 0.87, 0.86, start="kd", settings=9)
    assert winner(best, fewer) == "trial-0008"
    assert winner(best, fewer, published) == "trial-0001"


def test_a_clear_lead_is_no_tie() -> None:
    best = finalist("trial-0009", 0.90, 0.91, 0.92)
    published = finalist("trial-0001", 0.88, 0.89, 0.90, start="kd")
    assert winner(best, published) == "trial-0009"


def test_a_setting_with_a_student_missing_cannot_win() -> None:
    broken = finalist("trial-0004", 0.99, 0.99)
    assert winner(broken, finalist("trial-0003", 0.8, 0.8, 0.8)) == "trial-0003"
    assert winner(broken) is None
    assert "No finalist has finished under all 3 seeds" in next(of(broken).sentences())


def test_the_plain_student_is_compared_and_never_the_winner() -> None:
    plain = finalist("plain", 0.95, 0.95, 0.97, settings=0)
    found = of(finalist("trial-0003", 0.80, 0.80, 0.81), plain)
    assert found.winner is not None and found.winner.name == "trial-0003"
    assert found.best_baseline == plain
    *_, against, last = found.sentences()
    assert "Against plain it is worse: -15.33 points" in against
    assert last.startswith("Distillation did harm. Try longer training")


def test_the_words_say_how_sure_it_is() -> None:
    rows = [
        finalist("trial-0003", 0.860, 0.871, 0.880),
        finalist("trial-0001", 0.840, 0.850, 0.861, start="kd"),
        finalist("plain", 0.70, 0.71, 0.72),
    ]
    first, second, third = of(*rows).sentences()
    assert first.startswith("The winner is trial-0003: 87.03±1.00 % over 3 further seeds.")
    assert "+2.97 points of it luck" in first
    assert second.startswith("Against trial-0001 (kd) it is better: +2.00 points, 95 % interval +1.75 to +2.25, p ")
    assert third.startswith("Distillation helped: +16.03 points, 95 % interval ")
    assert third.endswith(" from the plain student.")


def test_the_words_say_when_distillation_is_not_shown_to_help() -> None:
    found = finalist("trial-0003", 0.860, 0.871, 0.840)
    plain = finalist("plain", 0.85, 0.88, 0.83)
    *_, last = of(found, plain).sentences()
    assert last.startswith("Distillation is not shown to have helped. Try longer training (training.epochs")
    *_, last = of(found, finalist("trial-0001", 0.7, 0.7, 0.7, start="kd"), plain).sentences()
    assert "not shown to have helped. Try" in last
    taught = finalist("trial-0001", 0.86, 0.87, 0.84, start="kd")
    *_, last = of(finalist("trial-0003", 0.90, 0.91, 0.93), taught, plain).sentences()
    assert last.startswith("Distillation is not shown to have helped: +6.00 points, 95 % interval ")
    *_, last = of(finalist("trial-0002", 0.9, 0.91, 0.92, start="plain"), plain).sentences()
    assert last.startswith("No distillation was better than training without a teacher. Try")


def test_a_lead_that_a_searched_learning_rate_may_explain_is_not_called_distillation() -> None:
    accuracies = {1001: 0.94, 1002: 0.95, 1003: 0.96}
    tuned = Finalist("trial-0003", None, 5, 0.95, accuracies, ("training.learning_rate",))
    plain = finalist("plain", 0.87, 0.89, 0.88)
    *_, over_plain = of(tuned, plain).sentences()
    assert over_plain == (
        "Not all of that need be distillation: its training.learning_rate came from the search, those of plain from "
        "the experiment."
    )
    alike = finalist("trial-0001", 0.90, 0.925, 0.912, start="kd")
    *_, over_plain, last = of(tuned, finalist("trial-0002", 0.89, 0.89, 0.89), alike, plain).sentences()
    assert over_plain.startswith("Not all of its lead over plain, +7.00 points, 95 % interval ")
    assert last.startswith("Distillation by trial-0001 (kd), trained as plain is, helped: +3.23 points")
    assert last.endswith("from the plain student.")


def test_nothing_is_said_of_distillation_while_plain_students_are_missing() -> None:
    sentences = of(finalist("trial-0003", 0.860, 0.871, 0.880), finalist("plain", 0.85)).sentences()
    assert not any("istillation" in sentence for sentence in sentences)


def test_there_is_no_verdict_against_a_baseline_with_students_missing() -> None:
    rows = [
        finalist("trial-0003", 0.860, 0.871, 0.880),
        finalist("trial-0005", 0.99, 0.99),
        finalist("trial-0001", 0.840, 0.850, start="kd"),
        finalist("plain", 0.70, 0.71, 0.72),
    ]
    found = of(*rows)
    assert found.best_baseline == rows[3]
    assert [row.name for row in found.unfinished_baselines] == ["trial-0001"]
    assert list(found.sentences())[1:3] == [
        "trial-0005 is left out: 2 of its 3 students have finished.",
        "Against trial-0001 (kd) there is no verdict: 2 of its 3 students have finished.",
    ]
    assert "trial-0001 (kd) it is" not in " ".join(found.sentences())
    difference = rows[0].over(rows[2], 3)
    assert difference is not None
    assert (difference.count, difference.missing, difference.p, difference.verdict) == (2, 1, None, "not shown")


def test_the_table_has_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    rows = of(finalist("trial-0003", 0.86, 0.87, 0.88), finalist("trial-0001", 0.84, start="kd"))
    assert list(rows.cells()) == [
        ("trial-0003", "90.00", "87.00±1.00", "winner"),
        ("trial-0001 (kd)", "90.00", "84.00 (1 of 3)", "-2.00 (1 of 3)"),
    ]
    rows.show(Console(width=80))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_folder_keeps_them(tmp_path: Path) -> None:
    found = of(finalist("trial-0003", 0.86, 0.87), finalist("plain", 0.84, start=None))
    assert Finalists.of(tmp_path) is None
    found.write(tmp_path)
    assert Finalists.of(tmp_path) == found
