"""What a confirm says of its numbers: who is the best baseline, whom the winner beats, and in which words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev

import pytest
from rich.console import Console

from raykd.results.confirm import ChosenTrial, ConfirmResult, Fixed, StudentRow, TeacherRow, Use
from raykd.results.confirm_table import findings, markdown, show
from raykd.tracking import Address

SEEDS = (1, 2, 3)
IMAGES = 1000


def taught(accuracy: float, best: float | None = None) -> dict:
    metrics = {"test_accuracy": accuracy, "best_test_accuracy": accuracy if best is None else best}
    data = {"split_sizes": {"train": 4000, "test": IMAGES}}
    return {"metrics": metrics, "epochs": 10, "seconds": 5.0, "data": data}


def row(name: str, *accuracies: float, teacher: str | None = "standard", **values: object) -> StudentRow:
    students = {seed: taught(each, each + 0.01) for seed, each in zip(SEEDS, accuracies, strict=False)}
    baseline = not name.startswith("trial")
    return StudentRow(name, SEEDS, students, baseline, teacher, 10_000, 150_000 if teacher else None, values)


def confirmed(*rows: StudentRow, teacher: float = 0.95, others: tuple[Use, ...] = ()) -> ConfirmResult:
    trials = tuple(ChosenTrial(each.name, each.values, 0.9) for each in rows if not each.baseline)
    fixed = Fixed("digits-dkd", trials, SEEDS, "2026-11-22T13:00:00+00:00")
    teachers = (TeacherRow("standard", 150_000, taught(teacher)),)
    place = Address("sqlite:///mlflow.db", Path())
    return ConfirmResult(Path("confirm"), fixed, teachers, rows, IMAGES, others, place)


PLAIN = row("plain", 0.900, 0.905, 0.895, teacher=None)
KD = row("kd", 0.910, 0.912, 0.908)
DKD = row("dkd", 0.905, 0.915, 0.890)
WINNER = row("trial-0004", 0.920, 0.921, 0.9185)


def shown(result: ConfirmResult) -> str:
    text = StringIO()
    show(result, Console(file=text, width=160))
    return text.getvalue()


def test_the_best_baseline_has_the_highest_mean_and_trials_are_none():
    assert confirmed(PLAIN, KD, DKD, WINNER).best_baseline is KD
    better = row("dkd", 0.99, 0.99, 0.99)
    assert confirmed(PLAIN, KD, better, WINNER).best_baseline is better
    # Of equals the simpler one.
    assert confirmed(PLAIN, row("kd", 0.905, 0.900, 0.895), WINNER).best_baseline is PLAIN


def test_the_winner_is_the_search_s_whatever_another_trial_does_on_the_test_split():
    lucky = row("trial-0009", 0.99, 0.98, 0.97)
    assert confirmed(PLAIN, KD, DKD, WINNER, lucky).winner is WINNER


def test_differences_are_those_of_pairs_and_a_teacher_is_one_number():
    pairs = WINNER.over(KD)
    differences = [0.920 - 0.910, 0.921 - 0.912, 0.9185 - 0.908]
    assert (pairs.mean, pairs.sd) == pytest.approx((fmean(differences), stdev(differences)))
    result = confirmed(PLAIN, KD, DKD, WINNER)
    against = WINNER.over_teacher(result.teachers[0])
    assert against.mean == pytest.approx(WINNER.accuracy.mean - 0.95)
    assert against.sd == pytest.approx(WINNER.accuracy.sd)


def without(whole: StudentRow, *seeds: int) -> StudentRow:
    return replace(whole, students={seed: each for seed, each in whole.students.items() if seed not in seeds})


def test_seeds_of_which_one_is_missing_are_no_pairs():
    missing = without(KD, 2)
    assert WINNER.over(missing).count == 2
    assert WINNER.over(missing).mean == pytest.approx(((0.920 - 0.910) + (0.9185 - 0.908)) / 2)
    assert "90.90±0.14 (2 of 3)" in shown(confirmed(PLAIN, missing, WINNER))


def test_there_is_no_verdict_while_students_of_the_winner_are_missing():
    # Over the four seeds that are there, each difference would be shown.
    seeds = tuple(range(1, 6))
    plain, kd, winner = (
        replace(row(name), seeds=seeds, students={seed: taught(accuracy + 0.0001 * seed**2) for seed in seeds})
        for name, accuracy in (("plain", 0.90), ("kd", 0.91), ("trial-0004", 0.98))
    )
    winner = replace(winner, students={1: taught(0.981), 3: taught(0.983), 4: taught(0.982)})
    result = confirmed(plain, kd, winner)
    assert confirmed(plain, kd, replace(winner, seeds=(1, 3, 4))).answers()["the best baseline, kd"].verdict == "yes"
    assert {answer.verdict for answer in result.answers().values()} == {"not shown"}
    for finding in findings(result):
        assert "No verdict (+" in finding
        assert "points over 3 seeds): students are missing, trial-0004 of seeds 2, 5." in finding
    for page in (shown(result), markdown(result)):
        assert "Yes" not in page
        assert "have not finished: trial-0004 of seeds 2, 5. There is no verdict on these: --resume" in " ".join(
            page.split()
        )
    found = json.loads(json.dumps(result.as_data(), allow_nan=False))
    assert {answer["beats"] for answer in found["answers"].values()} == {"not shown"}
    assert {answer["p"] for answer in found["answers"].values()} == {None}
    assert found["missing"] == {"trial-0004": [2, 5]}
    assert not [
        name for name in result.summary() if "over_best_baseline" in name and name.startswith(("winner", "trial"))
    ]


def test_a_baseline_with_students_missing_may_be_the_best_so_none_is_beaten_as_the_best():
    answers = confirmed(PLAIN, KD, without(DKD, 1, 3), WINNER).answers()
    assert {name: answer.verdict for name, answer in answers.items()} == {
        "the plain student": "yes",
        "kd, the best of the baselines that have finished": "yes",
        "the best baseline": "not shown",
        "the standard teacher": "no",
    }
    _, _, best, _ = findings(confirmed(PLAIN, KD, without(DKD, 1, 3), WINNER))
    assert best.endswith("beat the best baseline? No verdict: students are missing, dkd of seeds 1, 3.")
    without_plain = confirmed(without(PLAIN, 1), KD, DKD, WINNER)
    assert without_plain.answers()["the plain student"].verdict == "not shown"
    assert without_plain.best_baseline is KD
    assert "winner_over_best_baseline" not in without_plain.summary()
    # A trial beside the winner takes part in no answer.
    other = without(row("trial-0009", 0.91, 0.91, 0.92), 2)
    assert confirmed(PLAIN, KD, WINNER, other).answers()["the best baseline, kd"].verdict == "yes"


def test_it_is_said_in_words_whom_the_winner_beats():
    plain, best, teacher = findings(confirmed(PLAIN, KD, DKD, WINNER))
    assert re.fullmatch(
        r"Does trial-0004 beat the plain student\? Yes: \+1\.98 points, 95 % interval \+\d.* to \+.*, over 3 seeds\.",
        plain,
    )
    assert best.startswith("Does trial-0004 beat the best baseline, kd? Yes: +0.98 points")
    assert teacher.startswith("Does trial-0004 beat the standard teacher? No, it is worse: -3.02 points")


def test_what_is_not_shown_is_said_with_the_seeds_that_might_show_it():
    near = row("trial-0004", 0.912, 0.909, 0.913)
    (_, best, _) = findings(confirmed(PLAIN, KD, DKD, near))
    assert re.search(
        r"Not shown: \+0\.13 points, .*About \d+ seeds would show such a difference \(power 80 %\)\.$", best
    )
    equal = row("trial-0004", *(found["metrics"]["test_accuracy"] for found in KD.students.values()))
    (_, same, _) = findings(confirmed(PLAIN, KD, DKD, equal))
    assert "Not shown: +0.00 points in each of 3 seeds, without any spread" in same
    nobody = without(WINNER, *SEEDS)
    for line in findings(confirmed(PLAIN, KD, nobody)):
        assert line.endswith("? No verdict: students are missing, trial-0004 of seeds 1, 2, 3.")


def test_a_plain_student_that_is_the_best_baseline_is_asked_for_once():
    strong = row("plain", 0.93, 0.94, 0.93, teacher=None)
    answers = confirmed(strong, KD, DKD, WINNER).answers()
    assert list(answers) == ["the plain student, which is the best baseline", "the standard teacher"]


def test_the_table_has_a_line_for_each_and_says_how_far_to_trust_it():
    text = shown(confirmed(PLAIN, KD, DKD, WINNER, others=(Use("again", "2026-11-23"),)))
    assert "digits-dkd: accuracy on the test split, in %, over 3 seeds" in text
    (line,) = [line for line in text.splitlines() if line.startswith("trial-0004 (winner)")]
    for cell in ("91.98±0.13", "+0.98±0.08", "92.98", "5.0", "40,000", "10,000", "15.0"):
        assert cell in line
    assert "kd (best baseline)" in text
    for words in (
        "One of the 1000 test images is 0.10 points.",
        "chosen on the test split, and so too good",
        "p of rows other than trial-0004 is not corrected",
        "no longer fresh: it was used by again (2026-11-23), too",
    ):
        assert words in text


def test_training_that_was_searched_is_told():
    own = row("trial-0004", 0.92, 0.921, 0.9185, **{"training.learning_rate": 0.1, "bias.strength": 0.5})
    assert "unlike the baselines': training.learning_rate=0.1\n" in shown(confirmed(PLAIN, KD, DKD, own))
    assert "unlike the baselines'" not in shown(confirmed(PLAIN, KD, DKD, WINNER))


def test_the_page_and_the_data_say_the_same():
    result = confirmed(PLAIN, KD, DKD, WINNER)
    page = markdown(result)
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 5
    assert len({line.count("|") for line in lines}) == 1
    for finding in findings(result):
        assert finding in page
    found = json.loads(json.dumps(result.as_data(), allow_nan=False))
    assert (found["winner"], found["best_baseline"]) == ("trial-0004", "kd")
    assert found["answers"]["the best baseline, kd"]["beats"] == "yes"
    assert found["students"][-1]["test_accuracy"]["mean"] == pytest.approx(WINNER.accuracy.mean)
    assert found["students"][1]["over_best_baseline"] is None
    assert found["students"][0]["by_seed"] == {"1": 0.9, "2": 0.905, "3": 0.895}
    summary = result.summary()
    assert summary["trial-0004/test_accuracy"] == pytest.approx(WINNER.accuracy.mean)
    assert summary["winner_over_best_baseline"] == pytest.approx(WINNER.over(KD).mean)


def test_the_table_fits_eighty_columns_with_whole_words():
    text = StringIO()
    show(confirmed(PLAIN, KD, DKD, WINNER), Console(file=text, width=80))
    table = text.getvalue().partition("Does ")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    for words in ("standard teacher", "kd (best baseline)", "88.76 to 91.24", "91.98±0.13", "parameters", "10,000"):
        assert words in table
