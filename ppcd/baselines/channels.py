"""A plain network with only some of its channels: what l1 pruning leaves of it."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ppcd.method.narrow import narrow
from ppcd.networks.generators import BASE, Generator
from ppcd.networks.layers import SelfAttention


@torch.no_grad()
def select_channels(
    generator: Generator, channels: Sequence[Tensor], hidden: Sequence[Tensor], *, for_training: bool = False
) -> Generator:
    """The network with only these channels, each with the weights that it had.

    Args:
        generator: plain residual blocks (no masks, no transitions); it is not changed.
        channels: indices of the kept channels of the first block's input and of each block's output, which is
            the output of its conv2, of its skip, and the input of what follows: blocks + 1 tensors.
        hidden: indices of the kept channels of each block's conv1.
        for_training: keep the layers under spectral norm, with a scale each, so that training can go on.
    """

    def part(layer: Any, rows: Tensor | None = None, columns: Tensor | None = None) -> Any:
        return narrow(layer, rows, columns, for_training=for_training)

    result = copy.deepcopy(generator)
    pixels = (channels[0][:, None] * BASE**2 + torch.arange(BASE**2).to(channels[0])).flatten()
    result.linear = part(result.linear, pixels)
    for block, into, inner, out in zip(result.residual_blocks(), channels, hidden, channels[1:], strict=False):
        block.bn1, block.bn2 = part(block.bn1, into), part(block.bn2, inner)
        block.conv1, block.conv2 = part(block.conv1, inner, into), part(block.conv2, out, inner)
        block.conv_sc = part(block.conv_sc, out, into)
    if isinstance(result.attention, SelfAttention):
        attention, port = result.attention, channels[1 + (result.attention_after or 0)]
        inner, half = (torch.arange(max(1, len(port) // divisor)) for divisor in (8, 2))  # the leading ones stay
        attention.theta, attention.phi = part(attention.theta, inner, port), part(attention.phi, inner, port)
        attention.g, attention.o = part(attention.g, half, port), part(attention.o, port, half)
    result.output_norm = part(result.output_norm, channels[-1])
    result.output_conv = part(result.output_conv, None, channels[-1])
    result.slimmed(for_training)
    result.config = replace(
        result.config,
        channels=tuple(len(kept) for kept in channels),
        hidden=tuple((len(inner), len(out)) for inner, out in zip(hidden, channels[1:], strict=True)),
        attention=None,
    )
    return result.requires_grad_(True).eval()
