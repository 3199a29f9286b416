"""Generated images as they would be saved, all at once or in portions.

Noise is drawn sample by sample from a generator of its own on the CPU: neither the batch size nor the device nor the
portions change it, and the first samples of a larger count are those of a smaller one.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ppcd.base import PpcdError, seeded
from ppcd.data.sets import to_uint8
from ppcd.metrics.modes import eval_mode

BATCH = 100  # images at a time
CHUNK = 64  # samples whose noise is drawn at once: torch draws the end of a tensor differently

Samples = tuple[UInt8[Tensor, "n 3 height width"], Int64[Tensor, " n"]]


def sample_images(
    G: nn.Module, count: int, seed: int, *, batch: int = BATCH, device: torch.device | str = "cpu"
) -> tuple[UInt8[Tensor, "count 3 height width"], Int64[Tensor, " count"]]:
    """Generate images as they would be saved, on the CPU; sample i has class i mod num_classes.

    Raises:
        PpcdError: count or batch < 1, or images that are not finite.
    """
    (samples,) = sample_portions(G, count, seed, portion=max(count, 1), batch=batch, device=device)
    return samples


def sample_portions(
    G: nn.Module, count: int, seed: int, *, portion: int, batch: int = BATCH, device: torch.device | str = "cpu"
) -> Iterator[Samples]:
    """The same samples in their order, `portion` of them at a time; those of a portion are in memory together.

    Where `batch` divides `portion`, batches are those of `sample_images`, and images the same to the last bit.

    Raises:
        PpcdError: as `sample_images`.
    """
    if count < 1 or batch < 1:
        raise PpcdError(f"sampling needs a count and a batch of at least 1; got {count} and {batch}")
    noise = Noise(int(G.dim_z), seed)  # type: ignore[arg-type]
    for labels in sample_labels(count, int(G.num_classes)).split(portion):  # type: ignore[arg-type]
        yield _generate(G, noise.take(len(labels)), labels, batch, device), labels


def sample_labels(count: int, num_classes: int) -> Int64[Tensor, " count"]:
    """The classes taking turns."""
    return torch.arange(count) % num_classes


def _generate(
    G: nn.Module,
    noise: Float[Tensor, "n dim_z"],
    labels: Int64[Tensor, " n"],
    batch: int,
    device: torch.device | str,
) -> UInt8[Tensor, "n 3 height width"]:
    parts = []
    with eval_mode(G), torch.no_grad():
        for z, y in zip(noise.split(batch), labels.split(batch), strict=True):
            images = G(z.to(device), y.to(device))
            if not bool(images.isfinite().all()):
                raise PpcdError("the generator makes images that are not finite; nothing can be measured")
            parts.append(to_uint8(images).cpu())
    return torch.cat(parts)


def draw_noise(count: int, dim_z: int, seed: int) -> Float[Tensor, "count dim_z"]:
    """Standard normal noise of the samples; the first rows do not depend on how many are drawn."""
    return Noise(dim_z, seed).take(count)


class Noise:
    """The rows of `draw_noise`, one portion after the other."""

    def __init__(self, dim_z: int, seed: int) -> None:
        self._generator = seeded(seed)
        self._left = torch.empty(0, dim_z)

    def take(self, count: int) -> Float[Tensor, "count dim_z"]:
        """The next rows."""
        chunks = [
            torch.randn(CHUNK, self._left.shape[1], generator=self._generator)
            for _ in range(-(-max(0, count - len(self._left)) // CHUNK))
        ]
        rows = torch.cat([self._left, *chunks])
        self._left = rows[count:].clone()
        return rows[:count]
