"""The DVC stages: each module reads params and inputs, calls the package, writes outputs, and does nothing else."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress

# NumPy's products here are small: threads of its own would only fight with those that read audio and those of PyTorch.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# PyTorch's tensors in pages of 2 MiB: where a page fault is slow, the first step of a training takes seconds less.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def run(stage: Callable[[], None]) -> None:
    """Run a stage as a command: a user's mistake, or damaged input, becomes one line on stderr and exit status 2."""
    from velocity.errors import VelocityError
    from velocity.stages.integrity import check_inputs

    keep_memory()
    try:
        check_inputs(os.environ.get("DVC_STAGE"))
        stage()
    except VelocityError as error:
        if os.environ.get("VELOCITY_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def keep_memory() -> None:
    """Have glibc keep freed memory for the next step of a training instead of handing it back to the kernel.

    Large blocks otherwise go back at each step and come again page by page: up to half of the time of a training.
    """
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 1 << 26)):
            libc.mallopt(option, value)
