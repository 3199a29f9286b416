"""A 3x3 convolution next to a change of size, as one convolution: the same function with fewer operations.

- Nearest x2 upsampling, then a 3x3 convolution: each output pixel sees two rows and two columns of the input, so it
  is a transposed convolution of stride 2 whose 4x4 kernel holds sums of taps (2.25 times fewer MACs).
- A 3x3 convolution, then 2x2 average pooling: a 4x4 convolution of stride 2 (2.25 times fewer MACs).
- A 1x1 convolution commutes with both: it runs at the smaller size (4 times fewer MACs).
- A sum of taps is also a sum of pixels: the sums of 2x2 pixels before a 3x3 convolution of stride 2, or after a
  transposed one, give the same two functions from 9 products a small pixel instead of 16 ("boxed": 4 times fewer MACs
  than the straightforward form, for one more pass over the larger feature map).

Parameters stay the 3x3 weights. Published MACs count the straightforward form, and so does `ppcd.complexity`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ppcd.method.narrow import select
from ppcd.networks.layers import SpectralNorm


def box_sum(weight: Float[Tensor, "out inner 3 3"]) -> Float[Tensor, "out inner 4 4"]:
    """The full convolution of each kernel with a 2x2 box of ones."""
    padded = F.pad(weight, (1, 1, 1, 1))
    rows = padded[:, :, :-1] + padded[:, :, 1:]
    return rows[:, :, :, :-1] + rows[:, :, :, 1:]


def part_of(conv: nn.Conv2d, rows: Tensor | None = None, columns: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of these output and input channels (indices; None: all); the spectral norm is of all of them."""
    weight = conv.normalized_weight() if isinstance(conv, SpectralNorm) else conv.weight
    bias = conv.bias if conv.bias is None else select(conv.bias, rows)
    return select(weight, rows, columns), bias


def convolve(conv: nn.Conv2d, x: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """The convolution (stride 1, 'same' padding) with these output and input channels only."""
    if rows is None and columns is None:
        return conv(x)
    return F.conv2d(x, *part_of(conv, rows, columns), padding=conv.padding)


class Resampling(nn.Module):
    """Mixin of a block that convolves next to a change of size, with its compute options.

    Attributes:
        merged: the two are one convolution; False: one operation after the other.
        boxed: the one convolution sums pixels instead of taps. The results differ by rounding.
    """

    merged = True
    boxed = False

    def reset(self) -> None:
        """Back to the options of a new block."""
        for option in ("merged", "boxed", "shrink"):
            self.__dict__.pop(option, None)

    def upsample_conv(
        self, conv: nn.Conv2d, x: Float[Tensor, "batch channel height width"], rows: Tensor | None = None
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        """conv3x3(up(x)), up being nearest x2; only the output channels `rows`, where they are given."""
        if not self.merged:
            return convolve(conv, F.interpolate(x, scale_factor=2), rows, None)
        weight, bias = part_of(conv, rows)
        kernel = weight.flip(2, 3)
        if self.boxed:
            h = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)  # a row and a column too many
            h = F.avg_pool2d(h, 2, stride=1, divisor_override=1)  # sums of 2x2 pixels
            return h if bias is None else h.add_(bias[:, None, None])
        kernel = box_sum(kernel).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)

    def upsample_skip(
        self, conv: nn.Conv2d, x: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        """conv1x1(up(x)), up being nearest x2."""
        return F.interpolate(conv(x), scale_factor=2) if self.merged else conv(F.interpolate(x, scale_factor=2))

    def conv_pool(
        self, conv: nn.Conv2d, x: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        """pool(conv3x3(x)), pool being the average of 2x2; height and width even."""
        if not self.merged:
            return F.avg_pool2d(conv(x), 2)
        if self.boxed:
            return F.conv2d(F.avg_pool2d(x, 2, 1, padding=1), *part_of(conv), stride=2)
        weight, bias = part_of(conv)
        return F.conv2d(x, box_sum(weight) / 4, bias, stride=2, padding=1)


@contextmanager
def straightforward(network: nn.Module) -> Iterator[None]:
    """Within this context the blocks of the network resample and convolve separately."""
    blocks = [module for module in network.modules() if isinstance(module, Resampling)]
    before = [block.merged for block in blocks]
    for block in blocks:
        block.merged = False
    try:
        yield
    finally:
        for block, merged in zip(blocks, before, strict=True):
            block.merged = merged
