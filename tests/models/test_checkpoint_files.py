"""Checkpoints as trainers write them: the weights are found wherever they lie, or a clean sentence says what to do."""

from __future__ import annotations

import argparse
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raykd.config import ModelSettings
from raykd.errors import RaykdError
from raykd.models import build_model
from raykd.models.build import build_pretrained
from raykd.models.checkpoint_files import read_checkpoint_file

State = dict[str, Tensor]


class Own:
    """A class of the user's, beside the weights."""


def network(seed: int = 0, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    settings = ModelSettings(name="resnet8", arguments={"width": 0.25, **arguments})
    return build_model(settings, num_classes=10, in_channels=1)


def pretrained(settings: ModelSettings, *, num_classes: int, in_channels: int) -> nn.Module:
    return build_pretrained(settings, num_classes=num_classes, in_channels=in_channels)[0]


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


OTHER = network(1).state_dict()
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}

WRAPPED: dict[str, Callable[[State], Any]] = {
    "alone": lambda state: state,
    "Lightning, with a criterion": lambda state: {
        "state_dict": under("model.", state) | {"criterion.weight": torch.ones(10)},
        "hyper_parameters": argparse.Namespace(lr=0.1),
    },
    "net.": lambda state: under("net.", state),
    "student.": lambda state: under("student.", state),
    "a prefix that nobody knows": lambda state: under("wrapped.backbone_7.", state),
    "compiled in data parallel": lambda state: {"state_dict": under("module._orig_mod.", state)},
    "averaged": lambda state: {"n_averaged": torch.tensor(7)} | under("module.", state),
    "a student beside a larger teacher": lambda state: {
        "state_dict": under("student.", state) | under("teacher.", network(width=0.5).state_dict())
    },
    "three deep": lambda state: {"checkpoint": {"trainer": {"weights": state}}, "epoch": 3},
    "parts": lambda state: {
        first: {name.removeprefix(f"{first}."): t for name, t in state.items() if name.startswith(f"{first}.")}
        for first in dict.fromkeys(name.partition(".")[0] for name in state)
    },
    "a pair": lambda state: (state, {"epoch": 3}),
    "beside numbers": lambda state: state | {"epoch": 3, "best": 0.7},
    "argparse": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, path=Path("runs"))},
    "numpy": lambda state: {"net": state, "acc": np.float64(92.5), "curve": np.arange(3.0), "n": np.int64(3)},
    "a date": lambda state: {"net": OrderedDict(state), "saved": datetime(2026, 11, 27), "took": timedelta(hours=2)},
    "an optimizer": lambda state: {"optimizer": OPTIMIZER, "model": state, "scheduler": {"last": 3}},
    "twice the same": lambda state: {"model": state, "state_dict": {name: t.clone() for name, t in state.items()}},
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("wrapping", WRAPPED)
def test_weights_are_found_in_whatever_wraps_them(
    wrapping: str, exact: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = network().state_dict()
    torch.save(WRAPPED[wrapping](state), tmp_path / "wrapped.pth")
    build = pretrained if exact else build_model
    settings = ModelSettings(name="resnet8", arguments={"width": 0.25}, weights=str(tmp_path / "wrapped.pth"))
    loaded = build(settings, num_classes=10, in_channels=1).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert not caplog.records


SEVERAL: dict[str, tuple[Callable[[State], Any], str, str]] = {
    "averaged weights beside": (
        lambda state: {"state_dict_ema": OTHER, "state_dict": state},
        "state_dict",
        "state_dict_ema",
    ),
    "the file's order": (lambda state: {"first": state, "last": OTHER}, "first", "last"),
    "student and teacher": (
        lambda state: {"state_dict": under("student.", state) | under("teacher.", OTHER)},
        "state_dict.student",
        "state_dict.teacher",
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_of_several_it_says_which_was_taken_and_another_can_be_chosen(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrap, taken, left = SEVERAL[case]
    state, file = network().state_dict(), tmp_path / "several.pth"
    torch.save(wrap(state), file)

    def loaded(key: str | None) -> State:
        settings = ModelSettings(name="resnet8", arguments={"width": 0.25}, weights=str(file), weights_key=key)
        return pretrained(settings, num_classes=10, in_channels=1).state_dict()

    with caplog.at_level(logging.WARNING):
        assert torch.equal(loaded(None)["conv1.weight"], state["conv1.weight"])
    (record,) = caplog.records
    assert f"`{taken}` is taken; `{left}` would fit, too: choose by weights_key" in record.getMessage()
    caplog.clear()
    assert torch.equal(loaded(left)["conv1.weight"], OTHER["conv1.weight"])
    assert torch.equal(loaded(taken)["conv1.weight"], state["conv1.weight"])
    assert not caplog.records
    with pytest.raises(RaykdError, match=rf"unknown weights_key '{left}s' in .*: did you mean '{left}'\?"):
        loaded(f"{left}s")


def test_a_deeper_networks_weights_are_called_so_within_any_wrapping(tmp_path: Path) -> None:
    deeper = build_model(ModelSettings(name="resnet14", arguments={"width": 0.25}), num_classes=10, in_channels=1)
    torch.save({"state_dict": under("net.model.", deeper.state_dict())}, tmp_path / "deeper.pth")
    settings = ModelSettings(name="resnet8", arguments={"width": 0.25}, weights=str(tmp_path / "deeper.pth"))
    with pytest.raises(RaykdError, match=r"unknown layer1.1.conv1.weight, .*\n.*deeper model's"):
        build_pretrained(settings, num_classes=10, in_channels=1)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_class_that_is_not_allowed_is_named(legacy: bool, tmp_path: Path) -> None:
    content = {"model": network().state_dict(), "config": Own()}
    torch.save(content, tmp_path / "own.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(RaykdError) as refused:
        read_checkpoint_file(tmp_path / "own.pth")
    first, second = str(refused.value).split("\n")
    assert f"the file holds objects of the class {__name__}.Own, and reading them could run code" in first
    assert second.startswith("save the state dict alone, by torch.save(network.state_dict(), FILE)")
    assert "\x1b" not in str(refused.value)


@pytest.mark.filterwarnings("ignore")
def test_other_files_are_refused_without_codes_for_colours(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(RaykdError, match=r"is a program of TorchScript\nload it by torch.jit.load"):
        read_checkpoint_file(tmp_path / "program.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(RaykdError, match=r"of the class torch.nn.modules.linear.Linear, .*\nsave the state dict"):
        read_checkpoint_file(tmp_path / "whole.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("entry", ["conv1.weight", "bn1.running_var"])
def test_weights_that_are_not_finite_are_refused(value: float, entry: str, tmp_path: Path) -> None:
    state = network().state_dict()
    state[entry].view(-1)[0] = value
    torch.save(state, tmp_path / "diverged.pth")
    settings = ModelSettings(name="resnet8", arguments={"width": 0.25}, weights=str(tmp_path / "diverged.pth"))
    for build in (build_model, pretrained):
        with pytest.raises(RaykdError, match=rf"the weights are not finite: .* in {entry}\n.*training that diverged"):
            build(settings, num_classes=10, in_channels=1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"best_acc": torch.tensor(72.34)}, 0.7234),
        ({"acc": np.float32(0.925)}, 0.925),
        ({"epoch": 240, "metrics": {"val_acc": 61.0, "top1": 60.0}}, 0.61),
        ({"val_accuracy": 1.0}, 1.0),
        ({"epoch": 1, "accuracies": 3, "lr": 0.1}, None),
        ({"acc": 0.0}, None),
        ({"acc": 1234.0}, None),
    ],
)
def test_the_accuracy_that_a_file_tells(content: dict[str, Any], expected: float | None, tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(2)}} | content, tmp_path / "told.pth")
    told = read_checkpoint_file(tmp_path / "told.pth").accuracy
    assert (told and told[1]) == (None if expected is None else pytest.approx(expected))
