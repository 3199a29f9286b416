"""One generator whose leading channels are many smaller ones (GAN Compression, section 3.2).

`Widths` are the channels of a sub-network, first to last: after the first linear layer, then for each residual
block those of its conv1 and of its output. (c_0, h_1, c_1, h_2, c_2, ...).
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ppcd.networks.generators import ARCHITECTURES, BASE, CHANNELS, Generator, GeneratorConfig
from ppcd.networks.layers import SpectralNorm, power_iteration

Widths = tuple[int, ...]


def full_widths(config: GeneratorConfig) -> Widths:
    """The widths of the whole network: those of its architecture's table."""
    first, *outputs = (multiple * config.width for multiple in CHANNELS[config.resolution])
    return (first, *itertools.chain.from_iterable((channels, channels) for channels in outputs))


def search_space(config: GeneratorConfig, fractions: Sequence[float]) -> tuple[Widths, ...]:
    """For each entry of Widths the numbers it may be, ascending: at least 1, without duplicates."""
    return tuple(
        tuple(sorted({max(1, int(part * channels + 0.5)) for part in fractions})) for channels in full_widths(config)
    )


def draw_widths(space: Sequence[Widths], generator: torch.Generator) -> Widths:
    """A sub-network, each layer uniformly and on its own, as the authors' `ChannelConfigs.sample`."""
    return tuple(options[int(torch.randint(len(options), (), generator=generator))] for options in space)


def sub_config(config: GeneratorConfig, widths: Widths, *, spectral_norm: bool) -> GeneratorConfig:
    """The configuration of a sub-network as a separate generator."""
    hidden = tuple(zip(widths[1::2], widths[2::2], strict=True))
    return replace(config, channels=widths[::2], hidden=hidden, spectral_norm=spectral_norm)


def count_macs(config: GeneratorConfig, widths: Widths) -> int:
    """MACs of a sub-network, without building it: what `ppcd.complexity` counts of the extracted generator.

    For plain SA-GAN blocks, in their straightforward form.
    """
    attention_at, size = ARCHITECTURES[config.arch].attention_at, BASE
    count = config.dim_z * widths[0] * size**2
    for c_in, hidden, c_out in zip(widths[:-1:2], widths[1::2], widths[2::2], strict=True):
        count += c_in * size**2  # gain of the first CBN
        size *= 2
        pixels = size**2
        count += (9 * c_in * hidden + hidden + 9 * hidden * c_out + c_in * c_out) * pixels
        if size == attention_at:
            key, value = max(1, c_out // 8), max(1, c_out // 2)
            convolutions = 2 * c_out * key + 2 * c_out * value
            count += (convolutions + (key + value) * pixels // 4 + c_out) * pixels
    return count + (widths[-1] + 9 * 3 * widths[-1]) * size**2  # affine batch norm, last convolution


def leading(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The first entries in every dimension: a view."""
    return tensor[tuple(slice(length) for length in shape)]


@lru_cache(maxsize=1024)
def _skeleton(config: GeneratorConfig, widths: Widths) -> Generator:
    """A sub-network without storage, to be called with the weights of the whole."""
    with torch.device("meta"):
        return Generator(sub_config(config, widths, spectral_norm=False))


class Supernet(Generator):
    """A generator that can compute with its leading channels only.

    The spectral norm is that of the whole weight, and the slice is taken after it: the weights that a
    sub-network shares with the others are then the same numbers in all of them. Batch statistics of the leading
    channels move with every sub-network; one that is to be used measures its own.

    Attributes:
        widths: of the sub-network that a forward pass computes; None is the whole network.
    """

    widths: Widths | None = None

    def forward(self, z: Tensor, y: Tensor, return_features: bool = False) -> Any:
        if self.widths is None:
            return super().forward(z, y, return_features)
        skeleton = _skeleton(self.config, self.widths).train(self.training)
        whole = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        for name, module in self.named_modules():
            if isinstance(module, SpectralNorm):
                whole[f"{name}.weight"] = module.normalized_weight()
        shapes = {**dict(skeleton.named_parameters()), **dict(skeleton.named_buffers())}
        used = {name: leading(whole[name], like.shape) for name, like in shapes.items()}
        return functional_call(skeleton, used, (z, y), {"return_features": return_features})


def make_supernet(generator: Generator) -> Supernet:
    """A plain generator as one that can compute with its leading channels only; the same weights."""
    supernet = Supernet(generator.config)
    supernet.load_state_dict(generator.state_dict())
    return supernet.to(next(generator.parameters()).device)


@torch.no_grad()
def extract(generator: Generator, widths: Widths, *, for_training: bool = False) -> Generator:
    """A sub-network as a separate generator in evaluation mode, the same function.

    Args:
        for_training: keep the layers under spectral norm, with a scale each that makes up for the smaller
            sigma of the slice, so that training can go on; else the norm is worked into the weights.
    """
    parameter = next(generator.parameters())
    result = Generator(sub_config(generator.config, widths, spectral_norm=for_training))
    result = result.to(parameter.device, parameter.dtype).eval()
    whole = generator.state_dict()
    for name, target in result.state_dict().items():
        target.copy_(leading(whole[name], target.shape))
    for name, source in generator.named_modules():
        if not isinstance(source, SpectralNorm):
            continue
        sigma, _ = power_iteration(source.weight, source.u, source.eps)
        target_layer: Any = result.get_submodule(name)
        if isinstance(target_layer, SpectralNorm):
            left, singular, _ = torch.linalg.svd(target_layer.weight.flatten(1).double(), full_matrices=False)
            target_layer.u.copy_(left[:, :1].t())
            target_layer.scale.copy_(singular[0] * (source.scale / sigma))
        else:
            target_layer.weight.mul_(source.scale / sigma)
    return result


class Remappings(nn.Module):
    """Learnable 1x1 convolutions from the student's block features to the teacher's, one for each block.

    A sub-network's features have fewer channels: they meet the leading columns of the weight.
    """

    @torch.random.fork_rng(devices=[])  # torch's layers draw from the global stream when they are made
    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList(nn.Conv2d(c_s, c_t, 1) for c_s, c_t in zip(student, teacher, strict=True))

    def distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """sum_k mean (f_k(O^S_k) - O^T_k)^2 (GAN Compression, section 3.1), over lists of [batch, C, H, W]."""
        terms = []
        for layer, o_s, o_t in zip(self.layers, student, teacher, strict=True):
            weight = leading(layer.weight, (layer.out_channels, o_s.shape[1], 1, 1))
            terms.append(F.mse_loss(F.conv2d(o_s, weight, layer.bias), o_t))
        return torch.stack(terms).sum()

    @torch.no_grad()
    def sliced(self, student: Sequence[int]) -> "Remappings":
        """Those for a sub-network of these channels: a copy, also where they are the same."""
        result = Remappings(student, [layer.out_channels for layer in self.layers])
        for source, target in zip(self.parameters(), result.parameters(), strict=True):
            target.copy_(leading(source, target.shape))
        return result.to(next(self.parameters()).device)
