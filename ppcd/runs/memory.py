"""glibc's allocator, told to keep what is freed."""

import ctypes
import sys

# glibc's malloc gives freed memory back and faults it in again, thousands of pages a step. mallopt's parameters
# (malloc.h) that keep it, and their values, which are C integers: no number of a training changes.
OPTIONS = ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


def keep_freed() -> bool:
    """Let this process keep what it frees; False where the system or its C library cannot."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in OPTIONS)
