"""What a training would take on this machine: memory and time of real optimisation steps, and what follows from them.

A step is one of `ppcd.training.trainer.Trainer` itself, with all networks at the profile's size: teacher, student,
discriminator, masks. Each batch size has a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppcd import paths
from ppcd.base import PpcdError, seeded
from ppcd.data.sets import ImageSet, image_hash
from ppcd.errors import ArgumentParser, run_command
from ppcd.networks.generators import build_generator
from ppcd.runs.config import RunConfig
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import TEACHER, get_recipe
from ppcd.training.trainer import Trainer

RECIPE = "ppcd"
CPU_BATCHES = (2, 4, 8)
GPU_BATCHES = (8, 16, 32, 64, 128)  # as far as the memory goes
STEPS = 3  # timed ones, behind one that is not
IMAGES = 8
DAY = 86_400  # seconds


def random_images(profile: Profile, labels: Tensor, seed: int = 0) -> ImageSet:
    """Images of the profile's size that stand for its data: a step costs the same."""
    shape = (len(labels), 3, profile.resolution, profile.resolution)
    images = torch.randint(256, shape, generator=seeded(seed), dtype=torch.uint8)
    classes = tuple(map(str, range(profile.num_classes)))
    return ImageSet(images, labels, classes, "random", image_hash(images, labels), "random images")


def step_trainer(profile: Profile, batch: int, device: str = "cpu", seed: int = 0) -> Trainer:
    """The trainer of joint PPCD-GAN at the profile's size, for batches of `batch` without accumulation.

    Its images are random and all of one class, and the teacher has fresh weights: a step costs the same, and the
    teacher measures the statistics of one class and not of a thousand.
    """
    data = random_images(profile, torch.zeros(IMAGES, dtype=torch.int64), seed)
    teacher = build_generator(
        TEACHER, profile.resolution, profile.num_classes, profile.teacher_width, dim_z=profile.teacher_dim_z, seed=seed
    )
    small = replace(profile, batch_size=batch, accumulations=1)
    return Trainer(RunConfig(small, get_recipe(RECIPE), seed, data.identity), data, teacher, device)


def take_steps(profile: Profile, batch: int, device: str = "cpu", seed: int = 0, steps: int = STEPS) -> dict[str, Any]:
    """A few steps in this process, behind one that is not timed.

    Returns:
        batch, seconds (of each step), memory (peak bytes while they were taken: of the process, or on the GPU),
        losses (of the last step).

    Raises:
        PpcdError: batch or steps < 1.
    """
    if batch < 1 or steps < 1:
        raise PpcdError(f"steps are measured with a batch and a number of steps of at least 1; got {batch}, {steps}")
    trainer = step_trainer(profile, batch, device, seed)
    losses, seconds = trainer.step(), []
    reset_peak(device)
    for _ in range(steps):
        began = time.perf_counter()
        losses = trainer.step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        seconds.append(time.perf_counter() - began)
    values = {name: float(loss) for name, loss in losses.items()}
    return {"batch": batch, "seconds": seconds, "memory": peak_memory(device), "losses": values}


def measure_steps(
    profile: str, device: str = "cpu", threads: int = 1, seed: int = 0, batches: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """`take_steps` for each batch size in a process of its own, until one does not fit into the memory.

    Args:
        profile: name of a profile.
        device: "cpu" or "cuda".
        threads: of the CPU.
        batches: ascending; None is CPU_BATCHES or GPU_BATCHES.

    Raises:
        PpcdError: fewer than two batch sizes could be measured; the line says what the last process said.
    """
    batches = batches or (CPU_BATCHES if device == "cpu" else GPU_BATCHES)
    points, said = [], "two batch sizes are needed"
    for batch in batches:
        print(f"steps of {profile} at batch {batch} on {device}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "paper", "training-cost", "--profile", get_profile(profile).name]
        command += ["--batch", str(batch), "--device", device, "--threads", str(threads), "--seed", str(seed)]
        done = subprocess.run(command, cwd=paths.repository(), capture_output=True, text=True)
        if done.returncode:
            said = _last_words(done)
            break
        points.append(json.loads(done.stdout))
    if len(points) < 2:
        raise PpcdError(f"steps at batch {batch} could not be measured on {device}: {said}")
    return points


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process that measures ended early."""
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}, out of memory?"
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("ppcd: ") if lines else f"ended with status {done.returncode}"


def linear_fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least squares y = base + slope x, both at least 0: a base below it is noise, and the line then starts at 0.

    Raises:
        PpcdError: fewer than two different x.
    """
    if len(set(x)) < 2:
        raise PpcdError(f"a line needs at least two different batch sizes; got {list(x)}")
    slope, base = (float(each) for each in np.polyfit(x, y, 1))
    if base < 0 or slope < 0:
        base = 0.0
        slope = sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x)
    return base, slope


def estimate(profile: Profile, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the student's training at this profile would take, from measured steps.

    Seconds of a step are a base (the optimisers, the average) and a part for each image; accumulations add images and
    no base, and no memory. Left out: reading images, the statistics of the teacher's classes, evaluation.

    Args:
        points: what `take_steps` returned, at two batch sizes or more.

    Returns:
        seconds_base, seconds_per_image, memory_base, memory_per_image (bytes): the lines; iterations,
        images_per_iteration, batch; seconds_per_iteration, images_per_second, days, memory (bytes): what follows.

    Raises:
        PpcdError: fewer than two batch sizes.
    """
    budget = profile.budget(teacher=False)
    batches = [point["batch"] for point in points]
    base, each = linear_fit(batches, [statistics.median(point["seconds"]) for point in points])
    memory_base, memory_each = linear_fit(batches, [point["memory"] for point in points])
    seconds = base + each * budget.images
    return {
        "seconds_base": base,
        "seconds_per_image": each,
        "memory_base": memory_base,
        "memory_per_image": memory_each,
        "iterations": budget.iterations,
        "images_per_iteration": budget.images,
        "batch": budget.batch_size,
        "seconds_per_iteration": seconds,
        "images_per_second": budget.images / seconds,
        "days": budget.iterations * seconds / DAY,
        "memory": memory_base + memory_each * budget.batch_size,
    }


def reset_peak(device: str) -> None:
    """From here on `peak_memory` counts anew."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # elsewhere the peak is that of the whole process, the first step included
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int:
    """Bytes that were in use at most: of this process, or allocated on the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: the measured steps as JSON; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper training-cost", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="imagenet128")
    parser.add_argument("--batch", type=int, default=CPU_BATCHES[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    if options.threads < 1:
        raise PpcdError(f"at least one thread is needed; got {options.threads}")
    torch.set_num_threads(options.threads)
    try:
        found = take_steps(get_profile(options.profile), options.batch, options.device, options.seed)
    except torch.OutOfMemoryError as error:
        raise PpcdError(f"batch {options.batch} does not fit: {str(error).splitlines()[0]}") from None
    print(json.dumps(found))
