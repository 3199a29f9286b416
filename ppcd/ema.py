"""The exponential moving average of a generator, and its batch statistics."""

import copy

import torch
from torch import nn

from ppcd.generators import Generator
from ppcd.layers import ClassConditionalBatchNorm


class Ema:
    """A copy of the generator whose parameters follow the original's slowly.

    Buffers are copied, not averaged: the average of two vectors of a spectral norm means nothing, and batch
    statistics are measured anew at the end (`recompute_batch_statistics`). A mask that froze is frozen in the
    copy too.

    Args:
        decay: of the average. From iteration `start` on; before, the copy equals the original.
    """

    def __init__(self, generator: Generator, decay: float, start: int) -> None:
        self.generator = copy.deepcopy(generator).requires_grad_(False)
        self.decay, self.start = decay, start

    @torch.no_grad()
    def update(self, generator: Generator, iteration: int) -> None:
        mine: list[torch.Tensor] = list(self.generator.parameters())
        theirs = [parameter.detach() for parameter in generator.parameters()]
        if iteration < self.start:
            torch._foreach_copy_(mine, theirs)
        else:
            torch._foreach_lerp_(mine, theirs, 1 - self.decay)
        for buffer, source in zip(self.generator.buffers(), generator.buffers(), strict=True):
            buffer.copy_(source)

    def follow_masks(self, generator: Generator) -> None:
        """Freeze what froze in the original."""
        for mask, source in zip(self.generator.masks().values(), generator.masks().values(), strict=True):
            if source.frozen and not mask.frozen:
                mask.freeze(source.kept)


@torch.no_grad()
def recompute_batch_statistics(
    generator: Generator, noise: torch.Generator, batches: int = 32, batch_size: int = 64
) -> None:
    """Measure the batch norms' running mean and variance anew, as plain averages over `batches` batches.

    Averaged weights have other statistics than the weights that they follow, above all when channels have just
    gone. Leaves the generator in evaluation mode.
    """
    norms = [m for m in generator.modules() if isinstance(m, ClassConditionalBatchNorm | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    device = next(generator.parameters()).device
    generator.train()
    for index in range(batches):
        for norm in norms:
            norm.momentum = 1 / (index + 1)  # a cumulative average
        z = torch.randn(batch_size, generator.dim_z, generator=noise)
        y = torch.randint(generator.num_classes, (batch_size,), generator=noise)
        generator(z.to(device), y.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()
