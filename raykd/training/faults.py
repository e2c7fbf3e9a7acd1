"""Whose fault an error is: a student's own, the memory's, in which too many students sit, or the machine's."""

from __future__ import annotations

import re

import torch

from raykd.errors import StorageError

MEMORY_ALLOCATION = 2
"""`cudaErrorMemoryAllocation`, and `hipErrorOutOfMemory`."""

OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CU(BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED"
)
"""What torch, CUDA's libraries and the CPU's allocator say in errors that have no type of their own."""

DEVICE = re.compile(
    r"\b(CUDA|HIP|XPU|MPS)( driver)? error\b|Triton Error \[|"
    r"\b(CU|HIP|MI|ROC)[A-Z]*_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED|ARCH_MISMATCH)"
)
"""What errors of a device say that come as plain `RuntimeError`: those of libraries, drivers and compiled kernels."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory was too small, the device's or the node's; the process can go on."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, torch.AcceleratorError) and getattr(error, "error_code", None) == MEMORY_ALLOCATION:
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def is_device_error(error: BaseException) -> bool:
    """Whether a device failed other than by want of memory: whatever the process asks it from then on fails, too."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and DEVICE.search(str(error)) is not None
    )


def ends_worker(error: BaseException) -> bool:
    """Whether an error is the machine's, so that the process must end and its students go on elsewhere."""
    return isinstance(error, StorageError) or is_device_error(error)
