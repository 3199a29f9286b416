"""Initial weights that depend on the seed and on the parameter's own name, and on nothing else.

Two networks of one seed start from the same weights wherever they have the same parameter, whatever was built
before and whatever else they have. Comparisons between recipes are paired because of it.
"""

from typing import Literal

import torch
from torch import nn

from ppcd.base import named_generator
from ppcd.networks.layers import SpectralNorm


def initialise(network: nn.Module, kind: Literal["orthogonal", "xavier"], seed: int, scope: str) -> None:
    """Fill weights (orthogonal or xavier uniform), zero biases, and the vectors of the spectral norm.

    Depthwise convolutions (Tiny-GAN) get a gain of sqrt(2), as in its authors' code. `scope` is what the network is
    ("generator", "discriminator"), so that two networks do not share weights.
    """
    fill = {"orthogonal": nn.init.orthogonal_, "xavier": nn.init.xavier_uniform_}[kind]
    with torch.no_grad():
        for name, module in network.named_modules():
            if not isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                continue
            fill(module.weight, generator=named_generator(seed, f"{scope}/{name}.weight"))
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.weight.mul_(2**0.5)
            if not isinstance(module, nn.Embedding) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, SpectralNorm):
                module.u.copy_(torch.randn(module.u.shape, generator=named_generator(seed, f"{scope}/{name}.u")))
