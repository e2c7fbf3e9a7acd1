"""Every example of docs/losses.md runs as it stands, in the training loops of other libraries as well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs/losses.md").read_text()
LONGEST = 30
"""Lines of an example."""


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)


def run(title: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the example below a title; returns its names."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(example.splitlines()) <= LONGEST
    names = {"__name__": "example"} if names is None else names
    exec(compile(example, title, "exec"), names)
    return names


def test_pytorch_and_features(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("PyTorch")
    run("Methods that compare features", names)
    value, shapes = capsys.readouterr().out.splitlines()
    assert float(value) > 0
    assert shapes.startswith("torch.Size([8, 10]) [") and "'features'" in shapes


def test_lightning() -> None:
    trainer = run("PyTorch Lightning")["trainer"]
    module = trainer.lightning_module
    assert trainer.current_epoch == 2
    assert trainer.callback_metrics["features"] > 0
    assert module.student.training and not module.teacher.training
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    # The projections of the method itself are trained, too.
    assert all(parameter.grad is not None for parameter in module.loss.parameters())


def test_hugging_face_trainer() -> None:
    trainer = run("Hugging Face Trainer")["trainer"]
    assert trainer.state.epoch == 2
    assert trainer.state.log_history[-1]["train_loss"] > 0
    assert not trainer.teacher.training and all(parameter.grad is None for parameter in trainer.teacher.parameters())
    # The loss is that of the present epoch, in evaluation as well.
    inputs = trainer.data_collator(trainer.train_dataset)
    with torch.no_grad():
        loss, answers = trainer.compute_loss(trainer.model.eval(), inputs, return_outputs=True)
        taught = trainer.teacher(inputs["pixel_values"])
    assert loss == trainer.distillation(answers.logits, taught.logits, inputs["labels"], epoch=2)


def test_timm(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("timm")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 0", "epoch 1"]
    assert names["losses"].avg > 0
    assert all(parameter.grad is not None for parameter in names["student"].parameters())
    assert all(parameter.grad is None for parameter in names["teacher"].parameters())


def test_the_page_has_no_example_that_is_not_run() -> None:
    assert PAGE.count("```python") == 5
