"""A student that is taught again by the views it saw becomes the same to the bit, and its digest says so."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raykd.training.classroom import Classroom
from raykd.training.folder import WEIGHTS, description
from raykd.training.saved import weights_digest
from raykd.training.team import Team
from tests.helpers.specs import of, plain, request_for, spec, train


def digest_of_file(folder: Path) -> str:
    """The digest of a finished model, from the file itself and with numpy."""
    digest = hashlib.sha256()
    for name, array in sorted(safetensors.numpy.load_file(folder / WEIGHTS).items()):
        dtype = {"float32": "torch.float32", "int64": "torch.int64"}[str(array.dtype)]
        shape = "(" + ", ".join(map(str, array.shape)) + ("," if array.ndim == 1 else "") + ")"
        digest.update(f"{name}:{dtype}:{shape};".encode() + array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("student", ["resnet8", "tests.helpers.networks:WithDropout"])
def test_a_student_that_came_late_is_replayed_alone(tmp_path: Path, teacher: Path, student: str) -> None:
    taught_like_this = spec(student={"name": student}, training={"seed": 3})
    first = request_for(plain(), tmp_path / "first")
    late = request_for(taught_like_this, tmp_path / "late", teacher)
    classroom = Classroom(Team())
    train(first, classroom=classroom, epochs=2)
    told = of(train(late, classroom=classroom), "late")
    views = description(tmp_path / "late")["views"]
    assert views == [2, 0, 1]

    again = replace(request_for(taught_like_this, tmp_path / "again", teacher), views=tuple(views))
    replayed = train(again)
    assert [report.weights for report in replayed] == [report.weights for report in told]
    assert len({report.weights for report in told}) == 3
    assert description(tmp_path / "again")["views"] == views

    usual = train(request_for(taught_like_this, tmp_path / "usual", teacher))
    assert usual[-1].weights != told[-1].weights


def test_whoever_sees_views_of_its_own_leaves_the_class_as_it_is(tmp_path: Path, teacher: Path) -> None:
    alone = train(request_for(plain(), tmp_path / "alone"))
    beside = request_for(plain(), tmp_path / "beside")
    own = replace(request_for(spec(), tmp_path / "own", teacher), views=(1, 1, 0))
    together = train(beside, own)
    assert [report.weights for report in of(together, "beside")] == [report.weights for report in alone]
    assert [report.metrics["view"] for report in of(together, "own")] == [1, 1, 0]
    assert {report.metrics["class_size"] for report in together} == {1}


def test_an_interrupted_replay_goes_on_with_its_views(tmp_path: Path, teacher: Path) -> None:
    whole = train(replace(request_for(spec(), tmp_path / "whole", teacher), views=(2, 0, 1)))
    parts = replace(request_for(spec(), tmp_path / "parts", teacher), views=(2, 0, 1))
    train(parts, epochs=1)
    resumed = train(parts)
    assert [report.weights for report in resumed] == [report.weights for report in whole]


def test_the_digest_is_that_of_the_finished_models_file(tmp_path: Path) -> None:
    *_, last = train(request_for(plain(), tmp_path / "student"))
    assert last.weights == digest_of_file(tmp_path / "student") == description(tmp_path / "student")["weights"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2), st.integers(0, 30), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_one_bit_makes_another_digest(which: int, element: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    state = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(4, 3)).to(dtype).state_dict()
    before = weights_digest(state)
    tensor = list(state.values())[which]
    flat = tensor.view(-1).view(torch.uint8)
    flat[element % len(flat)] ^= 1
    assert weights_digest(state) != before


def test_order_and_memory_layout_make_no_other_digest() -> None:
    torch.manual_seed(0)
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    other = {name: state[name].clone() for name in reversed(state)}
    other["0.weight"] = other["0.weight"].contiguous(memory_format=torch.channels_last)
    assert weights_digest(other) == weights_digest(state)
    renamed = {f"network.{name}": tensor for name, tensor in state.items()}
    assert weights_digest(renamed) != weights_digest(state)
