"""The residual block of Tiny-GAN: depthwise separable convolutions and bilinear upsampling.

Source: Chang and Lu, "TinyGAN: Distilling BigGAN for conditional image generation" (ACCV 2020), section 3.4.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ppcd.networks.layers import ClassConditionalBatchNorm
from ppcd.networks.resampling import Resampling


def upsample(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height2 width2"]:
    """Twice the size, bilinear, pixel centres aligned as torch's default has them."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class SeparableBlock(Resampling):
    """CBN-ReLU-up-depthwise3x3-pointwise-CBN-ReLU-depthwise3x3-pointwise, plus a 1x1 skip of up(x).

    The skip's 1x1 convolution commutes with the upsampling, whose weights sum to one: it runs at the smaller size
    unless the straightforward form is asked for (`Resampling.merged`).
    """

    def __init__(
        self, in_channels: int, out_channels: int, make_norm: Callable[[int], ClassConditionalBatchNorm]
    ) -> None:
        super().__init__()
        self.bn1 = make_norm(in_channels)
        self.depthwise1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise1 = nn.Conv2d(in_channels, out_channels, 1)
        self.bn2 = make_norm(out_channels)
        self.depthwise2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels)
        self.pointwise2 = nn.Conv2d(out_channels, out_channels, 1)
        self.conv_sc = nn.Conv2d(in_channels, out_channels, 1)

    def forward(
        self, x: Float[Tensor, "batch channel height width"], condition: Tensor
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        h = upsample(F.relu(self.bn1(x, condition), inplace=True))
        h = self.pointwise1(self.depthwise1(h))
        h = F.relu(self.bn2(h, condition), inplace=True)
        h = self.pointwise2(self.depthwise2(h))
        return h + (upsample(self.conv_sc(x)) if self.merged else self.conv_sc(upsample(x)))
