"""Slimming (section 3.2): masks gone, pruned channels physically gone, the same images.

The spectral norm is worked out before any channel goes, because removing channels would change it.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.masks import ChannelMask
from ppcd.networks.generators import ARCHITECTURES, BASE, Generator, GeneratorConfig
from ppcd.networks.layers import ClassConditionalBatchNorm, SelfAttention, SpectralNorm, power_iteration

Layer = nn.Conv2d | nn.Linear | nn.Embedding


def effective_weight(layer: Layer) -> Tensor:
    """The weight that the layer uses at evaluation: under spectral norm, the normalised one."""
    weight = layer.weight.detach()
    if isinstance(layer, SpectralNorm):
        sigma, _ = power_iteration(weight, layer.u, layer.eps)
        weight = weight * (layer.scale / sigma)
    return weight


def _select(weight: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    weight = weight if rows is None else weight[rows]
    return weight if columns is None else weight[:, columns]


@torch.no_grad()
def _copy(source: Layer, target: Layer, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    """Copy a convolution, linear layer or embedding, keeping the chosen rows and columns of its weight."""
    effective = _select(effective_weight(source), rows, columns)
    if isinstance(target, SpectralNorm):
        # Go on training: the weight as it was, and a scale that makes W / sigma(W) * scale the effective weight.
        weight = _select(source.weight, rows, columns)
        left, singular, _ = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
        target.u.copy_(left[:, :1].t())
        ratio = effective.norm() / weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        target.scale.copy_(singular[0] * ratio)
        target.weight.copy_(weight)
    else:
        target.weight.copy_(effective)
    bias, copied = getattr(source, "bias", None), getattr(target, "bias", None)
    if bias is not None and copied is not None:
        copied.copy_(_select(bias, rows, None))


@torch.no_grad()
def _copy_norm(
    source: ClassConditionalBatchNorm, target: ClassConditionalBatchNorm, kept: Tensor | None = None
) -> None:
    for part in ("gain", "bias"):
        layer = getattr(source, part)
        embedding = isinstance(layer, nn.Embedding)  # [class, channel]; a linear layer is [channel, condition]
        _copy(
            layer,
            getattr(target, part),
            rows=None if embedding else kept,
            columns=kept if embedding else None,
        )
    target.running_mean.copy_(_select(source.running_mean, kept, None))
    target.running_var.copy_(_select(source.running_var, kept, None))


def _kept(mask: ChannelMask | None, name: str) -> Tensor | None:
    if mask is None:
        return None
    if not mask.frozen:
        raise PpcdError(f"{name} has not frozen, so which channels go is not decided; train on, or mask.freeze(...)")
    return mask.kept.nonzero().squeeze(1)


def slim(generator: Generator, *, for_training: bool = False) -> Generator:
    """A plain generator that computes the same images with only the channels that its masks kept.

    Without masks it is the same network with the spectral norm worked into its weights. Outputs at evaluation
    agree to 1e-10 in float64 and 1e-4 in float32.

    Args:
        generator: masked (every mask frozen) or plain; it is not changed.
        for_training: keep the layers under spectral norm, with a scale each, so that training can go on.

    Returns:
        A generator in evaluation mode, on the device and in the type of the given one.

    Raises:
        PpcdError: a mask has not frozen.
    """
    config = generator.config
    if ARCHITECTURES[config.arch].separable:  # neither masks nor spectral norm
        return copy.deepcopy(generator).requires_grad_(True).eval()
    kept = [
        (_kept(block.mask1, f"blocks.{i}.mask1"), _kept(block.mask2, f"blocks.{i}.mask2"))
        for i, block in enumerate(generator.residual_blocks())
    ]
    hidden = config.hidden
    if config.masked:
        hidden = tuple((len(k1), len(k2)) for k1, k2 in kept)  # type: ignore[arg-type]
    result = _rebuild(generator, {"masked": False, "hidden": hidden, "spectral_norm": for_training}, kept)
    return result.eval()


def select_channels(
    generator: Generator,
    channels: Sequence[Tensor],
    hidden: Sequence[Tensor],
    *,
    for_training: bool = False,
) -> Generator:
    """The network with only these channels, each with the weights that it had: what l1 pruning and NAS leave.

    The images change, because channels are taken away that carried something.

    Args:
        generator: plain residual blocks (no masks, no transitions); it is not changed.
        channels: indices of the kept channels of the first block's input and of each block's output, which is
            the output of its conv2, of its skip, and the input of what follows: blocks + 1 tensors.
        hidden: indices of the kept channels of each block's conv1.
        for_training: keep the layers under spectral norm, with a scale each, so that training can go on.

    Raises:
        PpcdError: not a generator of plain residual blocks, or another number of layers.
    """
    config, blocks = generator.config, generator.residual_blocks()
    if config.masked or config.transition or not blocks:
        raise PpcdError("channels are selected from plain residual blocks; this generator has others")
    if len(channels) != len(blocks) + 1 or len(hidden) != len(blocks):
        raise PpcdError(f"{len(blocks)} blocks need {len(blocks) + 1} and {len(blocks)} selections of channels")
    changes = {
        "channels": tuple(len(kept) for kept in channels),
        "hidden": tuple((len(k1), len(out)) for k1, out in zip(hidden, channels[1:], strict=True)),
        "spectral_norm": for_training,
    }
    kept = list(zip(hidden, channels[1:], strict=True))
    return _rebuild(generator, changes, kept, channels).eval()


@torch.no_grad()
def _rebuild(
    generator: Generator,
    changes: dict[str, Any],
    hidden: Sequence[tuple[Tensor | None, Tensor | None]],
    channels: Sequence[Tensor] | None = None,
) -> Generator:
    """A generator of the changed configuration with the kept channels' weights. None keeps all."""
    parameter = next(generator.parameters())
    result = Generator(GeneratorConfig(**{**generator.config.to_dict(), **changes}))
    result = result.to(parameter.device, parameter.dtype)
    ports: Sequence[Tensor | None] = channels or [None] * (len(hidden) + 1)

    if generator.shared is not None and result.shared is not None:
        _copy(generator.shared, result.shared)
    first = ports[0]
    pixels = None if first is None else (first[:, None] * BASE**2 + torch.arange(BASE**2).to(first)).flatten()
    _copy(generator.linear, result.linear, rows=pixels)
    pairs = zip(generator.residual_blocks(), result.residual_blocks(), strict=True)
    for (source, target), (k1, k2), into, out in zip(pairs, hidden, ports, ports[1:], strict=False):
        _copy_norm(source.bn1, target.bn1, into)
        _copy(source.conv1, target.conv1, rows=k1, columns=into)
        _copy_norm(source.bn2, target.bn2, k1)
        _copy(source.conv2, target.conv2, rows=k2, columns=k1)
        if source.transition is not None and target.transition is not None:
            _copy(source.transition, target.transition, columns=k2)
        _copy(source.conv_sc, target.conv_sc, rows=out, columns=into)
    if isinstance(generator.attention, SelfAttention) and isinstance(result.attention, SelfAttention):
        port = ports[1 + (generator.attention_after or 0)]
        _copy_attention(generator.attention, result.attention, port)
    for part, value in generator.output_norm.state_dict().items():
        chosen = _select(value, ports[-1], None) if value.dim() else value
        result.output_norm.state_dict()[part].copy_(chosen)
    _copy(generator.output_conv, result.output_conv, columns=ports[-1])
    return result


def _copy_attention(source: SelfAttention, target: SelfAttention, kept: Tensor | None) -> None:
    """Attention over the kept channels of its block; its inner channels go with theirs, the leading ones stay."""
    inner = torch.arange(target.theta.weight.shape[0])
    half = torch.arange(target.g.weight.shape[0])
    _copy(source.theta, target.theta, rows=inner, columns=kept)
    _copy(source.phi, target.phi, rows=inner, columns=kept)
    _copy(source.g, target.g, rows=half, columns=kept)
    _copy(source.o, target.o, rows=kept, columns=half)
    target.gamma.copy_(source.gamma)
