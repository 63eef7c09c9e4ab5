"""The DVC stages: each module reads params and inputs, calls the package, writes outputs, and does nothing else."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress

# Set before anything imports NumPy or PyTorch.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's products are small here; its threads would only compete
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # tensors in pages of 2 MiB: fewer page faults in the first steps
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # warnings to developers of training loops
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait stall a busy machine

WRITTEN = ("data/", "models/", "reports/")  # by stages
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def run(stage: Callable[[], None]) -> None:
    """Run a stage as a command: a user's mistake, damaged input or a full disk is one line on stderr, exit status 2."""
    from velocity.errors import notes_on_stderr

    keep_memory()
    try:
        with notes_on_stderr(repeat=False):
            stage()
    except Exception as error:
        if os.environ.get("VELOCITY_DEBUG") or (message := advice(error)) is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def advice(error: Exception) -> str | None:
    """A line for the user, or None for what is no mistake of theirs."""
    from velocity.errors import VelocityError

    if is_full(error):
        return f"{error}; free some space and run the same command again"
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith(WRITTEN):
        return f"{error.filename}: no such file; `dvc repro` runs the stages that make it"
    return str(error) if isinstance(error, VelocityError) else None


def is_full(error: Exception) -> bool:
    """Whether there was no room for the file that was being written. Safetensors names it in its message alone."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"(os error {number})" in str(error) for number in FULL)


def keep_memory() -> None:
    """Have glibc keep freed memory for the next step of a training instead of returning it to the kernel.

    Otherwise large blocks are returned at each step and fault in again page by page: up to half of a training's time.
    """
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 1 << 26)):
            libc.mallopt(option, value)
