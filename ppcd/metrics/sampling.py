"""Generated images as they would be saved.

Noise is drawn on the CPU from a separate generator: neither the batch size nor the device changes it, and the first
samples of a larger count are those of a smaller one.
"""

import math

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ppcd.base import PpcdError, eval_mode, seeded, weights_dtype
from ppcd.data.images import to_uint8

BATCH = 100  # images at a time
MINIMUM = 16  # images of a set: precision and recall look at the third neighbour, KID halves the set
CHUNK = 64  # samples whose noise is drawn at once: torch draws the end of a tensor differently


def sample_images(
    G: nn.Module, count: int, seed: int, *, batch: int = BATCH, device: torch.device | str = "cpu"
) -> tuple[UInt8[Tensor, "count 3 height width"], Int64[Tensor, " count"]]:
    """Generate images as they would be saved, on the CPU; sample i has class i mod num_classes.

    Raises:
        PpcdError: no images asked for, or images that are not finite.
    """
    if count < 1:
        raise PpcdError(f"sampling needs a count of at least 1; got {count}")
    labels = sample_labels(count, int(G.num_classes))  # type: ignore[arg-type]
    noise = draw_noise(count, int(G.dim_z), seed)  # type: ignore[arg-type]
    return generate(G, noise, labels, batch=batch, device=device), labels


def fewest_of_each(num_classes: int) -> int:
    """How many images of each class a set needs to be measured: two, whose distance is diversity, and 16 in all."""
    return max(2, math.ceil(MINIMUM / num_classes))


def fewest_samples(num_classes: int) -> int:
    return num_classes * fewest_of_each(num_classes)


def sample_labels(count: int, num_classes: int) -> Int64[Tensor, " count"]:
    """The classes in turn."""
    return torch.arange(count) % num_classes


def draw_noise(count: int, dim_z: int, seed: int) -> Float[Tensor, "count dim_z"]:
    """Standard normal noise of the samples; the first rows do not depend on how many are drawn."""
    generator = seeded(seed)
    chunks = [torch.randn(CHUNK, dim_z, generator=generator) for _ in range(0, count, CHUNK)]
    return torch.cat(chunks)[:count]


def generate(
    G: nn.Module,
    noise: Float[Tensor, "n dim_z"],
    labels: Int64[Tensor, " n"],
    *,
    batch: int = BATCH,
    device: torch.device | str = "cpu",
) -> UInt8[Tensor, "n 3 height width"]:
    """The images of this noise in eval mode, on the CPU, made `batch` at a time, in the type of the weights."""
    parts, dtype = [], weights_dtype(G)
    with eval_mode(G), torch.no_grad():
        for z, y in zip(noise.split(batch), labels.split(batch), strict=True):
            images = G(z.to(device, dtype), y.to(device))
            if not bool(images.isfinite().all()):
                raise PpcdError("the generator makes images that are not finite; nothing can be measured")
            parts.append(to_uint8(images).cpu())
    return torch.cat(parts)
