"""glibc's allocator, told to keep what is freed."""

import ctypes
import sys

# glibc's malloc gives freed memory back and faults it in again, thousands of pages a step; these keep it, in huge
# pages where there are any. Two trainings side by side are a fifth faster so, and no number changes.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

# mallopt's parameters (malloc.h) and values, which are C integers
OPTIONS = ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


def keep_freed() -> bool:
    """Let this process keep what it frees, as `ENVIRONMENT` lets one that starts (but for huge pages).

    Returns:
        whether the allocator took it; other systems and C libraries have none of it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in OPTIONS)
