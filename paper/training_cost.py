"""What a training would take on this machine: memory and time of real optimisation steps, and what follows from them.

A step is one of `ppcd.training.trainer.Trainer` itself, with all networks at the profile's size: teacher, student,
discriminator, masks. Each batch size has its own process: its peak memory is its own, and where it does not fit, only
that process dies.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from ppcd.base import PpcdError
from ppcd.metrics.runtime import seconds
from ppcd.progress import say
from ppcd.runs.memory import peak_memory, reset_peak
from ppcd.runs.pool import separate_processes
from ppcd.runs.trials import trial_trainer
from ppcd.training.profiles import Profile
from ppcd.training.trainer import Trainer

RECIPE = "ppcd"
BATCHES = {"cpu": (2, 4, 8), "cuda": (8, 16, 32, 64, 128)}  # as far as the memory goes
STEPS = 3  # timed ones, after one that is not
IMAGES = 8
DAY = 86_400  # seconds


def step_trainer(profile: Profile, batch: int, device: str = "cpu", seed: int = 0) -> Trainer:
    """The trainer of joint PPCD-GAN at the profile's size, for batches of `batch` without accumulation.

    Its images are random and all of one class, and the teacher has fresh weights: a step costs the same, and the
    teacher measures the statistics of one class and not of a thousand.
    """
    small = replace(profile, batch_size=batch, accumulations=1)
    return trial_trainer(small, RECIPE, torch.zeros(IMAGES, dtype=torch.int64), seed=seed, device=device)


def take_steps(profile: Profile, batch: int, device: str = "cpu", seed: int = 0, steps: int = STEPS) -> dict[str, Any]:
    """A few steps in this process, after one that is not timed.

    Returns:
        batch, seconds (of each step), memory (peak bytes while they were taken: of the process, or on the GPU).
    """
    trainer = step_trainer(profile, batch, device, seed)
    trainer.step()
    reset_peak(device)
    taken = seconds(trainer.step, steps, device=device)
    return {"batch": batch, "seconds": taken, "memory": peak_memory(device)}


def measure_steps(
    profile: Profile, device: str = "cpu", threads: int = 1, seed: int = 0, batches: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """`take_steps` for each batch size (none: of BATCHES) in its own process, until one does not fit into the memory.

    Raises:
        PpcdError: fewer than two batch sizes could be measured; the line says why.
    """
    points: list[dict[str, Any]] = []
    for batch in batches or BATCHES[device]:
        say(f"steps of {profile.name} at batch {batch} on {device}")
        try:
            points.append(_in_own_process(threads, profile, batch, device, seed))
        except PpcdError as error:
            if len(points) < 2:
                raise PpcdError(f"steps at batch {batch} could not be measured on {device}: {error}") from None
            break
    return points


def _in_own_process(threads: int, *arguments: Any) -> dict[str, Any]:
    """What `take_steps` returns in another process."""
    with separate_processes() as process:
        return process.submit(_limited, threads, *arguments).result()


def _limited(threads: int, *arguments: Any) -> dict[str, Any]:
    torch.set_num_threads(threads)
    try:
        return take_steps(*arguments)
    except torch.OutOfMemoryError as error:
        raise PpcdError(str(error).splitlines()[0]) from None


def linear_fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least squares y = base + slope x, both at least 0: what is below is noise."""
    (base, slope), _ = nnls(np.vander(x, 2, increasing=True), np.array(y))
    return float(base), float(slope)


def estimate(profile: Profile, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the student's training at this profile would take, from measured steps.

    Seconds of a step are a base (the optimisers, the average) and a part for each image; accumulations add images and
    no base, and no memory. Left out: reading images, the statistics of the teacher's classes, evaluation.

    Args:
        points: what `take_steps` returned, at two batch sizes or more.

    Returns:
        seconds_base, seconds_per_image, memory_base, memory_per_image (bytes): the lines; iterations,
        images_per_iteration, batch; seconds_per_iteration, images_per_second, days, memory (bytes): what follows.
    """
    budget = profile.budget(teacher=False)
    batches = [point["batch"] for point in points]
    base, each = linear_fit(batches, [statistics.median(point["seconds"]) for point in points])
    memory_base, memory_each = linear_fit(batches, [point["memory"] for point in points])
    iteration = base + each * budget.images
    return {
        "seconds_base": base,
        "seconds_per_image": each,
        "memory_base": memory_base,
        "memory_per_image": memory_each,
        "iterations": budget.iterations,
        "images_per_iteration": budget.images,
        "batch": budget.batch_size,
        "seconds_per_iteration": iteration,
        "images_per_second": budget.images / iteration,
        "days": budget.iterations * iteration / DAY,
        "memory": memory_base + memory_each * budget.batch_size,
    }
