"""The sections of a study's page: each says what its figures show, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raykd.errors import RaykdError
from raykd.report.study import curves, figures, setting_figures, words
from raykd.report.study.beyond import Picture, beyond_teacher
from raykd.report.study.facts import StudyFacts
from raykd.results.finalists import Finalists

if TYPE_CHECKING:
    import plotly.graph_objects as go

NONE_FINISHED = "No trial has finished yet, so there is nothing to show."


@dataclass(frozen=True)
class Plot:
    """A figure with its place on the page.

    - title: above it; may be empty
    - height, least_width: in CSS pixels; a narrower screen scrolls it
    """

    figure: go.Figure
    title: str = ""
    height: int = 340
    least_width: int = 0


@dataclass(frozen=True)
class Section:
    """A part of the page.

    - key: its anchor, and in the names of its figures
    - paragraphs: of text
    - wide: whether each plot has the whole width
    """

    key: str
    title: str
    paragraphs: Sequence[str]
    table: words.TableRows | None = None
    plots: Sequence[Plot] = ()
    pictures: Sequence[Picture] = ()
    wide: bool = True


def sections(facts: StudyFacts) -> Iterator[Section]:
    """All of them, in the order of the page."""
    if facts.under_way:
        yield _under_way(facts)
    yield _best(facts)
    if facts.result.finalists is not None:
        yield _finalists(facts.result.finalists)
    yield _progress(facts)
    yield _curves(facts)
    if len(facts.result.goals) > 1:
        yield _pareto(facts)
    yield _importance(facts)
    yield _parallel(facts)
    yield _slices(facts)
    yield _schedule(facts)
    yield _beyond(facts)
    yield _timeline(facts)
    yield _cost(facts)


def _under_way(facts: StudyFacts) -> Section:
    return Section("under_way", "Under way", [words.trials_said(facts)], words.under_way_table(facts))


def _best(facts: StudyFacts) -> Section:
    paragraphs = [words.trials_said(facts), *words.failures(facts)]
    return Section("best", "Best students", paragraphs, words.best_table(facts))


def _finalists(finalists: Finalists) -> Section:
    return Section(
        "finalists",
        "Finalists",
        [
            "The search sees one student of each setting, so its best figure is partly luck. The best settings, the "
            "best start point and the plain student were taught again under seeds that the search did not use; the "
            "winner is chosen by its mean there, and of equals it is the simplest. Mean and standard deviation; "
            "differences are taken seed by seed.",
            *finalists.sentences(),
        ],
        words.finalists_table(finalists),
    )


def _progress(facts: StudyFacts) -> Section:
    key, title = "best_so_far", "Best so far"
    trials, cost = facts.best_over_trials(), facts.best_over_cost()
    if not trials.names:
        return Section(key, title, [NONE_FINISHED])
    over = {figures.TRIAL: trials, "class seconds, in sum": cost}
    return Section(
        key,
        title,
        ["Finished trials only. The cost counts all trials that ended, stopped ones too, in the order of their ends."],
        plots=[
            Plot(figures.best_so_far(progress, facts.references, along), f"over {name}")
            for (along, progress), name in zip(over.items(), ("trials", "cost"), strict=True)
        ],
        wide=False,
    )


def _curves(facts: StudyFacts) -> Section:
    key, title = "learning_curves", "Learning curves"
    highlighted, others = curves.learning_curves(facts)
    if not highlighted and not others:
        return Section(key, title, ["No trial has had an epoch yet, so there is nothing to show."])
    drawable = sum(bool(trial.intermediate_values) for trial in facts.frozen)
    shown = len(highlighted) + len(others)
    some = f" {shown} of {drawable} trials are drawn." if shown < drawable else ""
    return Section(
        key,
        title,
        [f"Accuracy on the validation split after each epoch; teacher and plain student after their last.{some}"],
        plots=[Plot(figures.learning_curves(highlighted, others, facts.references), height=420)],
    )


def _pareto(facts: StudyFacts) -> Section:
    if not facts.finished:
        return Section("pareto", "Pareto front", [NONE_FINISHED])
    paragraphs = "No other student is better than these in all goals: " + ", ".join(
        trial.name for trial in facts.result.pareto
    )
    return Section("pareto", "Pareto front", [f"{paragraphs}."], plots=[Plot(figures.pareto(facts), height=420)])


def _importance(facts: StudyFacts) -> Section:
    key, title = "importance", "Which settings mattered"
    importances = curves.importances(facts)
    if importances is None:
        few = f"{len(facts.finished)} trials have finished, all alike or too few to tell"
        return Section(key, title, [f"{few}: {curves.FEWEST} that differ are the least."])
    trust = (
        f"{importances.trials} finished trials are few for {len(importances.names)} settings: the order may be chance "
        f"below some {importances.enough}."
        if importances.trials < importances.enough
        else f"From {importances.trials} finished trials."
    )
    left_out = f" Left out, for not all trials have them or all have the same: {', '.join(importances.left_out)}."
    labels = curves.short_names(importances.names)
    return Section(
        key,
        title,
        [
            f"{trust} fANOVA asks what explains the differences among all, PED-ANOVA what sets the best ones apart."
            + (left_out if importances.left_out else "")
        ],
        plots=[Plot(figures.importance(importances, labels), height=130 + 44 * len(importances.names))],
    )


def _parallel(facts: StudyFacts) -> Section:
    key, title = "parallel", "Settings side by side"
    names = curves.settings_of([*facts.finished, *facts.stopped])
    if len(facts.finished) < 2:
        return Section(key, title, ["Fewer than two trials have finished, so there is nothing to compare."])
    stopped = " Faint, without an accuracy: it was stopped." if facts.stopped else ""
    plot = setting_figures.parallel_coordinates(facts, names, curves.short_names(names))
    return Section(
        key,
        title,
        [
            f"A line a trial; grey to blue to orange: ever more accurate.{stopped} A dash: the trial does not have the "
            "setting. Drag along an axis to select."
        ],
        plots=[Plot(plot, height=440, least_width=98 * (len(names) + 1))],
    )


def _slices(facts: StudyFacts) -> Section:
    key, title = "slices", "Setting by setting"
    names = curves.settings_of(facts.finished)
    if not names:
        return Section(key, title, [NONE_FINISHED])
    stopped = (
        " A cross at the lower edge: a trial that was stopped; its accuracy after fewer epochs compares with no other."
        if facts.stopped
        else ""
    )
    return Section(
        key,
        title,
        [
            "Accuracy of the finished trials that have the setting; from grey to blue to orange: ever later trials."
            + stopped
        ],
        plots=[Plot(setting_figures.one_slice(facts, name), name, height=250) for name in names],
        wide=False,
    )


def _schedule(facts: StudyFacts) -> Section:
    key, title = "schedule", "Right and wrong knowledge over the training"
    weights = curves.weights(facts)
    if not weights:
        return Section(key, title, ["No finished trial has logged its teacher's answers by epoch (in the outbox)."])
    return Section(
        key,
        title,
        [
            "Of the best trials. Wrong share: of the training images, as augmented, that the teacher answers wrongly. "
            "Weights: of its right answers against the repaired ones, which have the rest to 1 (solid), and of "
            "the teacher's whole part beside the labels (dotted)."
        ],
        plots=[Plot(figures.shares(weights), "wrong share"), Plot(figures.schedules(weights), "weights")],
        wide=False,
    )


def _beyond(facts: StudyFacts) -> Section:
    key, title = "beyond_teacher", "Where the teacher is wrong"
    if facts.under_way:
        # To ask networks takes time that the trials need.
        return Section(key, title, ["Shown when all trials have ended."])
    try:
        answers = beyond_teacher(facts)
    except RaykdError as error:
        return Section(key, title, [f"Not known: {str(error).splitlines()[0]}."])
    paragraphs = words.beyond_words(answers, facts)
    if not answers.student.teacher_wrong:
        return Section(key, title, paragraphs)
    height = 200 + 30 * len(answers.of_teacher.classes)
    return Section(
        key,
        title,
        paragraphs,
        plots=[
            Plot(figures.confusion(answers.of_teacher, "teacher's answer"), "the teacher there", height, 330),
            Plot(figures.confusion(answers.of_student, "student's answer"), "the best student there", height, 330),
        ],
        pictures=answers.pictures,
        wide=False,
    )


def _timeline(facts: StudyFacts) -> Section:
    key, title = "timeline", "When the trials ran"
    spans = facts.timeline()
    if not spans:
        return Section(key, title, [words.trials_said(facts)])
    at_once = max(sum(other.begin <= span.begin < other.end for other in spans) for span in spans)
    return Section(
        key,
        title,
        [f"From its start to its end, waiting for its classes included; up to {at_once} at once."],
        plots=[Plot(figures.timeline(spans), height=min(max(180 + 9 * len(spans), 260), 700))],
    )


def _cost(facts: StudyFacts) -> Section:
    return Section(
        "cost",
        "What it cost",
        [
            "Class seconds: a student's share of the time that its classes took, steps and validation; "
            "a class is shared evenly among those who sat there. Operations: multiplications and additions for the "
            "answer to one image. " + words.epochs_saved(facts),
        ],
        words.cost_table(facts),
    )
