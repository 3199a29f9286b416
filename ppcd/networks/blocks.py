"""Residual blocks as the networks compute them: the generators' (`ppcd.method.blocks`) and the discriminators'."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ppcd.method.blocks import PPResBlock
from ppcd.method.masks import ChannelMask
from ppcd.networks.layers import ClassConditionalBatchNorm, LayerMaker
from ppcd.networks.resampling import Resampling, convolve

NormMaker = Callable[[int], ClassConditionalBatchNorm]


class GeneratorBlock(PPResBlock, Resampling):
    """The PP-Res block, or a plain residual block, with fewer operations: the same function.

    Args:
        hidden: channels of conv1 and of conv2; (out_channels, out_channels) unless slimmed.
        transition: with the 1x1 transition, as masked and slim blocks have it.

    Attributes:
        shrink: compute only the channels that frozen masks keep. Weights keep their shapes, since the spectral norm is
            that of the whole weight, pruned channels included.
    """

    shrink = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: tuple[int, int],
        make: LayerMaker,
        make_norm: NormMaker,
        masked: bool,
        transition: bool,
    ) -> None:
        super().__init__(
            bn1=make_norm(in_channels),
            conv1=make.conv(in_channels, hidden[0], 3),
            bn2=make_norm(hidden[0]),
            conv2=make.conv(hidden[0], hidden[1], 3),
            conv_sc=make.conv(in_channels, out_channels, 1),
            transition=make.conv(hidden[1], out_channels, 1) if transition else None,
            masked=masked,
        )

    def forward(
        self, x: Float[Tensor, "batch channel height width"], condition: Tensor
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        kept1, kept2 = self._kept(self.mask1), self._kept(self.mask2)
        h = F.relu(self.bn1(x, condition), inplace=True)
        h = self.upsample_conv(self.conv1, h, kept1)
        h = self.bn2(h, condition, kept1)
        if self.mask1 is not None and kept1 is None:
            h = self.mask1(h)
        h = convolve(self.conv2, F.relu(h, inplace=True), kept2, kept1)
        if self.mask2 is not None and kept2 is None:
            h = self.mask2(h)
        if self.transition is not None:
            h = convolve(self.transition, h, None, kept2)
        return h + self.upsample_skip(self.conv_sc, x)

    def _kept(self, mask: ChannelMask | None) -> Tensor | None:
        """Indices of the channels that are computed; None: all."""
        return mask.indices if self.shrink and mask is not None else None


class DiscriminatorBlock(Resampling):
    """[ReLU]-conv3x3-ReLU-conv3x3-[pool], plus a skip: identity, or a 1x1 where channels or size change.

    The first block of a discriminator has no pre-activation and pools before its 1x1 skip; the others pool after.

    Args:
        wide: conv1 has out_channels channels; else ("thin", SN-GAN) those of its input.
    """

    def __init__(
        self, in_channels: int, out_channels: int, make: LayerMaker, first: bool, downsample: bool, wide: bool
    ) -> None:
        super().__init__()
        hidden = out_channels if wide else in_channels
        self.first, self.downsample = first, downsample
        self.conv1 = make.conv(in_channels, hidden, 3)
        self.conv2 = make.conv(hidden, out_channels, 3)
        learnable = in_channels != out_channels or downsample
        self.conv_sc = make.conv(in_channels, out_channels, 1) if learnable else None

    def skip(self, x: Tensor) -> Tensor:
        pool_first = self.downsample and (self.first or self.merged)  # the same function either way
        if pool_first:
            x = F.avg_pool2d(x, 2)
        if self.conv_sc is not None:
            x = self.conv_sc(x)
        return F.avg_pool2d(x, 2) if self.downsample and not pool_first else x

    def forward(
        self, x: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        h = self.conv1(x if self.first else F.relu(x))
        h = F.relu(h, inplace=True)
        h = self.conv_pool(self.conv2, h) if self.downsample else self.conv2(h)
        return h + self.skip(x)
