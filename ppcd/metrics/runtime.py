"""Wall clock per call and per batch."""

import statistics
import time
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn

from ppcd.base import eval_mode, seeded, weights_dtype


def seconds(
    call: Callable[[], object], repeats: int = 1, warmup: int = 0, device: torch.device | str = "cpu"
) -> list[float]:
    """The wall-clock seconds of each of `repeats` calls, after `warmup` calls that are not timed.

    On a GPU each time ends when the work that the call has queued is done.
    """
    kind, times = torch.device(device).type, []
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(kind, lambda: None)
    for _ in range(warmup + repeats):
        wait()
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return times[warmup:]


def seconds_per_batch(
    G: nn.Module,
    *,
    batch: int = 64,
    repeats: int = 5,
    warmup: int = 1,
    threads: int | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> dict[str, float | int]:
    """The median time in which the generator makes one batch of images, in eval mode, without gradients.

    Args:
        G: put on `device`, and back where it was.
        repeats: timed batches; their median counts.
        warmup: batches before them that are not timed.
        threads: of the CPU; None leaves torch's setting as it is, which is put back in any case.

    Returns:
        seconds_per_batch, batch, threads, repeats.
    """
    device, home = torch.device(device), next(chain(G.parameters(), G.buffers())).device
    generator = seeded(seed)
    z = torch.randn(batch, int(G.dim_z), generator=generator).to(device, weights_dtype(G))  # type: ignore[arg-type]
    y = torch.randint(int(G.num_classes), (batch,), generator=generator).to(device)  # type: ignore[arg-type]
    threads_before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or threads_before)
        G.to(device)
        with eval_mode(G), torch.no_grad():
            times = seconds(lambda: G(z, y), repeats, warmup, device)
    finally:
        G.to(home)
        torch.set_num_threads(threads_before)
    return {
        "seconds_per_batch": statistics.median(times),
        "batch": batch,
        "threads": threads or threads_before,
        "repeats": repeats,
    }
