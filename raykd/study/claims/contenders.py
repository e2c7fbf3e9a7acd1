"""Who takes part in the study of the papers' claims.

A family is a method with settings of its own that are tuned on the validation split, each with as many trials. A
contender is a family's tuned settings with some settings changed: what differs from its family is what is asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raykd.config import Experiment, Part, TrainingSpec
from raykd.settings_io import override

Settings = dict[str, Any]

ALONE: Settings = {"teacher.kind": "standard", "bias.form": "keep", "temperature.policy": "constant"}
"""Plain distillation by one standard teacher, on which families are built."""
KD: Settings = ALONE | {"method.name": "kd"}
GENEROUS: Settings = {"teacher.kind": "generous"}
HONEST: Settings = {"teacher.folds": 5}
PAPER: Settings = {
    "bias.form": "pair",
    "bias.strength": 0.5,
    "bias.denominator": "subset",
    "schedule.form": "cosine",
    "schedule.hand_over": "rectified",
}
"""arXiv 2412.09874: the pair repair, each subset's own mean, weight moving from right to repaired answers."""
REPAIR: Settings = {
    "bias.denominator": "batch",
    "schedule.form": "constant",
    "schedule.weight": 0.0,
    "schedule.hand_over": "right",
}
"""Every answer weighs the same, always; of the wrong ones, something is changed: what a repair alone does."""
PAIR: Settings = REPAIR | {"bias.form": "pair", "bias.strength": 0.5}
DROP: Settings = REPAIR | {"bias.form": "drop"}

FAMILIES: dict[str, Settings] = {
    "plain": {"method.name": "cross_entropy"},
    "label smoothing": {"method.name": "label_smoothing"},
    "kd": KD,
    "dkd": ALONE | {"method.name": "dkd"},
    "dist": ALONE | {"method.name": "dist"},
    "logit standardisation": ALONE | {"method.name": "logit_standardisation"},
    "rld": ALONE | {"method.name": "rld"},
    "crd": ALONE | {"method.name": "crd"},
    "drop": KD | DROP,
    "paper": KD | PAPER,
    "generous": KD | GENEROUS,
    "honest": KD | HONEST,
    "corrected": ALONE | HONEST | {"method.name": "corrected_kd"},
}
"""Methods whose settings are tuned, by name."""
TEACHERLESS = ("plain", "label smoothing")


@dataclass(frozen=True)
class Contender:
    """Who is compared.

    - family: whose tuned settings it has
    - changed: settings laid over them
    - longer: how many times as many epochs it is trained
    """

    name: str
    family: str
    changed: Settings = field(default_factory=dict)
    longer: int = 1

    def experiment(self, base: Experiment, tuned: Settings, conditions: Settings) -> Experiment:
        """The whole experiment: family, tuned settings, what is changed, and the conditions, laid over another."""
        epochs = self.longer * conditions.get("training.epochs", base.training.epochs)
        values = {**FAMILIES[self.family], **tuned, **self.changed, **conditions, "training.epochs": epochs}
        return override(base, values)

    def spec(self, experiment: Experiment) -> TrainingSpec:
        """How its students are trained."""
        spec = experiment.training_spec()
        return spec.without_teacher() if self.family == "plain" else spec


def own(*families: str) -> list[Contender]:
    """Families with their tuned settings, as they are."""
    return [Contender(name, name) for name in families]


def repairs(strengths: Sequence[float]) -> list[Contender]:
    """Every repair of wrong answers; those that have a strength under each of these."""
    graded = [
        Contender(f"{form} {strength}", "kd", REPAIR | {"bias.form": form, "bias.strength": strength})
        for form in ("pair", "one_hot", "smooth")
        for strength in strengths
    ]
    others = [Contender(form, "kd", REPAIR | {"bias.form": form}) for form in ("swap", "revision", "margin")]
    return [*graded, *others]


def schedules() -> list[Contender]:
    """The pair repair under the paper's schedule, its reverse and none, and each of them over subsets and batches."""
    half: Settings = {"bias.form": "pair", "bias.strength": 0.5, "schedule.hand_over": "rectified"}
    forms: dict[str, Settings] = {
        "cosine": {"schedule.form": "cosine"},
        "rising": {"schedule.form": "rising"},
        "constant": {"schedule.form": "constant", "schedule.weight": 0.5},
    }
    found = [
        Contender(f"{form}, {denominator}", "kd", half | settings | {"bias.denominator": denominator})
        for form, settings in forms.items()
        for denominator in ("subset", "batch")
    ]
    to_labels = {"bias.form": "pair", "schedule.form": "cosine", "schedule.hand_over": "labels"}
    return [*found, Contender("cosine to labels", "kd", to_labels)]


def plug_in() -> list[Contender]:
    """Each host with the elimination, with the paper's settings, and with the repair alone."""
    added = {"drop": DROP, "paper": PAPER, "pair": PAIR}
    hosts = ("dkd", "dist", "logit standardisation", "rld", "crd")
    return [Contender(f"{host} + {name}", host, settings) for host in hosts for name, settings in added.items()]


def generous_teachers() -> list[Contender]:
    """Generous teachers of other multipliers, the ablations, and other methods from a standard and a generous one."""
    multipliers = [
        Contender(f"generous, m {m}", "generous", {"teacher.generous.multiplier": m}) for m in (0.5, 2.0, 4.0)
    ]
    ablations = [
        Contender("generous, fixed temperature", "generous", {"teacher.generous.policy": "constant"}),
        Contender("generous, full KL", "generous", {"teacher.generous.knowledge": "full"}),
        Contender("generous, full DKD", "generous", {"teacher.generous.knowledge": "decoupled"}),
    ]
    methods = [
        Contender("fitnet", "kd", {"method.name": "fitnet"}),
        Contender("fitnet, generous", "kd", GENEROUS | {"method.name": "fitnet"}),
        Contender("dkd, generous", "dkd", GENEROUS),
        Contender("dist, generous", "dist", GENEROUS),
    ]
    return [*multipliers, *ablations, *methods]


TOGETHER = [Contender("generous + pair", "generous", PAIR), Contender("generous + paper", "generous", PAPER)]
HONEST_ONES = [
    Contender("honest + drop", "honest", DROP),
    Contender("honest + pair", "honest", PAIR),
    Contender("honest + paper", "honest", PAPER),
    Contender("honest + generous", "honest", GENEROUS),
]
LONGER = [Contender("plain, twice as long", "plain", longer=2)]
SHORT = [*own("plain", "kd", "drop", "paper"), Contender("pair 0.5", "kd", PAIR)]
"""Those that answer whether a condition changes what the paper claims."""
CORE = ("plain", "label smoothing", "kd", "drop", "paper", "generous", "honest", "corrected")

CONTENDERS: dict[Part, list[Contender]] = {
    "strong": [
        *own(*FAMILIES),
        *LONGER,
        *repairs((0.25, 0.5, 1.0)),
        *schedules(),
        *generous_teachers(),
        *TOGETHER,
        *HONEST_ONES,
        *plug_in(),
    ],
    "weak": [*own(*CORE), *LONGER, *repairs((0.5,)), *schedules(), *TOGETHER, *HONEST_ONES],
    "same": [*own(*CORE), *LONGER, *repairs((0.5,)), *schedules(), *TOGETHER, *HONEST_ONES],
    "noise": [*SHORT, *own("generous", "honest"), HONEST_ONES[0], HONEST_ONES[1]],
    "recipe": SHORT,
}
"""Who takes part in which part."""


@dataclass(frozen=True)
class Variant:
    """Conditions under which the contenders of a part are compared.

    - part: whose contenders take part
    - name: in tables
    - conditions: settings of every contender, over all others
    - tuned_in: the variant whose tuned settings are used
    """

    part: Part
    name: str
    conditions: Settings
    tuned_in: str


def variants(experiment: Experiment, part: Part) -> list[Variant]:
    """The conditions of a part: the experiment's own teacher, another teacher, noise, or another way to train."""
    student, epochs = experiment.student, experiment.teacher.training.epochs
    match part:
        case "strong":
            changed: list[tuple[str, Settings]] = [("strong", {})]
        case "weak":
            changed = [("weak", {"teacher.training.epochs": max(epochs // 10, 1)})]
        case "same":
            same = {"teacher.model.name": student.name, "teacher.model.arguments": student.arguments}
            changed = [("same", same)]
        case "noise":
            shares = (0.1, 0.2, 0.4)
            changed = [(f"noise {share:.0%}, teacher", {"teacher.label_noise": share}) for share in shares]
            changed += [(f"noise {share:.0%}, both", {"data.label_noise": share}) for share in shares]
        case "recipe":
            small = {"training.batch_size": 8, "training.optimizer": "adamw", "training.learning_rate": 1e-4}
            changed = [
                ("batch 8, Adam", small | {"training.decay": "constant", "training.weight_decay": 0.0}),
                ("batch 256", {"training.batch_size": 256}),
                ("three times as long", {"training.epochs": 3 * experiment.training.epochs}),
            ]
    alone = part in ("strong", "weak", "same")
    return [Variant(part, name, settings, name if alone else "strong") for name, settings in changed]
