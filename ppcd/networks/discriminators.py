"""Projection discriminators of BigGAN, SA-GAN and SN-GAN (Miyato and Koyama 2018), from one table."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ppcd.base import full
from ppcd.networks.blocks import DiscriminatorBlock
from ppcd.networks.generators import ARCHITECTURES as GENERATORS
from ppcd.networks.generators import check_network
from ppcd.networks.initialisation import initialise
from ppcd.networks.layers import Conditional, LayerMaker, SelfAttention

# Output channels of each block as multiples of the width, and which blocks halve the size.
BLOCKS: dict[int, tuple[tuple[int, bool], ...]] = {
    32: ((4, True), (4, True), (4, False), (4, False)),
    64: ((1, True), (2, True), (4, True), (8, True), (16, False)),
    128: ((1, True), (2, True), (4, True), (8, True), (16, True), (16, False)),
}


ARCHITECTURES = {name: arch for name, arch in GENERATORS.items() if not arch.separable}
THIN = ("sngan",)  # conv1 of a block has the channels of the block's input; else of its output


class Discriminator(Conditional):
    """D(I, y) = linear(h) + <embed(y), h>, h the ReLU'd, sum-pooled features; all under spectral norm."""

    takes = ("discriminator", "images")

    @torch.random.fork_rng(devices=[])  # torch's layers draw from the global stream when they are made
    def __init__(self, arch: str, resolution: int, num_classes: int, width: int) -> None:
        super().__init__()
        reference = ARCHITECTURES[arch]
        make = LayerMaker(True, reference.eps)
        self.resolution, self.num_classes = resolution, num_classes
        self.input_shape = (3, resolution, resolution)
        blocks, channels, size = [], 3, resolution
        self.attention: SelfAttention | None = None
        self.attention_after: int | None = None  # index of the block that it follows
        for index, (multiple, downsample) in enumerate(BLOCKS[resolution]):
            out = multiple * width
            blocks.append(DiscriminatorBlock(channels, out, make, index == 0, downsample, arch not in THIN))
            channels, size = out, size // 2 if downsample else size
            if size == reference.attention_at and downsample:
                self.attention, self.attention_after = SelfAttention(channels, make), index
        self.blocks = nn.ModuleList(blocks)
        self.linear = make.linear(channels, 1)
        self.embed = make.embedding(num_classes, channels)

    def __call__(self, images: Tensor, y: Tensor) -> Tensor:
        return super().__call__(images, y)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], y: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Scores [batch]: high for real."""
        h = images
        for index, block in enumerate(self.blocks):
            h = block(h)
            if self.attention is not None and index == self.attention_after:
                h = self.attention(h)
        with torch.autocast(h.device.type, enabled=False):  # half precision is too little for a score
            h = F.relu(full(h)).sum(dim=(2, 3)).to(self.linear.weight.dtype)  # [batch, channel]
            return self.linear(h).squeeze(1) + (self.embed(y) * h).sum(dim=1)


def build_discriminator(
    arch: str, resolution: int, num_classes: int, width: int | None = None, *, seed: int = 0
) -> Discriminator:
    """A freshly initialised discriminator; arguments and errors as `build_generator`."""
    width = check_network(arch, ARCHITECTURES, resolution, num_classes, width)
    discriminator = Discriminator(arch, resolution, num_classes, width)
    initialise(discriminator, ARCHITECTURES[arch].init, seed, "discriminator")
    return discriminator
