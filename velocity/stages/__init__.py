"""The DVC stages: each module reads params and inputs, calls the package, writes outputs, and does nothing else."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress

# NumPy's products here are small: threads of its own would only fight with those that read audio and those of PyTorch.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# PyTorch's tensors in pages of 2 MiB: where a page fault is slow, the first step of a training takes seconds less.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def run(stage: Callable[[], None]) -> None:
    """Run a stage as a command: a user's mistake, damaged input or a full disk is one line on stderr, exit status 2."""
    from velocity.errors import VelocityError
    from velocity.stages.integrity import check_inputs

    keep_memory()
    try:
        check_inputs(os.environ.get("DVC_STAGE"))
        stage()
    except Exception as error:
        if os.environ.get("VELOCITY_DEBUG") or not (isinstance(error, VelocityError) or is_full(error)):
            raise
        advice = "; make room and give the same command again" if is_full(error) else ""
        print(f"error: {error}{advice}", file=sys.stderr)
        sys.exit(2)


def is_full(error: Exception) -> bool:
    """Whether the disk has no room for the file that was being written. (Safetensors tells that in words.)"""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"(os error {number})" in str(error) for number in FULL)


def keep_memory() -> None:
    """Have glibc keep freed memory for the next step of a training instead of handing it back to the kernel.

    Large blocks otherwise go back at each step and come again page by page: up to half of the time of a training.
    """
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 1 << 26)):
            libc.mallopt(option, value)
