"""Trainings under every augmentation at once: alone, in a class, interrupted, replayed and from the bank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raykd.config import TrainingSpec
from raykd.data import WholeViews, load_data, training_batches
from raykd.training.bank.bank import Bank
from raykd.training.classroom import Classroom
from raykd.training.folder import description
from raykd.training.saved import load_model
from raykd.training.teacher import Teacher
from raykd.training.team import Team
from tests.helpers.specs import of, plain, request_for, same, spec, state, train

STRONG: dict[str, Any] = {
    "augment": {"policy": "randaugment", "color_jitter": 0.3, "erasing": 0.3, "resized_crop": 0.5},
    "mixup": 0.4,
    "cutmix": 1.0,
}
TRAINING = {"batch_size": 30, "label_smoothing": 0.1}


def strong(**sections: dict[str, Any]) -> TrainingSpec:
    return spec(**{"data": STRONG, "training": TRAINING, **sections})


@pytest.mark.parametrize("stacking", ["off", "on"])
def test_a_class_an_interruption_and_a_replay_change_nothing(tmp_path: Path, teacher: Path, stacking: str) -> None:
    training = TRAINING | {"stacking": stacking}
    first = request_for(plain(data=STRONG, training=training), tmp_path / "first")
    late = request_for(strong(training=training), tmp_path / "late", teacher)
    room = Classroom(Team())
    train(first, classroom=room, epochs=1)
    told = of(train(late, classroom=room, epochs=1), "late")
    told += of(train(request_for(plain(data=STRONG), tmp_path / "other"), classroom=room), "late")
    assert told[-1].finished
    content = description(tmp_path / "late")
    assert content is not None
    if stacking == "off":
        again = replace(request_for(strong(), tmp_path / "again" / "late", teacher), views=tuple(content["views"]))
        train(again, epochs=2)
        replayed = train(again)
        assert [report.weights for report in replayed] == [report.weights for report in told]
        assert same(state(tmp_path / "again" / "late")["network"], state(tmp_path / "late")["network"])
    assert content["data"]["augmentation"]["cutmix"] == 1.0
    assert 0 < told[-1].metrics["train_accuracy"] < 1
    undisturbed = train(request_for(strong(data=STRONG | {"mixup": 0.1}), tmp_path / "another", teacher))
    assert undisturbed[-1].weights != told[-1].weights


def test_the_banks_answers_are_those_to_the_images_that_students_see(tmp_path: Path, teacher: Path) -> None:
    data = load_data(strong().data)
    images = training_batches(data, batch_size=30)
    assert isinstance(images, WholeViews)
    device = torch.device("cpu")
    taught_by = Teacher(str(teacher), data.info, None, device)
    bank = Bank(strong().bank, taught_by, images, data.info, Team())
    network = load_model(teacher)
    for view in (1, 2):
        answers = bank.answers(view)
        for batch in images.epoch(view):
            with torch.no_grad():
                torch.testing.assert_close(answers[batch.indices], network(batch.pixels), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(bank.answers(1), bank.answers(2))
    for mode in ("on", "off"):
        reports = train(request_for(strong(bank={"mode": mode}), tmp_path / mode, teacher))
        assert reports[-1].metrics["banked"] == float(mode == "on")
    banked, live = (state(tmp_path / mode)["network"] for mode in ("on", "off"))
    assert all(torch.allclose(banked[name], live[name], rtol=2e-4, atol=2e-4) for name in live)


def test_images_are_loaded_once_for_all_augmentations(tmp_path: Path) -> None:
    room = Classroom(Team())
    specs = [plain(data=STRONG | {"mixup": alpha}) for alpha in (0.0, 0.1, 0.2)]
    train(*[request_for(what, tmp_path / str(n)) for n, what in enumerate(specs)], classroom=room, epochs=1)
    assert (len(room._images), len(room._groups)) == (1, 3)
