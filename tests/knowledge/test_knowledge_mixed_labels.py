"""Labels of mixed images: cross-entropy with both, everything else with the larger one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from raykd.config import TrainingSpec
from raykd.errors import RaykdError
from raykd.knowledge import ALONE, Objective, Workers
from raykd.knowledge.methods import METHODS
from raykd.knowledge.methods.base import AnswerMethod, FeatureMethod, Hints, HintShapes, LogitMethod
from raykd.knowledge.methods.kd import Kd
from raykd.knowledge.mixed_labels import MixedLabels
from raykd.training.build import build_objective
from tests.helpers.logit_batches import answers_of, batch, constant, cosine, gradient, repair_of, term_of

ROWS, CLASSES = 12, 6
OTHERS = torch.arange(ROWS) % CLASSES
SHARES = torch.linspace(0.5, 1.0, ROWS)
MIXED = MixedLabels(OTHERS, SHARES)


def objective_of(form: str = "keep", smoothing: float = 0.0, hand_over: str = "labels") -> Objective:
    schedule = cosine().model_copy(update={"hand_over": hand_over})
    return Objective(Kd().term(), constant(4.0), repair_of(form), schedule, 0.3, 0.7, 0, label_smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_with_the_mean_of_both_labels(smoothing: float) -> None:
    """torch's own, of soft targets, in float64; its gradient as well, and its own label smoothing."""
    student, teacher, labels = batch()
    losses = objective_of(smoothing=smoothing)(student, teacher, labels, epoch=1, epochs=4, mixed=MIXED)
    soft = F.one_hot(labels, CLASSES).double() * SHARES.double().unsqueeze(1)
    soft += F.one_hot(OTHERS, CLASSES).double() * (1 - SHARES.double()).unsqueeze(1)
    exact = student.detach().double().requires_grad_()
    expected = F.cross_entropy(exact, soft, label_smoothing=smoothing)
    torch.testing.assert_close(losses.parts["cross_entropy"].double(), expected.detach(), rtol=1e-6, atol=1e-6)
    kl = F.kl_div((exact / 4).log_softmax(1), (teacher.double() / 4).softmax(1), reduction="batchmean")
    total = 0.3 * expected + 0.7 * 16 * kl
    torch.testing.assert_close(losses.total.double(), total, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient(losses.total, student).double(), gradient(total, exact), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["pair", "drop"])
def test_what_is_right_goes_by_the_larger_share_and_what_labels_take_over_by_both(form: str) -> None:
    student, teacher, labels = batch()
    objective = objective_of(form)
    plain = objective(student, teacher, labels, epoch=1, epochs=4).parts
    mixed = objective(student, teacher, labels, epoch=1, epochs=4, mixed=MIXED).parts
    both = {"cross_entropy", "labels"}
    assert all(torch.equal(mixed[name], plain[name]) for name in plain.keys() - both)
    assert all(not torch.equal(mixed[name], plain[name]) for name in both)
    of_others = objective.label_smoothing, F.cross_entropy(student, OTHERS, reduction="none")
    right = teacher.argmax(1) == labels
    rows = SHARES * F.cross_entropy(student, labels, reduction="none") + (1 - SHARES) * of_others[1]
    weights = objective.weights(epoch=1, epochs=4)
    shares = [(1 - weights.right) * rows[right].mean(), (1 - weights.rectified) * rows[~right].mean()]
    torch.testing.assert_close(mixed["labels"], sum(shares).detach(), rtol=1e-5, atol=1e-6)


def test_images_that_are_not_mixed_after_all_have_the_usual_loss() -> None:
    student, teacher, labels = batch()
    whole = MixedLabels(OTHERS, torch.ones(ROWS))
    losses = [objective_of("pair")(student, teacher, labels, epoch=1, epochs=4, mixed=each) for each in (None, whole)]
    torch.testing.assert_close(losses[0].total, losses[1].total)


def test_workers_average_to_the_joined_batch() -> None:
    student, teacher, labels = batch()
    whole = objective_of("pair", 0.1)(student, teacher, labels, epoch=1, epochs=4, workers=ALONE, mixed=MIXED)
    parts = [slice(0, 5), slice(5, ROWS)]
    wrong = [(teacher[part].argmax(1) != labels[part]).sum() for part in parts]
    counts = torch.tensor([ROWS - sum(wrong), sum(wrong)], dtype=torch.float32)
    halves = [
        objective_of("pair", 0.1)(
            student[part],
            teacher[part],
            labels[part],
            epoch=1,
            epochs=4,
            workers=Workers(2, lambda _: counts),
            mixed=MIXED.take(torch.arange(ROWS)[part]),
        )
        for part in parts
    ]
    for name, value in whole.parts.items():
        torch.testing.assert_close((halves[0].parts[name] + halves[1].parts[name]) / 2, value, rtol=1e-5, atol=1e-6)


ANSWERING = [name for name, method in METHODS.items() if issubclass(method, AnswerMethod)]


@pytest.mark.parametrize("name", ANSWERING)
def test_methods_that_say_that_they_use_no_labels_use_none(name: str) -> None:
    student, teacher, labels = batch()
    term, chosen = term_of(name), torch.ones(ROWS, dtype=torch.bool)
    losses = []
    for those in (labels, (labels + 1) % CLASSES):
        answers = answers_of(student, teacher, those)
        losses.append(term.rows(answers).sum() if hasattr(term, "rows") else term.among(answers, chosen))
    assert torch.equal(*losses) == (METHODS[name].labels == "unused")


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, FeatureMethod)])
def test_methods_of_features_that_say_so_use_no_labels(name: str) -> None:
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {"embedding": ((16,),), "stages": ((4, 8, 8), (8, 4, 4))}
    method = METHODS[name]()
    assert isinstance(method, FeatureMethod)
    own = shapes.get(method.where, ((8, 4, 4), (16,)) if "and" in method.where else ((8, 4, 4),))
    torch.manual_seed(0)
    labels = torch.arange(ROWS) % CLASSES
    features = tuple(torch.randn(ROWS, *shape) for shape in own)
    other = tuple(torch.randn(ROWS, *shape) for shape in own)
    losses = []
    for those in (labels, (labels + 1) % CLASSES):
        torch.manual_seed(0)
        term = method.term(HintShapes(own, own, labels))
        losses.append(term.loss(Hints(features, other, those, torch.arange(ROWS))))
    assert torch.equal(*losses) == (method.labels == "unused") == (name != "crd")


class OfOneLabel(LogitMethod):
    """A user's method that cannot be taught mixed images."""

    name = "of_one_label"
    formula = source = "none"
    labels = "single"

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return nothing to learn from, [B]."""
        return 0 * student.sum(dim=1)


def test_a_users_method_may_refuse_mixed_images() -> None:
    path = f"{__name__}:OfOneLabel"
    build_objective(TrainingSpec.model_validate({"method": {"name": path}}))
    for method in ({"name": path}, {"name": "fitnet", "beside": path}):
        spec = TrainingSpec.model_validate({"method": method, "data": {"cutmix": 1.0}})
        with pytest.raises(RaykdError, match=r"needs images of one label, and data.cutmix 1 mixes two"):
            build_objective(spec)
