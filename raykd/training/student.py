"""One network that is being taught: its state, its steps, and its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from raykd.config import Lesson
from raykd.data import DataInfo
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.seeds import seed_of
from raykd.training.build import autocast_type, build_learning_rate, build_objective, build_optimizer
from raykd.training.folder import CHECKPOINT, description, replacing
from raykd.training.identity import identity
from raykd.training.messages import Enrolment, Report
from raykd.training.saved import save_model
from raykd.training.tally import Tally
from raykd.training.team import Team


def autocast(device: torch.device, precision: torch.dtype | None) -> AbstractContextManager[object]:
    """Forward passes in `precision` where it is given, else as they are."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)


class Student:
    """A seated student.

    A teacher in training is a student as well; whoever has no teacher learns from labels alone. Nothing of it depends
    on who else sits in the classroom: its weights, dropout and optimizer draw only on its own lesson.

    Args:
        enrolment: What it wants to learn, and where its folder is. A checkpoint there is gone on from.
        data: The images it learns from.
        team: The classroom's workers.

    Raises:
        RaykdError: the model cannot be built, or the folder holds another lesson's checkpoint.
    """

    def __init__(self, enrolment: Enrolment, data: DataInfo, team: Team) -> None:
        self.enrolment = enrolment
        self.lesson = Lesson.model_validate(enrolment.lesson)
        self.views: list[int] = []
        self._data = data
        self._team = team
        self._history: list[Report] = []
        training = self.lesson.training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(training.seed, "weights"))
            network = build_model(self.lesson.student, num_classes=data.num_classes, in_channels=data.channels)
        layout = torch.channels_last if team.device.type == "cuda" else torch.contiguous_format
        self.network: nn.Module = network.to(team.device, memory_format=layout)  # type: ignore[call-overload]
        self._precision = autocast_type(training, team.device)
        self._objective = build_objective(self.lesson)
        self._optimizer = build_optimizer(training, self.network.parameters())
        self._learning_rate = build_learning_rate(training, self._optimizer)
        self._tally = Tally()
        self._distributed = self.network
        self._restore()

    def join_team(self) -> None:
        """Learn in step with the other workers from now on; all of them must call this, for all wait for each other."""
        if not self._team.alone:
            # Buffers are averaged once an epoch instead of being sent round at every step.
            self._distributed = DistributedDataParallel(self.network, broadcast_buffers=False)

    @property
    def over(self) -> bool:
        """Nothing is left to learn: finished, or diverged."""
        return bool(self._history) and self._history[-1].last

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self._history)

    @property
    def history(self) -> tuple[Report, ...]:
        """The reports of all finished epochs."""
        return tuple(self._history)

    def learn(self, step: int, images: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> None:
        """Take one optimizer step.

        Args:
            step: Number of the batch in this epoch.
            images: [B, C, H, W], normalised.
            labels: [B].
            teacher_logits: [B, classes] or None.
        """
        # Dropout draws from a stream of its own, whoever else has drawn numbers since.
        torch.manual_seed(seed_of(self.lesson.training.seed, "step", self.epoch, step, self._team.rank))
        with autocast(images.device, self._precision):
            logits = self._distributed(images)
        losses = self._objective(
            logits,
            teacher_logits,
            labels,
            epoch=self.epoch,
            epochs=self.lesson.training.epochs,
            workers=self._team.for_objective(),
        )
        self._optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        if self.lesson.training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.lesson.training.gradient_clip)
        self._optimizer.step()
        self._tally.add(losses.parts | {"loss": losses.total.detach()}, 1)
        self._tally.add({"train_accuracy": (logits.detach().argmax(1) == labels).sum()}, len(labels))

    def agree_on_buffers(self) -> None:
        """Average running statistics over the workers, so that all go on, and are judged, with the same."""
        if not self._team.alone:
            for buffer in self.network.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self._team.count

    @torch.no_grad()
    def be_judged(self, images: Tensor, labels: Tensor, teacher_answers: Tensor | None) -> None:
        """Count a validation batch: [B, C, H, W] normalised, labels [B], the teacher's classes [B] or None."""
        with autocast(images.device, self._precision):
            logits = self.network(images).float()
        answers = logits.argmax(1)
        counts = {
            "validation_accuracy": (answers == labels).sum(),
            "validation_loss": F.cross_entropy(logits, labels, reduction="sum"),
        }
        if teacher_answers is not None:
            counts["teacher_agreement"] = (answers == teacher_answers).sum()
        self._tally.add(counts, len(labels))

    def finish_epoch(self, view: int, circumstances: Mapping[str, float]) -> Report:
        """Close the epoch: report it, save the checkpoint, and the model too after the last one.

        Args:
            view: Number of the view that was seen.
            circumstances: Metrics of the whole class, such as its seconds.
        """
        weights = self._objective.weights(epoch=self.epoch, epochs=self.lesson.training.epochs)
        metrics = self._tally.means(self._team)
        metrics |= circumstances
        metrics["learning_rate"] = float(self._learning_rate.get_last_lr()[0])
        if self.enrolment.teacher is not None:
            metrics |= {"right_weight": weights.right, "kd_weight": weights.distillation}
        metrics |= self._best(metrics["validation_accuracy"])
        diverged = not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["validation_loss"]))
        self._tally = Tally()
        self._learning_rate.step()
        self.views.append(view)
        report = Report(
            student=self.enrolment.student,
            ticket=self.enrolment.ticket,
            epoch=self.epoch + 1,
            metrics=metrics,
            finished=self.epoch + 1 == self.lesson.training.epochs and not diverged,
            diverged=diverged,
        )
        self._history.append(report)
        if self._team.rank == 0:
            self._save(report)
        return report

    def _best(self, accuracy: float) -> dict[str, float]:
        accuracies = [report.metrics["validation_accuracy"] for report in self._history] + [accuracy]
        best = max(accuracies)
        return {"best_validation_accuracy": best, "best_epoch": accuracies.index(best) + 1}

    def _save(self, report: Report) -> None:
        folder = Path(self.enrolment.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CHECKPOINT) as temporary:
            torch.save(self._state(), temporary)
        if report.finished:
            self._save_model()

    def _save_model(self) -> None:
        if self._team.rank == 0:
            save_model(
                Path(self.enrolment.folder), self.network, self.lesson, self._data, self._history[-1], self.views
            )

    def _state(self) -> dict[str, Any]:
        return {
            "lesson": identity(self.lesson),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "learning_rate": self._learning_rate.state_dict(),
            "views": self.views,
            "history": [
                {"metrics": dict(report.metrics), "finished": report.finished, "diverged": report.diverged}
                for report in self._history
            ],
        }

    def _restore(self) -> None:
        path = Path(self.enrolment.folder) / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location=self._team.device, weights_only=True)
        if state["lesson"] != identity(self.lesson):
            raise RaykdError(
                f"{path} is the checkpoint of another lesson than {self.enrolment.student}'s: "
                "use another study.name, or delete the folder"
            )
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._learning_rate.load_state_dict(state["learning_rate"])
        self.views = state["views"]
        self._history = [
            Report(student=self.enrolment.student, ticket=self.enrolment.ticket, epoch=epoch, **told)
            for epoch, told in enumerate(state["history"], start=1)
        ]
        if self._history[-1].finished and description(self.enrolment.folder) is None:
            self._save_model()  # It died between its last checkpoint and its model.
