"""Slimming (section 3.2): masks gone, pruned channels physically gone, the same images.

The spectral norm is worked out before any channel goes, because removing channels would change it.
"""

import torch
from torch import Tensor, nn

from ppcd.errors import PpcdError
from ppcd.generators import Generator, GeneratorConfig
from ppcd.layers import ClassConditionalBatchNorm, SelfAttention, SpectralNorm, power_iteration
from ppcd.masks import ChannelMask

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
    kept = [
        (_kept(block.mask1, f"blocks.{i}.mask1"), _kept(block.mask2, f"blocks.{i}.mask2"))
        for i, block in enumerate(generator.residual_blocks())
    ]
    hidden = config.hidden
    if config.masked:
        hidden = tuple((len(k1), len(k2)) for k1, k2 in kept)  # type: ignore[arg-type]
    parameter = next(generator.parameters())
    result = Generator(
        GeneratorConfig(**{**config.to_dict(), "masked": False, "hidden": hidden, "spectral_norm": for_training})
    ).to(parameter.device, parameter.dtype)

    if generator.shared is not None and result.shared is not None:
        _copy(generator.shared, result.shared)
    _copy(generator.linear, result.linear)
    for source, target, (k1, k2) in zip(generator.residual_blocks(), result.residual_blocks(), kept, strict=True):
        _copy_norm(source.bn1, target.bn1)
        _copy(source.conv1, target.conv1, rows=k1)
        _copy_norm(source.bn2, target.bn2, k1)
        _copy(source.conv2, target.conv2, rows=k2, columns=k1)
        if source.transition is not None and target.transition is not None:
            _copy(source.transition, target.transition, columns=k2)
        _copy(source.conv_sc, target.conv_sc)
    if isinstance(generator.attention, SelfAttention) and isinstance(result.attention, SelfAttention):
        for part in ("theta", "phi", "g", "o"):
            _copy(getattr(generator.attention, part), getattr(result.attention, part))
        result.attention.gamma.data.copy_(generator.attention.gamma)
    result.output_norm.load_state_dict(generator.output_norm.state_dict())
    _copy(generator.output_conv, result.output_conv)
    return result.eval()
