"""The ideas that settings choose, and those that a setting turns on: what `raykd explain` knows besides methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raykd.knowledge import bias, schedule, temperature
from raykd.knowledge.ideas import Idea


@dataclass(frozen=True)
class Choices:
    """Ideas of which a setting chooses one.

    - title: what each of them is
    - setting: dotted name of the setting, whose docstring says in a line what each does
    - ideas: by the setting's values
    - needs: a sentence on other settings without which they change nothing
    """

    title: str
    setting: str
    ideas: Mapping[str, Idea]
    needs: str = ""


@dataclass(frozen=True)
class Part:
    """An idea that a setting turns on.

    - summary: what it is
    - idea: its formula, source and use
    - settings: dotted names; the first one turns it on
    - methods: those that belong to it
    """

    summary: str
    idea: Idea
    settings: tuple[str, ...]
    methods: tuple[str, ...] = ()


TEACHERS = {
    "standard": Idea(
        "L = CE(teacher, labels)",
        "as usual",
        "The default. The teacher should be better than the plain student: one that was 7 points better helped most, "
        "one that was worse than the student did not help (docs/choosing.md).",
    ),
    "generous": Idea(
        "L = CE(generous, labels) + weight KL(standard without y || generous without y), both over their own "
        "tau = multiplier * std(logits)",
        "Generous Teacher, Image and Vision Computing 150, 105199 (2024), stage 2",
        "To try a teacher whose answers say more about the wrong classes. It costs a second training of the teacher. "
        "No difference to a standard teacher's students was shown (docs/choosing.md); raykd generous-teacher compares "
        "them on your data.",
    ),
}
SCHEDULERS = {
    "asha": Idea(
        "of the trials at each rung, the best 1 / reduction_factor go on",
        "Li et al.: A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934",
        "For long trainings whose learning rate falls in steps, with many trials.",
    ),
    "median": Idea(
        "a trial stops if its best accuracy is below the median of the others' means so far",
        "Golovin et al.: Google Vizier, KDD 2017, section 3.2.2",
        "As asha, where fewer trials should be stopped.",
    ),
    "none": Idea("", "", "The default: it loses no winner that starts slowly."),
    "auto": Idea("", "", "Where one experiment is run with one goal and with several."),
}
SPLIT = "It changes nothing under bias.form keep, the default, which does not separate right answers from wrong ones."
CHOICES = {
    "repairs": Choices("a repair of the teacher's wrong answers", "bias.form", bias.FORMS),
    "denominators": Choices("what a loss is averaged over", "bias.denominator", bias.DENOMINATORS, SPLIT),
    "schedules": Choices("a weight of right answers over the training", "schedule.form", schedule.FORMS, SPLIT),
    "hand_overs": Choices("where the schedule's weight goes", "schedule.hand_over", schedule.HAND_OVERS, SPLIT),
    "temperatures": Choices("what logits are divided by", "temperature.policy", temperature.POLICIES),
    "teachers": Choices("a kind of teacher", "teacher.kind", TEACHERS),
    "schedulers": Choices("what stops trials early", "study.scheduler", SCHEDULERS),
}
"""By the kind's name for `raykd list`."""
SAMPLERS = {
    "tpe": Part(
        "Draws the settings of the next trial where good trials lie closer together than bad ones: Optuna's "
        "tree-structured Parzen estimator, seeded for each trial. It is raykd's only sampler.",
        Idea(
            "the next setting maximises l(x) / g(x), densities of good and of other trials",
            "Bergstra et al., NeurIPS 2011; multivariate: Falkner et al., arXiv 1807.01774",
            "Always. On raykd's surrogate its winners were no worse than random search's (docs/search.md). Trials of "
            "earlier studies are learned from with study.warm_start.",
        ),
        ("study.seed", "study.warm_start", "study.trials"),
    ),
}
PARTS = {
    "cross_fitting": Part(
        "Several teachers, each trained without one fold of the training images: every image is taught by the one that "
        "has not seen it, so its answers are no memory.",
        Idea(
            "",
            "Dao, Kamath, Syrgkanis, Mackey, arXiv 2104.09732",
            "Where it matters how often the teacher is wrong, as for repairs: a good teacher is right about almost all "
            "images that it was trained on. It costs as many teachers, and no gain in accuracy was shown "
            "(docs/choosing.md).",
        ),
        ("teacher.folds",),
        ("corrected_kd",),
    ),
    "loss_correction": Part(
        "Corrects the loss for the teacher's error, to first order. It is a method, and needs teachers that "
        "have not seen the images.",
        Idea(
            "",
            "Dao, Kamath, Syrgkanis, Mackey, arXiv 2104.09732",
            "With teacher.folds, where the teacher is often wrong.",
        ),
        ("method.name", "method.corrected_kd.strength", "method.corrected_kd.smallest", "teacher.folds"),
        ("corrected_kd",),
    ),
    "bank": Part(
        "Stores the teacher's logits of each view of the training images, so that all trials and later studies read "
        "what was computed once.",
        Idea("", "raykd", "On by default for images in memory. raykd bank build fills it before a study."),
        ("bank.mode", "bank.budget", "bank.precision"),
    ),
    "finalists": Part(
        "Trains the best trials, the best start point and the plain student again under further seeds; the winner has "
        "the highest mean.",
        Idea(
            "",
            "raykd",
            "On by default: the best of many single results is partly luck. 0 leaves it out.",
        ),
        ("study.finalists", "study.finalist_seeds"),
    ),
    "start_points": Part(
        "Settings that a study runs first and to the last epoch: known ones, which a search has to beat.",
        Idea("", "raykd", "On by default. Name others to compare with, or none with an empty list."),
        ("study.start",),
    ),
    "warm_start": Part(
        "Lets the sampler learn from the trials of earlier studies.",
        Idea("", "raykd", "Where a study on the same data searches the same or a similar space."),
        ("study.warm_start",),
    ),
    "cross_validation": Part(
        "Trains a student on each of several splits in every trial; the trial's accuracy is their mean.",
        Idea("", "as usual", "Where the validation split is small: its standard error is then half a point or more."),
        ("data.folds",),
    ),
    "plateau": Part(
        "Ends a search when so many drawn trials in a row have not improved the best by more than the standard error "
        "of its accuracy.",
        Idea("", "raykd", "Where the number of trials is a limit, and no aim."),
        ("study.patience",),
    ),
    "confirm": Part(
        "Trains a study's best settings, baselines and the plain student under new seeds, and compares them on the "
        "test split, which nothing else looks at. raykd confirm STUDY runs it.",
        Idea("", "raykd", "After a study, for the figures that you report."),
        ("confirm.top", "confirm.seeds", "confirm.name"),
    ),
    "label_noise": Part(
        "Replaces a share of the training labels by other classes, drawn at random.",
        Idea("", "as usual", "To try how a method bears wrong labels, or with teacher.label_noise a poor teacher."),
        ("data.label_noise", "teacher.label_noise"),
    ),
    "warm_up": Part(
        "Lets the weight of the distillation rise linearly from 0 over the first epochs.",
        Idea(
            "kd_weight * min(epoch / warmup_epochs, 1)",
            "as in DKD, arXiv 2203.08679",
            "With large weights, as DKD's published ones. It was not shown to help beside raykd's "
            "defaults (docs/search.md).",
        ),
        ("objective.warmup_epochs", "objective.warmup_share"),
    ),
}
"""By name, in which `-`, `_` and a blank are the same."""
