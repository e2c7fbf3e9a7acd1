"""How a generous teacher is taught: the paper's loss and its ablations, in float64 and probabilities."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raykd.config import Experiment, GenerousSettings, TeacherSettings
from raykd.knowledge import Objective
from raykd.training.build import build_objective
from tests.helpers.logit_batches import batch, gradient

few = settings(max_examples=20, deadline=None)


def generous_objective(**settings) -> Objective:
    experiment = Experiment(teacher=TeacherSettings(generous=GenerousSettings(**settings)))
    return build_objective(experiment.generous_teacher_spec())


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return sum(a * (a.log() - b.log()) for a, b in zip(p / p.sum(), q / q.sum(), strict=True))


def reference(generous, standard, labels, epoch: int, distilled) -> torch.Tensor:
    """Cross-entropy plus what is distilled of each sample, after the warm-up of 20 epochs."""
    total = torch.zeros((), dtype=torch.float64)
    for g, t, y in zip(generous.double(), standard.double(), labels.tolist(), strict=True):
        cross_entropy = g.exp().sum().log() - g[y]
        total = total + (cross_entropy + min(epoch / 20, 1) * distilled(g, t, y)) / len(labels)
    return total


def assert_same(objective, generous, standard, labels, epoch: int, distilled) -> None:
    losses = objective(generous, standard, labels, epoch=epoch, epochs=40)
    total = reference(generous, standard, labels, epoch, distilled)
    torch.testing.assert_close(losses.total.double(), total, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(gradient(losses.total, generous), gradient(total, generous), rtol=1e-3, atol=1e-5)


@few
@given(seed=st.integers(0, 10**6), multiplier=st.floats(0.5, 3), weight=st.floats(0.1, 4), epoch=st.integers(0, 30))
def test_generous_loss_is_the_paper_s(seed, multiplier, weight, epoch):
    def non_target(g, t, y):
        rest = [k for k in range(len(t)) if k != y]
        tau_t = multiplier * t.std()
        tau_g = (multiplier * g.std()).maximum(0.1 * tau_t)
        return weight * tau_t**2 * kl((t[rest] / tau_t).exp(), (g[rest] / tau_g).exp())

    objective = generous_objective(multiplier=multiplier, weight=weight, warmup_epochs=20)
    assert_same(objective, *batch(seed), epoch, non_target)


def test_the_defaults_are_the_paper_s():
    def non_target(g, t, y):
        rest = [k for k in range(len(t)) if k != y]
        return t.std() ** 2 * kl((t[rest] / t.std()).exp(), (g[rest] / g.std()).exp())

    for epoch in (0, 5, 20, 39):
        assert_same(generous_objective(), *batch(1), epoch, non_target)


@pytest.mark.parametrize("knowledge", ["non_target", "full", "decoupled"])
@pytest.mark.parametrize("wrong", ["keep", "drop"])
@pytest.mark.parametrize("policy", ["std", "constant"])
def test_ablations_change_what_they_say(knowledge, wrong, policy):
    def distilled(g, t, y):
        if wrong == "drop" and t.argmax() != y:
            return 0.0
        tau_t, tau_g = (1.5 * t.std(), 1.5 * g.std()) if policy == "std" else (3.0, 3.0)
        p, q = (t / tau_t).exp(), (g / tau_g).exp()
        p, q = p / p.sum(), q / q.sum()
        rest = torch.arange(len(t)) != y
        among = kl(p[rest], q[rest])
        target = kl(torch.stack([p[y], 1 - p[y]]), torch.stack([q[y], 1 - q[y]]))
        parts = {"non_target": 2 * among, "full": 2 * kl(p, q), "decoupled": 0.5 * target + 2 * among}
        return tau_t**2 * parts[knowledge]

    objective = generous_objective(
        knowledge=knowledge, wrong=wrong, policy=policy, multiplier=1.5, value=3.0, weight=2.0, target_weight=0.5
    )
    for epoch in (10, 30):
        assert_same(objective, *batch(2), epoch, distilled)


def test_generous_objectives_travel_between_processes():
    objective = generous_objective(weight=2.0)
    student, teacher, labels = batch(13)
    travelled = pickle.loads(pickle.dumps(objective))
    expected = objective(student, teacher, labels, epoch=30, epochs=40)
    assert torch.equal(travelled(student, teacher, labels, epoch=30, epochs=40).total, expected.total)
