"""Errors of a device end the worker, want of memory costs a seat, and only what is left is a student's own fault."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from raykd.config import TrainingSpec
from raykd.errors import StorageError
from raykd.training.classroom import Classroom
from raykd.training.faults import ends_worker, is_device_error, is_out_of_memory
from raykd.training.folder import description
from raykd.training.messages import TrainRequest, WorkerCommands
from raykd.training.team import Team
from tests.helpers.networks import Raises
from tests.helpers.specs import of, plain, request_for, same, spec, state, train

STICKY = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"


DEVICE = [
    torch.AcceleratorError(STICKY),
    RuntimeError("CUDA driver error: unknown error"),
    RuntimeError("HIP error: unspecified launch failure"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
]
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]
OWN = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (64x10 and 12x10)"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a strided input"),
    ValueError("CUDA error: said by somebody else"),
]


@pytest.mark.parametrize("error", DEVICE, ids=str)
def test_errors_of_a_device_end_the_worker(error: Exception) -> None:
    assert is_device_error(error) and ends_worker(error) and not is_out_of_memory(error)


@pytest.mark.parametrize("error", MEMORY, ids=repr)
def test_want_of_memory_does_not(error: Exception) -> None:
    assert is_out_of_memory(error) and not ends_worker(error)


def test_the_cpus_allocator_is_understood() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize("error", OWN, ids=str)
def test_all_else_is_a_students_own(error: Exception) -> None:
    assert not is_out_of_memory(error) and not ends_worker(error)


def test_a_full_disk_ends_the_worker_too() -> None:
    assert ends_worker(StorageError("/disk cannot be written"))


def raising(error: str, when: str = "training", count: int = 1) -> TrainingSpec:
    """A student whose network raises an error of `networks.ERRORS`, so often."""
    Raises.left[error] = count
    return plain(student={"name": "tests.helpers.networks:Raises", "arguments": {"error": error, "when": when}})


def commands(*requests: TrainRequest) -> WorkerCommands:
    return WorkerCommands(enter=requests, learn=tuple(request.ticket for request in requests))


@pytest.mark.parametrize("when", ["building", "training", "evaluating"])
def test_a_device_error_is_raised_and_blamed_on_no_student(tmp_path: Path, when: str) -> None:
    requests = request_for(raising("device", when), tmp_path / "sick"), request_for(plain(), tmp_path / "well")
    classroom, wanted = Classroom(Team()), commands(*requests)
    with pytest.raises(torch.AcceleratorError) as raised:
        classroom.follow(wanted)
    fault = classroom.fault(raised.value, wanted)
    assert fault is not None
    assert fault.device and fault.suspects is None and fault.reports == ()
    assert "AcceleratorError: CUDA error: an illegal memory access" in fault.reason and "\n" not in fault.reason
    # In another process both are trained as if nothing had been.
    reports = train(*requests)
    assert [report.failure for report in reports] == [None] * 6


def test_a_full_disk_is_raised_and_blamed_on_no_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_for(plain(), tmp_path / "student")
    classroom, wanted = Classroom(Team()), commands(request)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError) as raised:
        classroom.follow(wanted)
    fault = classroom.fault(raised.value, wanted)
    assert fault is not None
    assert fault.suspects == ()
    assert fault.reason == f"{tmp_path / 'student'} cannot be written: No space left on device"


@pytest.mark.parametrize("when", ["building", "training", "evaluating"])
def test_whoever_finds_no_memory_beside_others_leaves_and_is_trained_later(tmp_path: Path, when: str) -> None:
    well = request_for(plain(), tmp_path / "well")
    large = request_for(raising("memory", when), tmp_path / "large")
    classroom = Classroom(Team())
    reports = classroom.follow(commands(well, large))
    (told,) = of(list(reports), "large")
    assert told.crowded and told.failure is not None
    assert told.failure.startswith("torch.OutOfMemoryError: CUDA out of memory")
    assert [report.failure for report in of(list(reports), "well")] == [None]
    assert classroom.seated == (well.ticket,)
    train(classroom=classroom)
    assert train(large, classroom=classroom)[-1].finished


@pytest.mark.parametrize("when", ["building", "training", "evaluating"])
def test_whoever_finds_no_memory_alone_has_failed(tmp_path: Path, when: str) -> None:
    large = request_for(raising("memory", when), tmp_path / "large")
    (told,) = Classroom(Team()).follow(commands(large))
    assert not told.crowded and told.failure is not None and "out of memory" in told.failure


def test_what_others_have_left_behind_is_forgotten_before_a_student_is_too_large(tmp_path: Path, teacher: Path) -> None:
    classroom = Classroom(Team())
    train(request_for(spec(), tmp_path / "before", teacher), classroom=classroom)
    large = request_for(raising("memory", "building", count=2), tmp_path / "large")
    (first,) = classroom.follow(commands(large))
    (second,) = classroom.follow(commands(large))
    assert (first.crowded, second.crowded) == (True, False)


def test_a_stack_that_finds_no_memory_leaves_and_is_trained_in_parts(tmp_path: Path) -> None:
    stacked = raising("memory", "backward")
    stacked = stacked.model_copy(update={"training": stacked.training.model_copy(update={"stacking": "on"})})
    requests = [request_for(stacked, tmp_path / name) for name in ("one", "two")]
    classroom = Classroom(Team())
    Raises.left["memory"] = 0
    reports = classroom.follow(commands(*requests))
    assert [report.metrics["stack_size"] for report in reports] == [2, 2]
    Raises.left["memory"] = 1
    reports = classroom.follow(WorkerCommands(learn=classroom.seated))
    assert [report.crowded for report in reports] == [True, True]
    assert classroom.seated == ()
    for request in requests:
        assert train(request, classroom=classroom)[-1].finished


def test_an_interrupted_epoch_leaves_no_trace(tmp_path: Path) -> None:
    """A student that had to leave in the middle of an epoch goes on from its last whole one."""
    well = request_for(plain(), tmp_path / "well")
    large = request_for(raising("memory", "evaluating"), tmp_path / "large")
    undisturbed = request_for(raising("memory", "evaluating"), tmp_path / "undisturbed")
    Raises.left["memory"] = 0
    train(undisturbed)
    Raises.left["memory"] = 1
    Classroom(Team()).follow(commands(well, large))
    assert description(tmp_path / "large") is None
    train(large)
    assert same(state(tmp_path / "large"), state(tmp_path / "undisturbed"))
