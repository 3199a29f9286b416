"""The generators of BigGAN, SA-GAN (plain or with PP-Res blocks), SN-GAN and Tiny-GAN: one class, one table each.

Sources of the tables: BigGAN-PyTorch's `BigGAN.py` (`G_arch`), and Tiny-GAN's `model.py`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ppcd.base import PpcdError, full, named_generator
from ppcd.method.blocks import Branch
from ppcd.method.masks import ChannelMask, masks_of
from ppcd.method.prunable import insert_branches
from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.initialisation import initialise
from ppcd.networks.layers import BatchNorm2d, ClassConditionalBatchNorm, Conditional, LayerMaker, SelfAttention
from ppcd.networks.resampling import Resampling, straightforward
from ppcd.networks.separable import SeparableBlock

# Channels of each block's input and of the last block's output, as multiples of the width.
CHANNELS: dict[int, tuple[int, ...]] = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
}
BASE = 4  # every generator starts from 4x4


@dataclass(frozen=True)
class Architecture:
    """What tells one generator, and the discriminator that goes with it, from another."""

    width: int  # at paper scale
    dim_z: int
    hierarchical: bool  # BigGAN: the noise enters in chunks, one to the first linear and one to each block
    shared_dim: int | None  # BigGAN, Tiny-GAN: size of the class embedding that all CBNs share
    attention_at: int | None  # pixels of the feature map that self-attention follows
    init: Literal["orthogonal", "xavier"]
    eps: float  # of the spectral norm
    spectral_norm: bool = True
    separable: bool = False  # Tiny-GAN: depthwise separable blocks, never masked


ARCHITECTURES: dict[str, Architecture] = {
    "biggan": Architecture(96, 120, True, 128, 64, "orthogonal", 1e-6),
    "sagan": Architecture(64, 128, False, None, 64, "xavier", 1e-8),
    "sagan-hier": Architecture(64, 128, True, 128, 64, "xavier", 1e-8),  # noise enters every block, as in BigGAN
    "sagan-shared": Architecture(64, 128, False, 128, 64, "xavier", 1e-8),  # the same without that noise
    "sngan": Architecture(64, 128, False, None, None, "xavier", 1e-8),
    "tinygan": Architecture(32, 128, False, 128, None, "xavier", 1e-8, spectral_norm=False, separable=True),
}


@dataclass(frozen=True)
class GeneratorConfig:
    """All that is needed to build a generator again; stored with its weights."""

    arch: str
    resolution: int
    num_classes: int
    width: int
    dim_z: int
    masked: bool = False
    transition: bool = False  # PP-Res blocks, masked or slim
    hidden: tuple[tuple[int, int], ...] | None = None  # channels of conv1 and conv2 of each block, once slim
    spectral_norm: bool = True
    channels: tuple[int, ...] | None = None  # instead of the table's: each block's input and the last one's output
    attention: int | None = None  # channels before slimming at the attention, which set its inner widths
    grey: bool | None = None  # one channel of output, which the images have three times

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `channels`, `attention` and `grey` only where they are given."""
        unused = {name for name in ("channels", "attention", "grey") if getattr(self, name) is None}
        return {name: value for name, value in asdict(self).items() if name not in unused}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "GeneratorConfig":
        """The inverse of `to_dict`, also after JSON, where tuples are lists."""
        try:
            hidden, channels = values.get("hidden"), values.get("channels")
            hidden = None if hidden is None else tuple((int(a), int(b)) for a, b in hidden)
            channels = None if channels is None else tuple(int(c) for c in channels)
            config = GeneratorConfig(**{**values, "hidden": hidden, "channels": channels})
        except (AttributeError, TypeError, ValueError) as error:
            raise PpcdError(f"not the configuration of a generator: {error}") from None
        config.check()
        return config

    def check(self) -> None:
        """Refuse what cannot be built.

        Raises:
            PpcdError: unknown architecture or resolution, or an impossible number.
        """
        check_network(self.arch, ARCHITECTURES, self.resolution, self.num_classes, self.width)
        if ARCHITECTURES[self.arch].separable and (self.masked or self.transition or self.hidden or self.spectral_norm):
            raise PpcdError(
                f"{self.arch} has depthwise separable blocks without spectral norm: it cannot be masked or pruned"
            )
        blocks = len(CHANNELS[self.resolution]) - 1
        chunks = blocks + 1 if ARCHITECTURES[self.arch].hierarchical else 1
        if isinstance(self.dim_z, bool) or not isinstance(self.dim_z, int) or self.dim_z < 1 or self.dim_z % chunks:
            raise PpcdError(
                f"dim_z of {self.arch} at {self.resolution} px must be a positive multiple of {chunks}; "
                f"got {self.dim_z!r}"
            )
        channels = table_channels(self)
        hidden = self.hidden or tuple((each, each) for each in channels[1:])
        same = self.transition or tuple(second for _, second in hidden) == channels[1:]
        if len(channels) != blocks + 1 or len(hidden) != blocks or min(*channels, *map(min, hidden)) < 1 or not same:
            raise PpcdError(
                f"at {self.resolution} px there are {blocks + 1} channels and {blocks} pairs of hidden ones, all "
                f"positive, whose second is the block's output unless there is a transition; got {channels} "
                f"and {hidden}"
            )


def table_channels(config: GeneratorConfig) -> tuple[int, ...]:
    """Channels of each block's input and of the last block's output."""
    return config.channels or tuple(multiple * config.width for multiple in CHANNELS[config.resolution])


class Generator(Conditional):
    """G(z, y): linear, residual blocks that double the size, BN-ReLU-conv3x3-tanh.

    Attributes:
        blocks: the residual blocks (PP-Res blocks where `config.transition`).
        attention_after: index of the block that self-attention follows; None without.
    """

    takes = ("generator", "z")
    layer_by_layer = straightforward  # for `ppcd.prunable`: within this context each convolution is called as a layer

    @torch.random.fork_rng(devices=[])  # torch's layers draw from the global stream when they are made
    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        arch = ARCHITECTURES[config.arch]
        channels = table_channels(config)
        hidden = config.hidden or tuple((c, c) for c in channels[1:])
        sizes = [BASE * 2 ** (index + 1) for index in range(len(hidden))]  # of each block's output
        make = LayerMaker(config.spectral_norm, arch.eps)
        self.config = config
        self.dim_z, self.num_classes, self.resolution = config.dim_z, config.num_classes, config.resolution
        self.input_shape = (config.dim_z,)
        self.hierarchical = arch.hierarchical
        self.attention_after = sizes.index(arch.attention_at) if arch.attention_at in sizes else None
        self.chunk = config.dim_z // len(channels) if arch.hierarchical else config.dim_z

        def make_norm(channels: int) -> ClassConditionalBatchNorm:
            if arch.shared_dim is None:
                gain, bias = (nn.Embedding(config.num_classes, channels) for _ in range(2))
                return ClassConditionalBatchNorm(channels, gain, bias)
            condition = arch.shared_dim + (self.chunk if arch.hierarchical else 0)
            first, second = (make.linear(condition, channels, bias=arch.separable) for _ in range(2))
            return ClassConditionalBatchNorm(channels, first, second)

        self.shared = nn.Embedding(config.num_classes, arch.shared_dim) if arch.shared_dim else None
        self.linear = make.linear(self.chunk, channels[0] * BASE**2)
        self.blocks = nn.ModuleList(
            SeparableBlock(c_in, c_out, make_norm)
            if arch.separable
            else GeneratorBlock(c_in, c_out, pair, make, make_norm, config.masked, config.transition)
            for c_in, c_out, pair in zip(channels[:-1], channels[1:], hidden, strict=True)
        )
        after = self.attention_after
        self.attention = None if after is None else SelfAttention(channels[after + 1], make, config.attention)
        self.output_norm = BatchNorm2d(channels[-1])
        self.output_conv = make.conv(channels[-1], 1 if config.grey else 3, 3)

    def residual_blocks(self) -> list[GeneratorBlock]:
        """`blocks`, by their type; none in Tiny-GAN, whose blocks are SeparableBlocks."""
        return [block for block in self.blocks if isinstance(block, GeneratorBlock)]

    def masks(self) -> dict[str, ChannelMask]:
        """The 2N mask layers by name ("blocks.0.mask1", ...), first to last; empty if there are none."""
        return masks_of(self)

    def make_prunable(self, blocks: Iterable[str] | None = None) -> "Generator":
        """For `ppcd.prunable`: a copy with PP-Res blocks; of Tiny-GAN itself, with masks and transitions attached.

        Masks are open (m = 0.999994) and transitions the identity, also under spectral norm, since the largest
        singular value of the identity is 1: the images agree to 1e-4.
        """
        names = [f"blocks.{index}" for index in range(len(self.blocks))]
        if blocks is not None and set(blocks) != set(names):
            raise PpcdError(f"a generator of this project is pruned in all of its blocks: {', '.join(names)}")
        if not self.residual_blocks():
            layers = Branch("pointwise1", "bn2", "pointwise2", depthwise=("depthwise2",))
            return insert_branches(self, dict.fromkeys(names, layers))
        if self.config.transition:
            raise PpcdError("this generator has PP-Res blocks; they take the place of plain residual blocks")
        result = Generator(replace(self.config, masked=True, transition=True)).to(next(self.parameters()))
        result.load_state_dict(self.state_dict(), strict=False)
        with torch.no_grad():
            for index, block in enumerate(result.residual_blocks()):
                transition: Any = block.transition
                nn.init.dirac_(transition.weight)
                transition.bias.zero_()
                if self.config.spectral_norm:
                    start = named_generator(0, f"transition {index}")
                    transition.u.copy_(torch.randn(transition.u.shape, generator=start))
                    transition.u.div_(transition.u.norm())
        return result.train(self.training)

    def slimmed(self, for_training: bool) -> None:
        """Called by `ppcd.slim` on its copy: update the configuration, and reset the blocks' compute options."""
        hidden = self.config.hidden
        if self.config.masked:
            hidden = tuple((block.conv1.out_channels, block.conv2.out_channels) for block in self.residual_blocks())
        skips: list[Any] = [block.conv_sc for block in self.blocks]
        channels = (self.linear.out_features // BASE**2, *(conv.out_channels for conv in skips))
        if channels != table_channels(self.config):  # the stream had masks too
            inner = None if self.attention is None else self.attention.before
            self.config = replace(self.config, channels=channels, attention=inner)
        spectral_norm = for_training and self.config.spectral_norm
        self.config = replace(self.config, masked=False, hidden=hidden, spectral_norm=spectral_norm)
        for module in self.modules():
            if isinstance(module, Resampling):
                module.reset()

    def conditions(
        self, z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch chunk"], list[Tensor]]:
        """The input of the first linear layer, and the condition of each block's CBNs."""
        if self.shared is None:
            return z, [y] * len(self.blocks)
        if not self.hierarchical:
            return z, [self.shared(y)] * len(self.blocks)
        first, *chunks = z.split(self.chunk, dim=1)
        embedded = self.shared(y)
        return first, [torch.cat([embedded, chunk], dim=1) for chunk in chunks]

    @overload
    def __call__(self, z: Tensor, y: Tensor, return_features: Literal[False] = False) -> Tensor: ...
    @overload
    def __call__(self, z: Tensor, y: Tensor, return_features: Literal[True]) -> tuple[Tensor, list[Tensor]]: ...
    def __call__(self, z: Tensor, y: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        return super().__call__(z, y, return_features)

    def forward(
        self, z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"], return_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Images [batch, 3, R, R] in [-1, 1]; with `return_features` also the output of each block."""
        first, conditions = self.conditions(z, y)
        h = self.linear(first).unflatten(1, (-1, BASE, BASE))
        features = []
        for index, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition)
            features.append(h)
            if self.attention is not None and index == self.attention_after:
                h = self.attention(h)
        images = torch.tanh(full(self.output_conv(F.relu(self.output_norm(h), inplace=True))))
        if self.config.grey:
            images = images.expand(-1, 3, -1, -1)
        return (images, features) if return_features else images


def check_network(
    arch: str, known: dict[str, Architecture], resolution: int, num_classes: int, width: int | None = None
) -> int:
    """The width, which is that at paper scale where none is given, of a network that can be built.

    Raises:
        PpcdError: unknown architecture or resolution, or a number that is not positive.
    """
    if arch not in known:
        raise PpcdError(f"unknown architecture {arch!r}; expected one of: {', '.join(known)}")
    if not isinstance(resolution, int) or resolution not in CHANNELS:
        raise PpcdError(f"resolution must be one of {', '.join(map(str, CHANNELS))}; got {resolution!r}")
    width = known[arch].width if width is None else width
    for name, value in (("num_classes", num_classes), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PpcdError(f"{name} must be a positive integer; got {value!r}")
    return width


def build_generator(
    arch: str,
    resolution: int,
    num_classes: int,
    width: int | None = None,
    masked: bool = False,
    *,
    dim_z: int | None = None,
    seed: int = 0,
    hidden: tuple[tuple[int, int], ...] | None = None,
    grey: bool | None = None,
) -> Generator:
    """A freshly initialised generator.

    Args:
        arch: "biggan", "sagan", "sagan-hier" (SA-GAN into whose every block noise enters, as in BigGAN),
            "sagan-shared" (SA-GAN with BigGAN's one class embedding, without that noise), "sngan" or "tinygan".
        resolution: 32, 64 or 128 pixels.
        width: multiplies the table of channels; None is the width at paper scale (BigGAN 96, SA-GAN and
            SN-GAN 64, Tiny-GAN 32).
        masked: PP-Res blocks with masks instead of plain residual blocks.
        dim_z: size of the noise; None is the reference (BigGAN 120, SA-GAN 128). BigGAN splits it into one
            chunk for the first layer and one for each block.
        seed: of the initial weights. A weight depends on the seed and its own name only, so a masked and a
            plain generator of one seed start from the same weights where both have them.
        hidden: channels of conv1 and conv2 of each block, in a PP-Res generator that starts narrow; None: the table's.
        grey: for images without colour: the last convolution has one channel, which the images have three times.

    Raises:
        PpcdError: an argument is impossible; one line says which and what is expected.
    """
    width = check_network(arch, ARCHITECTURES, resolution, num_classes, width)
    reference = ARCHITECTURES[arch]
    config = GeneratorConfig(
        arch,
        resolution,
        num_classes,
        width,
        reference.dim_z if dim_z is None else dim_z,
        masked,
        transition=masked or hidden is not None,
        hidden=hidden,
        spectral_norm=reference.spectral_norm,
        grey=grey,
    )
    config.check()
    generator = Generator(config)
    initialise(generator, reference.init, seed, "generator")
    return generator
