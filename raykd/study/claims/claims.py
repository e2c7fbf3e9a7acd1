"""The study of the papers' claims: every method tuned by as many trials, then measured over seeds on the test split."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from raykd.cluster.resources import Resources
from raykd.config import Experiment
from raykd.data import load_data
from raykd.results.claims import FINDINGS, ClaimsRecord, StudentRecord, TunedFamily, summary
from raykd.results.confirm import TEST
from raykd.results.questions import BEYOND
from raykd.search.names import METRIC
from raykd.settings_io import override
from raykd.study.claims.contenders import (
    CONTENDERS,
    FAMILIES,
    TEACHERLESS,
    Contender,
    Settings,
    Variant,
    own,
    variants,
)
from raykd.study.contenders import seeded_student
from raykd.study.preflight import rehearse
from raykd.study.session import Session, open_session
from raykd.study.train import log_if_finished, train_logged
from raykd.training.answers import answers_to
from raykd.training.folder import description
from raykd.training.messages import TrainRequest
from raykd.training.teacher_cache import teachers

RECORD = "claims.json"
"""File of the run's folder: all that was measured so far."""
SEATS = 8
"""Of a classroom, unless the settings say otherwise."""
RANGES = {
    "training.learning_rate": (0.0125, 0.2),
    "training.weight_decay": (1e-4, 4e-3),
    "objective.kd_share": (0.1, 0.9),
    "temperature.value": (1.0, 16.0),
}
"""What is tuned of every family, and between what; shares evenly, all else by its logarithm."""
OF_THE_TRAINING = ("training.learning_rate", "training.weight_decay")
"""What of it a family without a teacher has."""


def claims(experiment: Experiment, console: Console | None = None) -> ClaimsRecord:
    """Test what the papers claim: teach all contenders over seeds, each seed with teachers of its own.

    Everything is written to `outputs/<study.name>/claims.json` and to MLflow, and with `study.resume` a run goes on
    where it ended. The design is in `experiments/reproduce_claims.py`; `raykd.report.claims_page` makes a page of it.

    Args:
        experiment: Data, networks, training, and `claims`; its method is not used.
        console: Where plan, progress and results are shown. None: standard output.

    Raises:
        RaykdError: something in the settings is wrong; one or two lines say what to do.
    """
    experiment = override(experiment, {"data.held_out": "test"})
    with open_session(experiment, "claims", console, held_out="test", rehearsed=False) as session:
        study = _Claims(session)
        if study.is_open:
            study.rehearse()
            cluster = session.experiment.cluster
            seats = cluster.seats or SEATS
            session.open_cluster(study.largest, cluster.model_copy(update={"seats": seats}))
            session.begin({"data.name": experiment.data.name, "claims.seeds": experiment.claims.seeds})
            with session.classrooms(study.plan_lines()) as classrooms:
                study.run(classrooms.broker)
        elif ClaimsRecord.read(session.folder / RECORD) != study.record:
            study.record.write(session.folder / RECORD)
        _show(study.record, session)
        return study.record


def tried_settings(trials: int) -> list[Settings]:
    """The settings that are tried of every family: points that fill the ranges evenly, always the same."""
    from scipy.stats import qmc

    points = qmc.Halton(len(RANGES), seed=0).random(trials)
    return [
        {
            name: float(low + place * (high - low)) if name.endswith("_share") else float(low * (high / low) ** place)
            for (name, (low, high)), place in zip(RANGES.items(), point, strict=True)
        }
        for point in points
    ]


def values_of(family: str, tried: Settings) -> Settings:
    """What of the tried settings a family has."""
    return {name: tried[name] for name in (OF_THE_TRAINING if family in TEACHERLESS else tried)}


class _Claims:
    """One launch of the study: what is measured, and what is left to do."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.experiment.claims
        self._base = session.experiment
        self._file = session.folder / RECORD
        self._teachers: dict[str, TrainRequest] = {}
        self._logged: set[str] = set()
        self.record = ClaimsRecord.read(self._file)
        # Fewer seeds than before may be all that is left to wait for.
        self.record.about["seeds"] = self._settings.seeds
        self._variants = [each for part in self._settings.parts for each in variants(self._base, part)]
        searched = override(self._base, {"data.held_out": "validation"})
        self._fingerprints = {
            "test": session.data.fingerprint,
            "validation": load_data(searched.data).info.fingerprint,
        }

    @property
    def largest(self) -> int:
        """The most students that are trained at once."""
        return max(len(CONTENDERS[variant.part]) for variant in self._variants)

    @property
    def is_open(self) -> bool:
        """Whether a student has not been measured."""
        return any(self._missing(variant, seed) for variant in self._variants for seed in self._seeds)

    def rehearse(self) -> None:
        """Put together what is not measured yet, before a cluster starts.

        Raises:
            RaykdError: a contender's settings do not suit its networks or data.
        """
        centre = tried_settings(1)[0]
        for variant in self._variants:
            missing = {each.name: each for seed in self._seeds for each in self._missing(variant, seed)}
            for contender in missing.values():
                tuned = values_of(contender.family, centre)
                rehearse(contender.experiment(self._base, tuned, variant.conditions), self._session.data)

    def plan_lines(self) -> dict[str, str]:
        """What the plan says about the study."""
        count = sum(len(CONTENDERS[variant.part]) for variant in self._variants)
        done = count * self._settings.seeds - sum(
            len(self._missing(variant, seed)) for variant in self._variants for seed in self._seeds
        )
        return {
            "conditions": ", ".join(variant.name for variant in self._variants),
            "students": f"{count} contenders in all, {self._settings.seeds} seeds each"
            + (f"; {done} students are done" if done else ""),
            "tuning": f"{self._settings.tuning_trials} trials of each method on the validation split",
        }

    def run(self, broker: Any) -> None:
        """Tune the families, then teach the contenders, condition by condition and seed by seed."""
        self.record.about |= self._about()
        cluster, versions = str(Resources.now()), dict(self._session.provenance.versions)
        for variant in self._variants:
            for seed in self._seeds:
                if missing := self._missing(variant, seed):
                    began = time.monotonic()
                    tuned = self._tuned(broker, self._named(variant.tuned_in), {each.family for each in missing})
                    students = self._measure(broker, variant, seed, missing, tuned)
                    self.record.add(students, time.monotonic() - began, cluster, versions)
                    self.record.write(self._file)

    @property
    def _seeds(self) -> range:
        first = self._base.training.seed + 1
        return range(first, first + self._settings.seeds)

    def _named(self, name: str) -> Variant:
        known = {each.name: each for part in CONTENDERS for each in variants(self._base, part)}
        return known[name]

    def _missing(self, variant: Variant, seed: int) -> list[Contender]:
        return [each for each in CONTENDERS[variant.part] if seed not in self.record.of(variant.name, each.name)]

    def _about(self) -> dict[str, Any]:
        experiment, info = self._base, self._session.data
        return {
            "data": info.name,
            "image": [info.channels, info.height, info.width],
            "split_sizes": dict(info.split_sizes),
            "student": str(experiment.student),
            "teacher": str(experiment.teacher.model),
            "epochs": experiment.training.epochs,
            "teacher_epochs": experiment.teacher.training.epochs,
            "tuning_trials": self._settings.tuning_trials,
        }

    def _tuned(self, broker: Any, variant: Variant, families: Collection[str]) -> dict[str, Settings]:
        """The best of the tried settings of each family under a condition; tried here where that is not known."""
        known: dict[str, Settings] = {
            each.family: dict(each.values) for each in self.record.tuned if each.variant == variant.name
        }
        unknown = [family for family in FAMILIES if family in families and family not in known]
        tried = tried_settings(self._settings.tuning_trials)
        requests: dict[tuple[str, int], TrainRequest] = {}
        seed = self._base.training.seed
        for contender in own(*unknown):
            for number, settings in enumerate(tried):
                values = values_of(contender.family, settings)
                requests[contender.family, number] = self._request(
                    f"tune-{variant.name}-{contender.name}-{number}", contender, values, variant, seed, "validation"
                )
        self._train(broker, requests.values(), f"tuning, {variant.name}")
        for family in unknown:
            models = [description(requests[family, number].folder) for number in range(len(tried))]
            accuracies = tuple(None if model is None else float(model["metrics"][METRIC]) for model in models)
            best = max(range(len(tried)), key=[accuracy or 0.0 for accuracy in accuracies].__getitem__)
            known[family] = values_of(family, tried[best])
            self.record.tuned.append(TunedFamily(variant.name, family, known[family], accuracies))
        if unknown:
            self.record.write(self._file)
        return known

    def _measure(
        self, broker: Any, variant: Variant, seed: int, missing: Sequence[Contender], tuned: dict[str, Settings]
    ) -> list[StudentRecord]:
        """Teach the students of one seed; return what they reach."""
        requests = {
            contender.name: self._request(
                f"{variant.name}-{contender.name}-{seed}", contender, tuned[contender.family], variant, seed, "test"
            )
            for contender in missing
        }
        self._train(broker, requests.values(), f"{variant.name}, seed {seed}")
        beyond = self._beyond(variant, seed, requests)
        measured = []
        for contender in missing:
            model = description(requests[contender.name].folder)
            if model is None:
                continue
            folder = requests[contender.name].teacher
            teacher = None if folder is None else description(folder)
            student = StudentRecord(
                variant=variant.name,
                contender=contender.name,
                seed=seed,
                accuracy=model["metrics"][TEST],
                teacher_accuracy=None if teacher is None else teacher["metrics"][TEST],
                wrong_share=model["metrics"].get("wrong_share"),
                beyond=beyond.get(contender.name),
                epochs=model["epochs"],
            )
            measured.append(student)
        return measured

    def _beyond(self, variant: Variant, seed: int, requests: Mapping[str, TrainRequest]) -> dict[str, float]:
        """How often those students are right where the standard teacher is wrong of whom it is asked."""
        asked = {name: each.folder for name, each in requests.items() if name in BEYOND and description(each.folder)}
        kd = next((each for each in CONTENDERS[variant.part] if each.name == "kd"), None)
        if not asked or kd is None:
            return {}
        experiment = kd.experiment(self._of_seed(seed, "test"), {}, variant.conditions)
        teacher = teachers(experiment, self._fingerprints["test"])[-1].folder
        if description(teacher) is None:
            return {}
        data = load_data(experiment.data)
        labels, answers = answers_to(data, "test", {**asked, "": teacher})
        wrong = answers.pop("") != labels
        return {name: float((given == labels)[wrong].mean()) for name, given in answers.items() if wrong.any()}

    def _of_seed(self, seed: int, held_out: str) -> Experiment:
        """The study's experiment, with students, teachers and views of a seed."""
        seeds = dict.fromkeys(("training.seed", "teacher.training.seed", "data.view_seed"), seed)
        return override(self._base, {**seeds, "data.held_out": held_out})

    def _request(
        self, name: str, contender: Contender, tuned: Settings, variant: Variant, seed: int, held_out: str
    ) -> TrainRequest:
        experiment = contender.experiment(self._of_seed(seed, held_out), tuned, variant.conditions)
        spec, fingerprint = contender.spec(experiment), self._fingerprints[held_out]
        chain = teachers(experiment, fingerprint) if spec.needs_teacher else []
        for teacher in chain:
            self._teachers[teacher.folder] = teacher
        plain_name = re.sub(r"[^A-Za-z0-9.]+", "-", name)
        return seeded_student(plain_name, spec, seed, chain, experiment, fingerprint)

    def _train(self, broker: Any, students: Iterable[TrainRequest], title: str) -> None:
        """Teach students, after their teachers; those whose teacher failed are left out, and a line says so."""
        wanted = list(students)
        folders = {student.teacher for student in wanted}
        needed = self._needed(folders)
        stages: list[tuple[str, Callable[[TrainRequest], bool]]] = [
            ("standard teachers", lambda teacher: teacher.teacher is None and not teacher.members),
            ("generous teachers", lambda teacher: teacher.teacher is not None),
            ("honest teachers", lambda teacher: bool(teacher.members)),
        ]
        for name, belongs in stages:
            self._train_together(broker, [each for each in needed if belongs(each)], f"{title}: {name}")
        taught = [each for each in wanted if each.teacher is None or description(each.teacher) is not None]
        for student in wanted:
            if student not in taught:
                self._session.console.print(f"{student.student}: its teacher failed", highlight=False)
        self._train_together(broker, taught, title)

    def _needed(self, folders: Collection[str | None]) -> list[TrainRequest]:
        """The teachers in these folders, and all that they need."""
        needed: dict[str, TrainRequest] = {}
        open_folders = [folder for folder in folders if folder is not None]
        while open_folders:
            teacher = self._teachers[open_folders.pop()]
            if teacher.folder not in needed:
                needed[teacher.folder] = teacher
                open_folders += [*teacher.members, *([teacher.teacher] if teacher.teacher else [])]
        return list(needed.values())

    def _train_together(self, broker: Any, requests: Sequence[TrainRequest], title: str) -> None:
        """Train what is not finished; what is, by an earlier launch or elsewhere, is logged as it is."""
        tracker = self._session.tracker
        missing = []
        for request in requests:
            if request.student in self._logged and description(request.folder) is not None:
                continue  # A teacher of several conditions.
            self._logged.add(request.student)
            tracker.start_trial(request.student, {"training.seed": request.spec.training.seed}, {"raykd.stage": title})
            if not log_if_finished(request, tracker):
                missing.append(request)
        if missing:
            train_logged(broker, missing, title, self._session.console, tracker)


def _show(record: ClaimsRecord, session: Session) -> None:
    """Print how many claims came out how, and where the record is."""
    table = Table("conditions", *FINDINGS)
    outcomes = list(record.outcomes())
    for variant in record.variants:
        counts = summary(each for each in outcomes if each.variant == variant)
        table.add_row(variant, *map(str, counts.values()))
    session.console.print(table, highlight=False)
    session.console.print(f"all figures: {session.folder / RECORD}", soft_wrap=True, highlight=False)
    session.show_where_to_look()
