"""What a training leaves: its generator made slim, samples of it, its size and its speed."""

import io
from dataclasses import replace
from typing import Any

import torch

from ppcd.base import named_generator, needs
from ppcd.method.ema import recompute_batch_statistics
from ppcd.method.slim import slim
from ppcd.metrics.complexity import CONVENTION, block_params, complexity
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.networks.generators import Generator


def decide_masks(generator: Generator) -> Generator:
    """Freeze the masks that never reached alpha as they stand: m > pivot stays (eq. 3 without its condition).

    Only the paper's literal settings get here; in run.json such a layer has no `frozen_at`.
    """
    for mask in generator.masks().values():
        if not mask.frozen:
            mask.freeze(mask.values().detach() > mask.pivot)
    return generator


def finish_generator(generator: Generator, seed: int) -> Generator:
    """The averaged generator as a slim one: masks decided, batch statistics recomputed."""
    decide_masks(generator)
    recompute_batch_statistics(generator, named_generator(seed, "batch statistics"))
    return slim(generator)


def sample_grid(generator: Generator, seed: int, device: str, columns: int = 10) -> bytes:
    """A PNG: a row for each of the first ten classes, the same noise in every row."""
    with needs("metrics"):
        from torchvision.utils import make_grid, save_image
    classes = min(10, generator.num_classes)
    z = torch.randn(columns, generator.dim_z, generator=named_generator(seed, "samples")).repeat(classes, 1)
    y = torch.arange(classes).repeat_interleave(columns)
    with torch.no_grad():
        images = generator(z.to(device), y.to(device)).cpu()
    buffer = io.BytesIO()
    save_image(make_grid(images, nrow=columns, padding=1, normalize=True, value_range=(-1, 1)), buffer, format="png")
    return buffer.getvalue()


def measure_complexity(generator: Generator) -> dict[str, Any]:
    """Parameters and MACs of a slim generator and of what it was before pruning, without masks."""
    dense = Generator(replace(generator.config, hidden=None, channels=None))
    counted, before = complexity(generator), complexity(dense)
    return {
        "params": counted.params,
        "macs": counted.macs,
        "params_dense": before.params,
        "macs_dense": before.macs,
        "block_params": block_params(generator),
        "block_params_dense": block_params(dense),
        "convention": CONVENTION,
    }


def measure_runtime(generator: Generator, device: str) -> dict[str, Any]:
    """Seconds for a batch of 64 on one CPU thread, and on the GPU if the run has one."""
    on_cpu = seconds_per_batch(generator.cpu(), threads=1, device="cpu")
    on_gpu = None if device == "cpu" else seconds_per_batch(generator.to(device), device=device)
    return {"cpu": on_cpu, "gpu": on_gpu}
