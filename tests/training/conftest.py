"""Teachers that the tests of a module share."""

from __future__ import annotations

from pathlib import Path

import pytest

from raykd.training.messages import TrainRequest
from tests.helpers.specs import plain, request_for, spec, train
from tests.helpers.teachers import requests_of, with_teachers


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A standard teacher after a few epochs: right more often than not, and wrong often enough."""
    folder = tmp_path_factory.mktemp("teachers") / "standard"
    training = {"epochs": 12, "batch_size": 10, "learning_rate": 0.03, "decay": "cosine"}
    reports = train(
        request_for(plain(student={"name": "resnet8", "arguments": {"width": 0.5}}, training=training), folder)
    )
    assert reports[-1].finished
    assert 0.3 < reports[-1].metrics["train_accuracy"] < 0.95
    return folder


@pytest.fixture(scope="session")
def generous_teacher(teacher: Path) -> Path:
    """A generous teacher, taught by the standard one."""
    folder = teacher.parent / "generous"
    generous = spec(
        student={"name": "resnet8", "arguments": {"width": 0.5}},
        training={"epochs": 2, "batch_size": 10, "learning_rate": 0.1, "seed": 3},
        objective={"ce_weight": 1.0, "kd_weight": 1.0, "warmup_epochs": 1},
        method={"name": "dkd", "dkd": {"target_weight": 0.0, "non_target_weight": 1.0}},
        bias={"form": "keep"},
    )
    assert train(request_for(generous, folder, teacher))[-1].finished
    return folder


@pytest.fixture(scope="session")
def cross_fitted(tmp_path_factory: pytest.TempPathFactory) -> list[TrainRequest]:
    """Teachers that each lack a fold, trained; the last request makes one of them."""
    requests = requests_of(with_teachers(tmp_path_factory.mktemp("cross-fitted")))
    for request in requests:
        assert train(request)[-1].finished
    return requests
