"""Memory: glibc's allocator told to keep what is freed, and the most that was in use."""

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import torch

# glibc's malloc gives freed memory back and faults it in again, thousands of pages a step. mallopt's parameters
# (malloc.h) that keep it, and their values, which are C integers: no number of a training changes.
OPTIONS = ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


def keep_freed() -> bool:
    """Let this process keep what it frees; False where the system or its C library cannot."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in OPTIONS)


def reset_peak(device: str) -> None:
    """Have `peak_memory` count from here on."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # elsewhere the peak is that of the whole process, the first step included
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int:
    """Bytes that were in use at most: of this process, or allocated on a CUDA GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
