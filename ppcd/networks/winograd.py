"""A 3x3 convolution with half as many products: Winograd's minimal filtering, down the columns.

F(4, 3) gives four neighbours of a filter of three taps from 6 products, not 12: sums of six pixels (B) and sums of taps
(G) are multiplied, and sums of the products (A) are the four neighbours. The products of one index are a convolution
of 1x3 taps, the library's. Along one axis only: along both a quarter of the products would be left, but so many sums
that less time is saved.

Source: Winograd, "Arithmetic complexity of computations" (1980); the matrices for the points 0, 1, -1, 2, -2 are those
of Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), section 4.3.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 4  # rows that come about together
CHANNELS, WORK = 128, 4096  # the fewest channels, and channels times rows, with which this is faster (`pays`)
PORTION = 2**13  # pixels that are worked on together, which bounds what the sums take

B = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)  # B^T of the source
G = torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64) / 24
A = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)  # A^T of the source


def pays(x: Float[Tensor, "batch channel height width"], weight: Tensor) -> bool:
    """Whether `convolve` takes these, and is faster than torch's convolution.

    Measured on two CPU cores, forward and backward: with 128 channels 1.2 times at 32x32 pixels and not at 16x16, with
    256 channels 1.3 times at 16x16, with 64 channels never. Not under autocast, whose convolutions take half the time
    anyway, and not for torch.compile, for which an own gradient is a break.
    """
    out_channels, in_channels, height, width = weight.shape
    channels = min(out_channels, in_channels)
    return (
        x.device.type == "cpu"
        and (height, width) == (3, 3)
        and x.shape[2] % TILE == 0
        and channels >= CHANNELS
        and channels * x.shape[2] >= WORK
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """The matrix times the first axis of x."""
    product = matrix.to(x.dtype) @ x.reshape(len(x), -1)
    return product.view(-1, *x.shape[1:])


def _sums_of_pixels(x: Float[Tensor, "batch height width channel"]) -> Float[Tensor, "6 batch tile width channel"]:
    """B^T of the six rows that a tile of four sees: its own, the one above and the one below."""
    tiles = x.view(len(x), -1, TILE, *x.shape[2:])
    rows = x.new_empty(6, *tiles.shape[:2], *x.shape[2:])
    rows[1:5] = tiles.permute(2, 0, 1, 3, 4)
    rows[0, :, 0], rows[0, :, 1:] = 0, x[:, 3:-1:TILE]
    rows[5, :, -1], rows[5, :, :-1] = 0, x[:, TILE::TILE]
    return _times(B, rows)


def _sums_of_taps(weight: Float[Tensor, "out inner 3 3"]) -> list[Float[Tensor, "out inner 1 3"]]:
    sums = torch.einsum("ij,ocjk->iock", G.to(weight.dtype), weight)[:, :, :, None]
    return [each.contiguous(memory_format=torch.channels_last) for each in sums]


def _pixels(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch height width channel"]:
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _portions(x: Tensor, *others: Tensor) -> list[tuple[Tensor, ...]]:
    """Parts of the batch, `PORTION` pixels each."""
    size = max(1, PORTION // x[0, :, :, 0].numel())
    return list(zip(*(each.split(size) for each in (x, *others)), strict=True))


def _product(
    x: Float[Tensor, "batch channel height width"], weight: Float[Tensor, "out channel 3 3"], bias: Tensor | None
) -> Float[Tensor, "batch out height width"]:
    """The convolution, without its gradient."""
    pixels, taps = _pixels(x), _sums_of_taps(weight)
    shape = (len(x), len(weight), *x.shape[2:])
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for part, result in _portions(pixels, out.permute(0, 2, 3, 1)):
        rows = result.view(len(result), -1, TILE, *result.shape[2:]).unbind(2)
        products = [
            F.conv2d(each.permute(0, 3, 1, 2), tap, bias if i == 1 else None, padding=(0, 1)).permute(0, 2, 3, 1)
            for i, (each, tap) in enumerate(zip(_sums_of_pixels(part), taps, strict=True))
        ]  # the second is in all four sums of A once, and takes the bias there
        even1, odd1 = products[1] + products[2], products[1].sub_(products[2])
        even2, odd2 = products[3] + products[4], products[3].sub_(products[4])
        torch.add(even1, even2, out=rows[0]).add_(products[0])
        torch.add(odd1, odd2, alpha=2, out=rows[1])
        torch.add(even1, even2, alpha=4, out=rows[2])
        torch.add(odd1, odd2, alpha=8, out=rows[3]).add_(products[5])
    return out


def _gradient_of_weight(
    gradient: Float[Tensor, "batch out height width"], x: Float[Tensor, "batch channel height width"], weight: Tensor
) -> Float[Tensor, "out channel 3 3"]:
    shape = torch.empty_like(weight[:, :, :1], memory_format=torch.channels_last)
    steps = ([1, 1], [0, 1], [1, 1], False, [0, 0], 1, [False, True, False])
    sums = x.new_zeros(6, *shape.shape)
    for part, result in _portions(_pixels(x), _pixels(gradient)):
        tiles = result.view(len(result), -1, TILE, *result.shape[2:]).permute(2, 0, 1, 3, 4)
        for i, (sees, gives) in enumerate(zip(_sums_of_pixels(part), _times(A.t(), tiles), strict=True)):
            images = (gives.permute(0, 3, 1, 2), sees.permute(0, 3, 1, 2))
            sums[i] += torch.ops.aten.convolution_backward(*images, shape, None, *steps)[1]
    return torch.einsum("ij,iock->ocjk", G.to(x.dtype), sums[:, :, :, 0])


class Convolution(torch.autograd.Function):
    """A 3x3 convolution of stride 1, 'same' padding, and its gradients, each by minimal filtering."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        turned = weight.flip(2, 3).transpose(0, 1)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, turned, None) if of_x else None,
            _gradient_of_weight(gradient, x, weight) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
        )


def convolve(
    x: Float[Tensor, "batch channel height width"],
    weight: Float[Tensor, "out channel 3 3"],
    bias: Float[Tensor, " out"] | None,
) -> Float[Tensor, "batch out height width"]:
    """`F.conv2d(x, weight, bias, padding=1)` but for rounding; see `pays`.

    In single precision its results are about four times less exact than torch's (a relative 6e-6 instead of 1.4e-6 at
    the largest of 128 channels), and in double precision as good.

    Args:
        x: of a height that `TILE` divides, on the CPU.
        weight, bias: of the convolution.

    Returns:
        in channels-last layout; it can be differentiated once.
    """
    result: Tensor = Convolution.apply(x, weight, bias)
    return result
