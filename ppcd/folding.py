"""The algebra of the inference form: what of a generator's layers becomes one layer, and what becomes a constant.

Vectors and norms are worked out in double precision, kernels in their own, which holds the memory down.
"""

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.layers import BatchNorm2d, ClassConditionalBatchNorm, effective_weight
from ppcd.networks.separable import SeparableBlock


class Kernel(NamedTuple):
    """Weight and bias of a convolution."""

    weight: Tensor
    bias: Tensor


class Affine(NamedTuple):
    """A scale and a shift for each channel."""

    scale: Tensor
    shift: Tensor


class Conditional(NamedTuple):
    """Scale and shift of a class-conditional norm, side by side, are condition @ matrix + constant."""

    matrix: Tensor  # [condition, 2C]; of a norm with embeddings, a condition is one row
    constant: Tensor  # [2C]


def next_multiple(channels: int, multiple: int) -> int:
    """The smallest multiple that is not less."""
    return -(-channels // multiple) * multiple


def filled(tensor: Tensor, multiple: int, *dims: int) -> Tensor:
    """Zeros behind what is there, up to a multiple in each of these dimensions."""
    for dim in dims:
        shape = [*tensor.shape]
        shape[dim] = next_multiple(shape[dim], multiple) - shape[dim]
        if shape[dim]:
            tensor = torch.cat([tensor, tensor.new_zeros(shape)], dim)
    return tensor


def double(tensor: Tensor | None) -> Tensor:
    """In double precision; of a layer that has a bias in every reference network.

    Raises:
        PpcdError: it has none.
    """
    if tensor is None:
        raise PpcdError("a layer of this generator lacks the bias that the reference networks have there")
    return tensor.detach().double()


def kernel(conv: nn.Conv2d) -> Kernel:
    """Of a convolution, with its spectral norm worked in."""
    return Kernel(effective_weight(conv), double(conv.bias))


def through(weight: Tensor, bias: Tensor) -> Tensor:
    """What a 1x1 convolution makes of a constant in each channel."""
    return weight.flatten(1).double() @ bias


def conditional(norm: ClassConditionalBatchNorm, bias: Tensor | None, multiple: int) -> Conditional:
    """Of norm(x + bias), with its channels filled up."""
    embedded = isinstance(norm.gain, nn.Embedding)
    (gain, gain0), (beta, beta0) = (_layer(part, embedded) for part in (norm.gain, norm.bias))
    factor = torch.rsqrt(double(norm.running_var) + norm.eps)
    offset = (0 if bias is None else bias) - double(norm.running_mean)
    scale, scale0 = gain * factor, (1 + gain0) * factor
    shift, shift0 = beta + offset * scale, beta0 + offset * scale0
    return Conditional(
        torch.cat([filled(each, multiple, 1) for each in (scale, shift)], 1),
        torch.cat([filled(each, multiple, 0) for each in (scale0, shift0)]),
    )


def _layer(layer: nn.Module, embedded: bool) -> tuple[Tensor, Tensor]:
    """Matrix [condition, C] and constant [C] of an embedding or a linear layer."""
    if not isinstance(layer, nn.Linear | nn.Embedding):
        raise PpcdError(
            f"a norm whose gain is a {type(layer).__name__} has no inference form; ppcd's have linear layers"
        )
    weight, bias = effective_weight(layer), getattr(layer, "bias", None)
    matrix = double(weight if embedded else weight.t())
    return matrix, torch.zeros_like(matrix[0]) if bias is None else double(bias)


def unconditional(norm: BatchNorm2d) -> Affine:
    """Of the output norm at evaluation."""
    scale = double(norm.weight) * torch.rsqrt(double(norm.running_var) + norm.eps)
    return Affine(scale, double(norm.bias) - double(norm.running_mean) * scale)


def bias_before_second_norm(block: GeneratorBlock | SeparableBlock) -> Tensor:
    """What the convolutions in front of it add to each channel."""
    if isinstance(block, SeparableBlock):
        return double(block.pointwise1.bias) + through(block.pointwise1.weight, double(block.depthwise1.bias))
    return double(block.conv1.bias)


def branch_kernels(block: GeneratorBlock | SeparableBlock, multiple: int) -> list[Kernel]:
    """The convolutions behind the second norm: without Tiny-GAN's depthwise one, whose bias goes on into the next.

    conv2 and a transition are one kernel where that takes fewer products.
    """
    if isinstance(block, SeparableBlock):
        weight, bias = kernel(block.pointwise2)
        return [Kernel(weight, bias + through(weight, double(block.depthwise2.bias)))]
    conv = kernel(block.conv2)
    if block.transition is None:
        return [conv]
    last = kernel(block.transition)
    out, hidden, inner = (next_multiple(n, multiple) for n in (len(last.weight), *conv.weight.shape[:2]))
    if 9 * inner * hidden + hidden * out < 9 * inner * out:
        return [conv, last]
    joined = torch.einsum("oh,hikl->oikl", last.weight.flatten(1), conv.weight)
    return [Kernel(joined, last.bias + through(last.weight, conv.bias))]


def with_skip(skip: Kernel, branch: list[Kernel], norm: Affine | None) -> tuple[Tensor, list[Kernel]]:
    """The weight of the skip, and the branch with the bias of both; an output norm is worked into the two."""
    *before, (weight, bias) = branch
    bias = bias + skip.bias
    if norm is None:
        return skip.weight, [*before, Kernel(weight, bias)]
    column = norm.scale[:, None, None, None].to(weight)
    return skip.weight * column, [*before, Kernel(weight * column, bias * norm.scale + norm.shift)]


def four_windows(weight: Float[Tensor, "out inner 3 3"]) -> Float[Tensor, "out4 inner 2 2"]:
    """Of a 3x3 convolution behind nearest x2 upsampling: 2x2 kernels of the four pixels (row, column, channel).

    Row 2i + a of the output sees rows i - 1 + a and i + a of the small image, each with the sum of some taps.
    """
    out, inner = weight.shape[:2]
    kernels = weight.new_empty(4 * out, 2, 2, inner).permute(0, 3, 1, 2)  # channels last
    pixels = kernels.unflatten(0, (2, 2, out))
    taps = ((slice(0, 1), slice(1, 3)), (slice(0, 2), slice(2, 3)))  # of a and the row of the window
    for a, b, p, q in itertools.product(range(2), repeat=4):
        pixels[a, b, :, :, p, q] = weight[:, :, taps[a][p], taps[b][q]].sum((2, 3))
    return kernels


def four_pixels(weight: Float[Tensor, "out inner 3 3"]) -> Float[Tensor, "out4 inner 4 4"]:
    """The convolution of stride 2 that gives 2x2 pixels (channel, row, column) of a 3x3 convolution."""
    kernels = weight.new_zeros(len(weight), 2, 2, weight.shape[1], 4, 4)
    for row in range(2):
        for column in range(2):
            kernels[:, row, column, :, row : row + 3, column : column + 3] = weight
    return kernels.flatten(0, 2)
