"""Between two noise vectors (Figure 7) and between two classes (Figure 6)."""

import copy

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.networks.layers import SpectralNorm

PARALLEL = 1e-4  # sine of the angle below which two noise vectors span no arc


def slerp(
    start: Float[Tensor, " noise"], end: Float[Tensor, " noise"], steps: Float[Tensor, " step"]
) -> Float[Tensor, "step noise"]:
    """Spherical interpolation: sin((1 - t) w) / sin w · start + sin(t w) / sin w · end, w the angle between them.

    A straight line between two normal vectors passes near the origin, where a generator never was in training;
    this arc keeps to their lengths (White, "Sampling Generative Networks", 2016). t = 0 is `start` and t = 1 is
    `end` to the last bit. Vectors (nearly) on one line span no arc and are joined by the line.

    Args:
        steps: t of each step.

    Returns:
        one vector per step.
    """
    t = steps[:, None].to(start)
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if not bool(sine > PARALLEL):  # also NaN: a vector of zeros
        return torch.lerp(start[None], end[None], t)
    return torch.sin((1 - t) * angle) / sine * start + torch.sin(t * angle) / sine * end


def between_classes(
    generator: nn.Module, start: int, end: int, steps: Float[Tensor, " step"]
) -> tuple[nn.Module, Int64[Tensor, " step"]]:
    """A copy of the generator with one more class for each step on the way from one class to another.

    A class enters a generator only through the rows of its embeddings: one shared embedding (Big-GAN,
    Tiny-GAN), or one for the gain and one for the bias of every CBN (SA-GAN, SN-GAN, PPCD-GAN). Every one of
    them gets the rows (1 - t) · row[start] + t · row[end]; t = 0 and t = 1 are the two classes to the last bit.

    Args:
        generator: without spectral norm on its embeddings; it is not changed.
        start, end: two labels.
        steps: t of each step.

    Returns:
        the copy, in evaluation mode, and the labels of its steps.

    Raises:
        PpcdError: a label that there is not, or a generator without class embeddings to interpolate.
    """
    classes = int(generator.num_classes)  # type: ignore[arg-type]
    if not {start, end} <= set(range(classes)):
        raise PpcdError(f"the labels must be in 0 to {classes - 1}; got {start} and {end}")
    copied = copy.deepcopy(generator).eval()
    embeddings = [
        module
        for module in copied.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings == classes
    ]  # fmt: skip
    if not embeddings or any(isinstance(module, SpectralNorm) for module in embeddings):
        raise PpcdError("classes are interpolated in plain embeddings, which this generator lacks; slim it first")
    for module in embeddings:
        rows = module.weight.detach()
        added = torch.lerp(rows[start][None], rows[end][None], steps[:, None].to(rows))
        module.weight = nn.Parameter(torch.cat([rows, added]), requires_grad=False)
        module.num_embeddings = classes + len(steps)
    copied.num_classes = classes + len(steps)  # type: ignore[assignment]
    return copied, torch.arange(classes, classes + len(steps))
