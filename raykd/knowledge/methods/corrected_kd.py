"""Knowledge distillation whose loss is corrected for the teacher's error, as far as the label shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raykd.knowledge.methods.base import Answers, LogitMethod, as_published
from raykd.knowledge.methods.kd import kd
from raykd.settings import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor


class CorrectedKd(LogitMethod):
    """KD whose loss is corrected to first order for the teacher's error; with `teacher.folds`, as its paper has it."""

    name = "corrected_kd"
    labels = "single"
    formula = (
        "T^2 mean_i [KL(p || q) - strength beta_i sum_k (1[k = y] - p_k) log q_k], p and q softmax of teacher and "
        "student over T, beta_i = p_y / (T max(softmax(teacher_i)_y, smallest))"
    )
    source = (
        "Dao, Kamath, Syrgkanis, Mackey: Knowledge Distillation as Semiparametric Inference, ICLR 2021, "
        "arXiv 2104.09732, section 4.2, for the annealed cross-entropy; the strength is this project's"
    )
    # The configuration in the authors' repository.
    published = as_published(ce_weight=0.5, kd_weight=0.5, temperature=4.0)

    strength: Share = 1.0
    """Share of the first-order correction: 0 is plain KD; at a temperature of 1 the whole one is cross-entropy."""
    smallest: Positive = 0.01
    """What the teacher's probability of the label counts as at least: the correction of confidently wrong answers is
    divided by it, and would have no bound."""

    def rows(self, answers: Answers) -> Tensor:
        """Return the loss [B] with its temperature weight."""
        label = answers.labels.unsqueeze(1)
        log_q = answers.student.log_softmax(dim=1)
        p = answers.teacher.softmax(dim=1)
        untempered = (answers.teacher * answers.teacher_temperature).softmax(dim=1)
        # The slope of softmax(log P / T) in P, applied to label - P, is beta (label - p): other classes cancel out.
        beta = p.gather(1, label) / (answers.teacher_temperature * untempered.gather(1, label).clamp(min=self.smallest))
        towards_label = log_q.gather(1, label).squeeze(1) - (p * log_q).sum(dim=1)
        correction = self.strength * beta.squeeze(1) * towards_label
        return answers.squared_weight * (kd(answers.student, answers.teacher, answers.labels) - correction)
