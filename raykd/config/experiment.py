"""A whole experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from raykd.config.claims import ClaimsSettings
from raykd.config.confirm import ConfirmSettings
from raykd.config.data import DataSettings
from raykd.config.methods import MethodSettings
from raykd.config.objective import ObjectiveSettings
from raykd.config.running import ClusterSettings, StudySettings, TrackingSettings
from raykd.config.teacher import ComparisonSettings, TeacherSettings, lasting_source
from raykd.config.training_spec import TrainingSpec
from raykd.knowledge.bias import BiasSettings
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod, TeacherFree
from raykd.knowledge.methods.dkd import Dkd
from raykd.knowledge.schedule import ScheduleSettings
from raykd.knowledge.temperature import TemperatureSettings


class Experiment(TrainingSpec):
    """A whole experiment: the student's training, its teacher, how it is searched, where it runs and is logged."""

    teacher: TeacherSettings = TeacherSettings()
    study: StudySettings = StudySettings()
    comparison: ComparisonSettings = ComparisonSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    claims: ClaimsSettings = ClaimsSettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, training in (("training", self.training), ("teacher.training", self.teacher.training)):
            if training.nesterov and training.momentum == 0:
                raise ValueError(f"{name}.nesterov needs a {name}.momentum above 0")
        if self.teacher.folds is not None and self.data.mixing:
            raise ValueError(
                f"teacher.folds has each image taught by the teacher that has not seen it, and {self.data.mixing} "
                "mixes it with one that this teacher has seen: leave one out"
            )
        method = METHODS.get(self.method.name, AnswerMethod)
        teaches = not issubclass(method, TeacherFree) and (self.objective.distils or issubclass(method, FeatureMethod))
        if self.objective.weights[0] == 0 and not teaches:
            baseline = f" and method {self.method.name} has no teacher" if issubclass(method, TeacherFree) else ""
            zeros = "objective.ce_weight is 0" if baseline else "objective.ce_weight and objective.kd_weight are both 0"
            raise ValueError(f"{zeros}{baseline}: the student would learn nothing")
        return self

    @property
    def folder(self) -> Path:
        """The study's folder, `outputs/<study>/` by default."""
        return self.study.output / self.study.name

    def with_absolute_paths(self) -> Experiment:
        """The same experiment for processes elsewhere: relative paths are taken from the present folder."""
        root = self.data.root.expanduser().absolute() if isinstance(self.data.root, Path) else self.data.root
        data_cache = self.data.cache
        if data_cache.parts[:1] != ("~",):  # another folder on each node
            data_cache = data_cache.absolute()
        cache = self.teacher.cache.expanduser().absolute()
        source = None if self.teacher.source is None else lasting_source(self.teacher.source)
        output = self.study.output.expanduser().absolute()
        storage = self.cluster.storage
        if storage is not None and "://" not in storage:
            storage = str(Path(storage).expanduser().absolute())
        return self.model_copy(
            update={
                "data": self.data.model_copy(update={"root": root, "cache": data_cache}),
                "student": self.student.with_absolute_path(),
                "teacher": self.teacher.model_copy(
                    update={"cache": cache, "source": source, "model": self.teacher.model.with_absolute_path()}
                ),
                "study": self.study.model_copy(update={"output": output}),
                "cluster": self.cluster.model_copy(update={"storage": storage}),
            }
        )

    def with_given_teacher(self) -> Experiment:
        """The same experiment with the given teacher's folder as `teacher.source`, which may hold another tomorrow."""
        pinned: dict[str, Any] = {"source": self.teacher.folder, "fetched": {}}
        return self.model_copy(update={"teacher": self.teacher.model_copy(update=pinned)})

    def training_spec(self) -> TrainingSpec:
        """How the student is trained under the present settings."""
        return TrainingSpec(**{name: getattr(self, name) for name in TrainingSpec.model_fields})

    @property
    def teacher_data(self) -> DataSettings:
        """What the teachers are trained on: the student's data, with label noise and augmentation of their own."""
        own: dict[str, object] = {}
        if self.teacher.label_noise is not None:
            own["label_noise"] = self.teacher.label_noise
        if not self.teacher.augmented:
            own |= {name: DataSettings.model_fields[name].default for name in ("augment", "mixup", "cutmix")}
        return self.data.model_copy(update=own)

    def standard_teacher_spec(self) -> TrainingSpec:
        """How the standard teacher is trained: cross-entropy alone."""
        return TrainingSpec(
            data=self.teacher_data, student=self.teacher.model, training=self.teacher.training
        ).without_teacher()

    def generous_teacher_spec(self) -> TrainingSpec:
        """How the generous teacher is taught by the standard one (paper's stage 2, or an ablation of it).

        The paper's loss is decoupled distillation without its target part, each network under its own std temperature.
        The spec holds only what has a part in the loss, so that equal losses give the same teacher.
        """
        generous = self.teacher.generous
        full, dropped = generous.knowledge == "full", generous.wrong == "drop"
        target_weight = generous.target_weight if generous.knowledge == "decoupled" else 0.0
        decoupled = MethodSettings.of(Dkd(target_weight=target_weight, non_target_weight=generous.weight))
        std = TemperatureSettings(policy="std", multiplier=generous.multiplier, floor=generous.floor)
        constant = TemperatureSettings(policy="constant", value=generous.value)
        return TrainingSpec(
            data=self.teacher_data,
            student=self.teacher.model,
            training=self.teacher.training,
            objective=ObjectiveSettings(
                ce_weight=1.0, kd_weight=generous.weight if full else 1.0, warmup_epochs=generous.warmup_epochs
            ),
            method=MethodSettings(name="kd") if full else decoupled,
            temperature=std if generous.policy == "std" else constant,
            # Averaged over the whole batch, a right answer weighs what it weighs where none is dropped.
            # Written out: cached teachers are found by it, whatever the defaults are.
            bias=BiasSettings(form="drop" if dropped else "keep", denominator="batch" if dropped else "subset"),
            schedule=ScheduleSettings(form="constant", weight=1.0, hand_over="rectified")
            if dropped
            else ScheduleSettings(form="cosine", hand_over="rectified"),
            bank=self.bank,
        )
