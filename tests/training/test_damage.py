"""Bytes that are not what was written are found when they are read, and made again where that can be."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from raykd.data import load_data
from raykd.errors import DamagedError, RaykdError
from raykd.training.classroom import Classroom
from raykd.training.cross_fitting import load_teacher
from raykd.training.folder import CHECKPOINT, DESCRIPTION, PREVIOUS, WEIGHTS, description
from raykd.training.messages import WorkerCommands
from raykd.training.saved import is_whole, load_model
from raykd.training.team import Team
from tests.helpers.specs import request_for, same, spec, state, train


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "student"
    train(request_for(spec(), folder, teacher))
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """A student after two of its three epochs."""
    folder = tmp_path_factory.mktemp("begun") / "student"
    train(request_for(spec(), folder, teacher), epochs=2)
    return folder


@pytest.fixture
def student(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "student"))


def test_two_checkpoints_are_kept_until_the_model_is_finished(begun: Path, undisturbed: Path) -> None:
    assert sorted(path.name for path in begun.iterdir()) == [PREVIOUS, CHECKPOINT]
    histories = [torch.load(begun / name, weights_only=True)["history"] for name in (CHECKPOINT, PREVIOUS)]
    assert [len(history) for history in histories] == [2, 1]
    assert sorted(path.name for path in undisturbed.iterdir()) == [CHECKPOINT, DESCRIPTION, WEIGHTS]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
@pytest.mark.parametrize("both", [False, True])
def test_a_student_whose_checkpoint_is_cut_becomes_the_same(
    student: Path, undisturbed: Path, teacher: Path, share: float, both: bool
) -> None:
    for name in (CHECKPOINT, PREVIOUS)[: 1 + both]:
        cut(student / name, int(share * (student / name).stat().st_size))
    reports = train(request_for(spec(), student, teacher))
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert same(state(student), state(undisturbed))


def test_any_flipped_bit_of_a_checkpoint_is_found_or_does_no_harm(
    begun: Path, undisturbed: Path, teacher: Path, tmp_path: Path
) -> None:
    size = 8 * (begun / CHECKPOINT).stat().st_size
    numbers = random.Random(0)
    for number in range(12):
        student = Path(shutil.copytree(begun, tmp_path / str(number) / "student"))
        flip(student / CHECKPOINT, numbers.randrange(size))
        train(request_for(spec(), student, teacher))
        assert same(state(student), state(undisturbed))


def test_weights_that_are_not_those_that_were_written_are_refused(undisturbed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "student"))
    assert is_whole(folder)
    weights = load_file(folder / WEIGHTS)
    name = next(iter(weights))
    weights[name] = weights[name] * 1.0001
    save_file(weights, folder / WEIGHTS)
    assert not is_whole(folder)
    with pytest.raises(DamagedError, match="are damaged: they are not those that were written"):
        load_model(folder)


@pytest.mark.parametrize("size", [0, 7, 500])
def test_weights_that_were_cut_are_refused(undisturbed: Path, tmp_path: Path, size: int) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "student"))
    cut(folder / WEIGHTS, size)
    assert not is_whole(folder)
    with pytest.raises(DamagedError):
        load_model(folder)


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_damaged_model_is_made_again_from_its_checkpoint(
    undisturbed: Path, teacher: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "student"))
    cut(folder / name, 20)
    room = Classroom(Team())
    reports = room.follow(WorkerCommands(enter=(request_for(spec(), folder, teacher),)))
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert not room.seated, "nothing was left to train"
    assert is_whole(folder)
    assert description(folder) == description(undisturbed)


def test_a_teacher_whose_description_is_damaged_is_nobodys_fault(teacher: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(teacher, tmp_path / "teacher", ignore=shutil.ignore_patterns("bank")))
    accuracy = '"validation_accuracy": 0.'
    content = (damaged / DESCRIPTION).read_text()
    place = content.index(accuracy) + len(accuracy)
    # It is JSON as before, with another figure.
    (damaged / DESCRIPTION).write_text(f"{content[:place]}{(int(content[place]) + 1) % 10}{content[place + 1 :]}")
    assert description(damaged) is None
    with pytest.raises(DamagedError, match=r"model.json is damaged"):
        train(request_for(spec(), tmp_path / "student", damaged))


def test_a_damaged_teacher_is_nobodys_fault(teacher: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(teacher, tmp_path / "teacher", ignore=shutil.ignore_patterns("bank")))
    flip(damaged / WEIGHTS, 8 * ((damaged / WEIGHTS).stat().st_size - 100))
    # The classroom ends with it, and its students keep their seats.
    with pytest.raises(DamagedError):
        train(request_for(spec(), tmp_path / "student", damaged))
    with pytest.raises(RaykdError):
        load_teacher(str(damaged), load_data(spec().data), 0, None, torch.device("cpu"))
