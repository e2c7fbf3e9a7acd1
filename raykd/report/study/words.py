"""What a study found, in plain sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raykd.report.study.beyond import MOST_IMAGES, Beyond, Counts
from raykd.report.study.facts import StudyFacts
from raykd.report.study.sizes import network_size
from raykd.results.finalists import Finalists
from raykd.results.trial_summary import RETRIED, TrialSummary

SHOWN_TRIALS = 10
NOT_KNOWN = "not known"


class Row(NamedTuple):
    """A row of a table, and what stands below it over the whole width."""

    cells: Sequence[str]
    note: str = ""


class TableRows(NamedTuple):
    """A table."""

    headings: Sequence[str]
    rows: Sequence[Row]


def headline(facts: StudyFacts) -> list[str]:
    """What came out, how sure that is, and what became of the test split: a sentence or two each."""
    finalists = facts.result.finalists
    further = [] if finalists is None else [" ".join(finalists.sentences())]
    return [_outcome(facts), *further, *_certainty(facts), *_test(facts.confirmed)]


def trials_said(facts: StudyFacts) -> str:
    """How many trials there are, and what became of them."""
    states = [trial.state for trial in facts.result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    asked = facts.recorded.experiment.study.trials
    still = f" of {asked}" if len(states) - states.count(RETRIED) < asked else ""
    return f"{len(states)}{still} trials: {counts}." if states else "No trial has begun."


def best_table(facts: StudyFacts) -> TableRows:
    """Teacher, plain student, the best trials, and the start points behind them."""
    rows = []
    for name, model in (("teacher", facts.result.teacher), ("plain student", facts.result.plain)):
        if model is not None:
            metrics = model["metrics"]
            best = (metrics.get("best_validation_accuracy"), metrics.get("best_epoch"))
            rows.append(Row([name, percent(metrics["validation_accuracy"]), _best(*best), str(model["epochs"] or "")]))
    for trial in facts.result.shown(SHOWN_TRIALS):
        best = (trial.best_accuracy, trial.best_epoch)
        cells = [trial.label, percent(trial.accuracy or 0.0), _best(*best), str(trial.epochs)]
        rows.append(Row(cells, trial.settings))
    return TableRows(["", "last epoch", "best epoch", "epochs"], rows)


def under_way_table(facts: StudyFacts) -> TableRows:
    """How far the trials are that have not ended."""
    rows = [
        Row(
            [
                trial.label,
                f"{trial.epochs} of {facts.epochs_asked(trial)}",
                "" if trial.accuracy is None else percent(trial.accuracy),
            ],
            trial.settings,
        )
        for trial in facts.under_way
    ]
    return TableRows(["", "epochs", "last epoch"], rows)


def finalists_table(finalists: Finalists) -> TableRows:
    """What the finalists reached under further seeds."""
    seeds = f"{finalists.seeds} further seeds, %"
    return TableRows(["", "search, %", seeds, "against the winner"], [Row(cells) for cells in finalists.cells()])


def failures(facts: StudyFacts) -> list[str]:
    """Why trials failed: each reason once, with its trials."""
    by_reason: dict[str, list[str]] = {}
    for trial in facts.result.trials:
        if trial.error is not None:
            by_reason.setdefault(trial.error, []).append(trial.name)
    return [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {reason}"
        for reason, names in by_reason.items()
    ]


def cost_table(facts: StudyFacts) -> TableRows:
    """What the networks cost to use, and, by what became of them, what the trials cost to train."""
    rows = []
    for name, model in (("teacher", facts.result.teacher), ("plain student", facts.result.plain)):
        if model is not None:
            # One that was trained in a class with others has the seconds of all of them.
            own = f"{model['seconds']:.1f}" if model.get("alone") else NOT_KNOWN
            size = network_size(model)
            sizes = (NOT_KNOWN, NOT_KNOWN) if size is None else (f"{size.parameters:,}", f"{size.operations:,}")
            rows.append(Row([name, *sizes, "1", str(model["epochs"] or NOT_KNOWN), own]))
    trials = facts.result.trials
    for state in dict.fromkeys(trial.state for trial in trials):
        rows.append(_cost(f"trials {state}", [trial for trial in trials if trial.state == state], facts))
    if trials:
        rows.append(_cost("all trials", trials, facts))
    return TableRows(["", "parameters", "operations", "networks", "epochs", "class seconds"], rows)


def epochs_saved(facts: StudyFacts) -> str:
    """What early stopping has saved."""
    ended = [trial for trial in facts.result.trials if trial.state in ("finished", "stopped early")]
    asked = sum(map(facts.epochs_asked, ended))
    saved = asked - sum(trial.epochs for trial in ended)
    if not asked:
        return "No trial has finished or been stopped yet."
    return f"Early stopping saved {saved:,} of {asked:,} epochs ({saved / asked:.0%})."


def beyond_words(answers: Beyond, facts: StudyFacts) -> list[str]:
    """What the students answer where the teacher is wrong, in counts."""
    counts = answers.student
    some = f" (the first {MOST_IMAGES:,})" if counts.images < facts.images else ""
    of = f"{counts.images:,} validation images{some}"
    if not counts.teacher_wrong:
        return [f"The teacher answers all {of} rightly; the best student errs on {counts.lost:,} of them."]
    assert facts.result.best is not None
    paragraphs = [
        f"The teacher is wrong on {counts.teacher_wrong:,} of {of}. There the best student is right on "
        f"{counts.beyond:,} ({_share(counts)}), repeats the teacher's answer on {counts.same:,}, and is wrong in "
        f"its own way on {counts.other:,}. Where the teacher is right, it errs on {counts.lost:,}."
    ]
    if answers.plain is not None:
        paragraphs.append(
            f"The plain student, which never saw the teacher, is right on {answers.plain.beyond:,} "
            f"({_share(answers.plain)}) of the same images, repeats its answer on {answers.plain.same:,}, and errs on "
            f"{answers.plain.lost:,} of the others: so the teaching changed the right answers there by "
            f"{counts.beyond - answers.plain.beyond:+,}."
        )
    if any(name.startswith("teacher.") for name in facts.result.best.values):
        paragraphs.append(
            "The teacher here is the study's; the search chose among several, so the student's may be another."
        )
    return paragraphs


def percent(share: float) -> str:
    """A share with two decimals."""
    return f"{100 * share:.2f} %"


def points(share: float) -> str:
    """A difference of shares in points."""
    return f"{round(100 * share, 2) + 0.0:+.2f} points"  # adding 0 turns -0.0 into 0.0


def _outcome(facts: StudyFacts) -> str:
    best, known = facts.result.best, facts.references
    sentences = [f"the {name} {percent(accuracy)}" for name, accuracy in known.items()]
    if best is None or best.accuracy is None:
        states = {trial.state for trial in facts.result.trials}
        none = "All trials failed" if states and states <= {"failed", RETRIED} else "No trial has finished yet"
        return f"{none}, so there is no best student. On the validation split {', '.join(sentences)}."
    differences = [f"{points(best.accuracy - accuracy)} against the {name}" for name, accuracy in known.items()]
    return (
        f"The best student is {best.name}: {percent(best.accuracy)} of the validation split right after its last "
        f"epoch; {', '.join(sentences)}. That is {' and '.join(differences)}."
    )


def _certainty(facts: StudyFacts) -> list[str]:
    from scipy.stats import binomtest

    best, images = facts.result.best, facts.images
    if best is None or best.accuracy is None:
        return [f"One of the {images:,} validation images is {100 / images:.2f} points."]
    interval = binomtest(round(best.accuracy * images), images).proportion_ci(method="wilson")
    finished = len(facts.result.ranked)
    chosen = (
        f" It was chosen as the best of {finished} on these very images, so it looks somewhat better than it is."
        if finished > 1 and facts.result.finalists is None
        else ""
    )
    return [
        f"How sure is that? One of the {images:,} validation images is {100 / images:.2f} points; so few images put "
        f"the best student's accuracy between {percent(interval.low)} and {percent(interval.high)} (95 %).{chosen}"
    ]


def _test(confirmed: Mapping[str, Any] | None) -> list[str]:
    if confirmed is None:
        return ["The test split was not touched: raykd confirm holds the best settings against baselines there."]
    seeds = len(confirmed["seeds"])
    sentences = []
    for against, answer in confirmed["answers"].items():
        if answer is None:
            sentences.append(f"{against}: nothing to compare")
            continue
        verdict = {"yes": "beaten", "no": "not beaten, it is worse"}.get(answer["beats"], "not shown")
        between = (
            f", 95 % interval {100 * answer['low']:+.2f} to {100 * answer['high']:+.2f}"
            if answer["low"] is not None and answer["high"] is not None
            else ""
        )
        sentences.append(f"{against}: {verdict} ({points(answer['mean'])}{between})")
    return [
        f"Confirmed on the {confirmed['test_images']:,} test images over {seeds} seeds, {confirmed['winner']} against "
        f"{'; '.join(sentences)}."
    ]


def _cost(name: str, trials: Sequence[TrialSummary], facts: StudyFacts) -> Row:
    epochs, seconds = sum(trial.epochs for trial in trials), sum(map(facts.seconds, trials))
    return Row([name, "", "", f"{len(trials):,}", f"{epochs:,}", f"{seconds:,.1f}"])


def _best(accuracy: float | None, epoch: float | None) -> str:
    return "" if accuracy is None or epoch is None else f"{percent(accuracy)} ({epoch:.0f})"


def _share(counts: Counts) -> str:
    return f"{counts.beyond / counts.teacher_wrong:.0%}"
