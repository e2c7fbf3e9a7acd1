"""One network in training: its state, its steps, and its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raykd.data import Batch, ImageData
from raykd.knowledge import Losses, captured
from raykd.knowledge.methods.base import HasMetrics
from raykd.seeds import seed_of
from raykd.training.average import AVERAGE, WeightAverage
from raykd.training.build import autocast_type, build_learning_rate, build_network, build_objective, build_optimizer
from raykd.training.checkpoint import NETWORK, Checkpoint, load_checkpoint, on_cpu, write_checkpoint
from raykd.training.compiled.alone import Alone
from raykd.training.cross_fitting import AnyTeacher
from raykd.training.distillation_token import find_token_heads
from raykd.training.folder import forget_previous
from raykd.training.hint_layers import find_hint_layers
from raykd.training.learner import Learner
from raykd.training.messages import Report, TrainRequest
from raykd.training.metrics import StudentMetrics
from raykd.training.random_numbers import seed_step
from raykd.training.saved import is_whole, save_model, weights_digest
from raykd.training.teacher import Knowledge, autocast
from raykd.training.team import Team


class Student:
    """A seated student.

    A teacher in training is a student as well; without a teacher of its own it learns from labels alone. Nothing of it
    depends on the other students of the classroom: weights, dropout and optimizer depend only on its own settings.

    Args:
        request: Its settings and its folder.
        data: The images it learns from.
        team: The classroom's workers.
        teacher: Its teacher, if it has one.
        stored: The checkpoint from which it goes on, the same for all workers; see
            `raykd.training.checkpoint.stored_checkpoint`. None: it begins.

    Raises:
        RaykdError: the model cannot be built, its method does not suit it and its teacher, or the checkpoint was
            written with other settings.
    """

    def __init__(
        self,
        request: TrainRequest,
        data: ImageData,
        team: Team,
        teacher: AnyTeacher | None,
        stored: bytes | None = None,
    ) -> None:
        self.request = request
        self.spec = request.spec
        self.views: list[int] = []
        info = self._data = data.info
        self._team = team
        self._history: list[Report] = []
        training = self.spec.training
        checkpoint = None if stored is None else load_checkpoint(stored, request, self.spec, team.device)
        # Pretrained weights are read, or downloaded, only where no checkpoint replaces them.
        self.network = build_network(self.spec, info, team.device, weights=checkpoint is None)
        self._precision = autocast_type(training, team.device)
        labels = data.split("train").labels
        taught_by, seen = (None, None) if teacher is None else (teacher.network, teacher.info)
        self._hint_layers = find_hint_layers(self.spec, self.network, taught_by, info, labels, seen)
        self._token_heads = find_token_heads(self.spec, self.network)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(training.seed, "parts"))
            self._objective = build_objective(self.spec, self._hint_layers.shapes if self._hint_layers else None)
        self._learner = Learner(self.network, self._objective.modules).to(team.device)
        self._optimizer = build_optimizer(training, self._learner.parameters())
        self._learning_rate = build_learning_rate(training, self._optimizer)
        self._average = WeightAverage(self.network, training.ema) if training.ema else None
        self.metrics = StudentMetrics(info.held_out, taught=teacher is not None, averaged=self.averages)
        self._distributed: nn.Module = self._learner
        if checkpoint is not None:
            self._restore(checkpoint)

    def set_up_distributed(self) -> None:
        """Train data parallel with the other workers from now on; all of them must call this, as they wait for it."""
        if not self._team.alone:
            # Buffers are averaged once an epoch instead of being broadcast at every step.
            self._distributed = DistributedDataParallel(self._learner, broadcast_buffers=False)

    def pass_by(self, alone: Alone | None) -> None:
        """Pass batches by a compiled function from now on, while `open`; None: as usual."""
        self._learner.alone = alone

    def open(self) -> AbstractContextManager[object]:
        """A context in which it can pass batches by itself."""
        return nullcontext() if self._learner.alone is None else self._learner.alone.open()

    @property
    def is_compiled(self) -> bool:
        """Whether it passes batches by a compiled function when it passes them by itself."""
        return self._learner.alone is not None and self._learner.alone.is_compiled

    @property
    def ended(self) -> bool:
        """Whether no epoch is left: finished, or diverged."""
        return bool(self._history) and self._history[-1].last

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self._history)

    @property
    def history(self) -> tuple[Report, ...]:
        """The reports of all finished epochs."""
        return tuple(self._history)

    def next_view(self, of_class: int) -> int:
        """The number of the view of its next epoch: the class's, or the one that it must see."""
        return self.request.views[self.epoch] if self.request.views else of_class

    @property
    def stack_place(self) -> tuple[int, int] | None:
        """Size of the stack and slot in which it must sit in its next epoch; None: as it comes."""
        return self.request.stacks[self.epoch] if self.request.stacks else None

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """The layers of its teacher whose features its method needs."""
        return self._hint_layers.teacher if self._hint_layers else ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Its own layers whose features its loss needs: its method's hint layers, and the heads of its two tokens."""
        hints = self._hint_layers.student if self._hint_layers else ()
        return (*hints, *self._token_heads.layers) if self._token_heads else hints

    @property
    def averages(self) -> bool:
        """Whether the moving average of its weights is judged and kept, instead of the weights."""
        return self._average is not None

    def averaged(self) -> AbstractContextManager[None]:
        """A context in which its network has the weights that are judged: their average, where it has one."""
        return nullcontext() if self._average is None else self._average.in_place()

    @property
    def _judged(self) -> nn.Module:
        """The network with the weights that are judged and kept."""
        return self.network if self._average is None else self._average.network

    def learn(self, step: int, batch: Batch, knowledge: Knowledge | None) -> None:
        """Take one optimizer step.

        Args:
            step: Number of the batch in this epoch.
            batch: The images and labels.
            knowledge: What its teacher gives for them, or None without one.
        """
        self.begin_step(step)
        with autocast(batch.images.device, self._precision), captured(self.network, self.layers) as features:
            logits = self._distributed(batch.images)
        losses = self.losses(logits, features, batch, knowledge)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.end_step(losses, logits.detach(), batch.labels)

    @property
    def part_gradients(self) -> list[Tensor]:
        """After a backward pass, those of its method's learned parts."""
        return [parameter.grad for parameter in self._learner.parts.parameters() if parameter.grad is not None]

    def begin_step(self, step: int) -> None:
        """Seed the step's random numbers, and forget the last gradients."""
        # Dropout has a random stream of its own, whatever numbers have been drawn since.
        seed_step(self._team.device, seed_of(self.spec.training.seed, "step", self.epoch, step, self._team.rank))
        self._optimizer.zero_grad(set_to_none=True)

    def losses(
        self, logits: Tensor, features: Mapping[str, Tensor], batch: Batch, knowledge: Knowledge | None
    ) -> Losses:
        """The losses of its logits [B, classes] and its layers' features for a batch."""
        hints, distilled = None, None
        if self._hint_layers is not None and knowledge is not None:
            hints = self._hint_layers.hints(features, knowledge.hints, batch)
        if self._token_heads is not None:
            logits, distilled = self._token_heads.of(features)
        return self._objective(
            logits,
            None if knowledge is None else knowledge.logits,
            batch.labels,
            epoch=self.epoch,
            epochs=self.spec.training.epochs,
            workers=self._team.for_objective(),
            hints=hints,
            distilled_logits=distilled,
            mixed=batch.mixed,
        )

    def end_step(self, losses: Losses, logits: Tensor, labels: Tensor) -> None:
        """Move along the gradients, and count the step's losses and right answers."""
        if self.spec.training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._learner.parameters(), self.spec.training.gradient_clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update()
        self.metrics.add_step(losses, logits, labels)

    def average_buffers(self) -> None:
        """Average running statistics over the workers, so that all evaluate, and continue, with the same."""
        self._team.average_buffers(self._learner)
        if self._average is not None:
            self._team.average_buffers(self._average.network)

    @torch.no_grad()
    def evaluate_batch(self, images: Tensor, labels: Tensor, teacher_answers: Tensor | None) -> None:
        """Evaluate a held-out batch: images [B, C, H, W] normalised, labels [B], the teacher's classes [B] or None."""
        with autocast(images.device, self._precision):
            if self.averages:
                self.metrics.add_raw_answers(self._learner(images), labels)
            with self.averaged():
                logits = self._learner(images)
        self.metrics.add_answers(logits, labels, teacher_answers)

    def finish_epoch(self, view: int, class_metrics: Mapping[str, float]) -> Report:
        """End the epoch: report it, save the checkpoint, and after the last one the model.

        Args:
            view: Number of the view that was seen.
            class_metrics: Metrics of the whole class, such as its seconds.
        """
        weights = self._objective.weights(epoch=self.epoch, epochs=self.spec.training.epochs)
        metrics = {**self.metrics.means(self._team), **class_metrics}
        metrics["learning_rate"] = float(self._learning_rate.get_last_lr()[0])
        if self.request.teacher is not None:
            metrics |= {"right_weight": weights.right, "kd_weight": weights.distillation}
        if self._hint_layers is not None:
            metrics["feature_weight"] = weights.features
        for part in self._learner.parts:
            if isinstance(part, HasMetrics):
                metrics |= part.metrics()
        metrics |= self.metrics.best(metrics, self._history)
        diverged = self.metrics.diverged(metrics)
        self._learning_rate.step()
        self.views.append(view)
        first_worker = self._team.rank == 0
        state = self._state() if first_worker else {}
        judged = state.get(AVERAGE, state).get(NETWORK)
        report = Report(
            student=self.request.student,
            ticket=self.request.ticket,
            epoch=self.epoch + 1,
            metrics=metrics,
            finished=self.epoch + 1 == self.spec.training.epochs and not diverged,
            diverged=diverged,
            weights=None if judged is None else weights_digest(judged),
        )
        self._history.append(report)
        if first_worker:
            write_checkpoint(self.request, self.spec, Checkpoint(state, self.views, self._history))
            if report.finished:
                self._save_model()
                forget_previous(self.request.folder)
        return report

    def _save_model(self) -> None:
        if self._team.rank == 0:
            *earlier, last = self._history
            save_model(self.request.folder, self._judged, self.spec, self._data, last, self.views, earlier)

    def _stateful(self) -> dict[str, Any]:
        """All whose state a checkpoint holds, by name."""
        parts = {
            NETWORK: self.network,
            "parts": self._learner.parts,
            "optimizer": self._optimizer,
            "learning_rate": self._learning_rate,
        }
        return parts if self._average is None else parts | {AVERAGE: self._average}

    def _state(self) -> dict[str, Any]:
        """A checkpoint's state; the network's is copied from the device once, for its digest as well."""
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        return state | {NETWORK: on_cpu(state[NETWORK])}

    def _restore(self, checkpoint: Checkpoint) -> None:
        for name, part in self._stateful().items():
            part.load_state_dict(checkpoint.state[name])
        self.views = list(checkpoint.views)
        self._history = list(checkpoint.history)
        if self._history[-1].finished and not is_whole(self.request.folder):
            self._save_model()  # The process died between its last checkpoint and its model, or that is damaged.
