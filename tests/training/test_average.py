"""The moving average of a student's weights: what it is, and that it is what is judged, kept and gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raykd.data import load_data
from raykd.training.average import WeightAverage, decay_at
from raykd.training.classroom import Classroom
from raykd.training.folder import description
from raykd.training.saved import load_model
from raykd.training.team import Team
from tests.helpers.networks import Normed
from tests.helpers.specs import assert_close, of, plain, request_for, same, spec, state, train

EMA = {"ema": 0.9, "learning_rate": 0.05}


def moved(network: nn.Module) -> None:
    """As a step of training moves weights and running statistics."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)


def test_it_is_torchs_average_once_its_decay_has_risen() -> None:
    torch.manual_seed(0)
    network = Normed(num_classes=3)
    # The first step keeps a tenth in any case.
    ours = WeightAverage(network, 0.1)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.1), use_buffers=True)
    theirs.update_parameters(network)
    for _ in range(4):
        moved(network)
        ours.update()
        theirs.update_parameters(network)
    counted = "norm.num_batches_tracked"
    expected = theirs.module.state_dict() | {counted: torch.tensor(4)}
    for name, tensor in ours.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


def test_early_steps_keep_less_so_that_the_initial_weights_are_soon_forgotten() -> None:
    decays = [decay_at(step, 0.999) for step in range(20_000)]
    assert decays[:2] == [1 / 10, 2 / 11] and decays[-1] == 0.999
    assert sorted(decays) == decays
    initial = torch.tensor(decays[:12], dtype=torch.float64).prod()
    assert initial < 1e-4  # of the initial weights, after twelve steps
    assert [decay_at(step, 0.05) for step in range(3)] == [0.05] * 3


def test_the_average_is_judged_and_kept_and_nothing_disturbs_it(tmp_path: Path, teacher: Path) -> None:
    what = spec(training=EMA)
    alone = train(request_for(what, tmp_path / "alone", teacher))
    found = state(tmp_path / "alone")
    average = found["average"]["network"]

    # The finished model is the average, and what was reported is what it answers; the raw weights are beside it.
    model = load_model(tmp_path / "alone")
    assert same(dict(model.network.state_dict()), average)
    assert not same(found["network"], average)
    validation = load_data(what.data).split("validation")
    images, labels = validation.images.float() / 255, validation.labels
    metrics = alone[-1].metrics
    assert metrics["validation_accuracy"] == pytest.approx((model.predict(images) == labels).double().mean().item())
    model.network.load_state_dict(found["network"])
    raw = (model.predict(images) == labels).double().mean().item()
    assert metrics["validation_accuracy_raw"] == pytest.approx(raw)
    assert alone[-1].weights == description(tmp_path / "alone")["weights"]

    # Training itself is that of a student without an average.
    without = train(request_for(spec(training={"learning_rate": 0.05}), tmp_path / "without", teacher))
    assert same(found["network"], state(tmp_path / "without")["network"])
    assert "validation_accuracy_raw" not in without[-1].metrics and "average" not in state(tmp_path / "without")

    # In a class, interrupted, and replayed it is the same to the bit.
    classroom = Classroom(Team())
    train(request_for(what, tmp_path / "resumed", teacher), request_for(plain(), tmp_path / "beside"), epochs=1)
    together = [request_for(what, tmp_path / "resumed", teacher), request_for(plain(), tmp_path / "beside")]
    train(*together, classroom=classroom)
    assert same(state(tmp_path / "resumed"), state(tmp_path / "alone"))
    again = replace(request_for(what, tmp_path / "again", teacher), views=(0, 1, 2))
    assert [report.weights for report in train(again)] == [report.weights for report in alone]


def test_in_a_stack_each_student_has_an_average_of_its_own_or_none(tmp_path: Path, teacher: Path) -> None:
    settings = {"one": EMA, "two": EMA | {"ema": 0.5, "seed": 3}, "none": {"learning_rate": 0.05}}
    specs = {name: spec(training=training) for name, training in settings.items()}
    stacked = [
        request_for(spec(training=training | {"stacking": "on"}), tmp_path / "stacked" / name, teacher)
        for name, training in settings.items()
    ]
    reports = train(*stacked)
    for name, what in specs.items():
        expected = train(request_for(what, tmp_path / name, teacher))[-1].metrics
        told = of(reports, name)[-1].metrics
        assert told["stack_size"] == 3
        assert_close(tmp_path / "stacked" / name, tmp_path / name, 2e-4)
        ours, theirs = (load_model(folder / name).state_dict() for folder in (tmp_path / "stacked", tmp_path))
        for key, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[key], rtol=2e-4, atol=2e-4)
        raw = [key for key in told if key.endswith("_raw")]
        assert raw == ([] if name == "none" else ["validation_accuracy_raw"])
        assert told["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-3)
        assert [told[key] for key in raw] == pytest.approx([expected[key] for key in raw])
