"""PP-Res SA-GAN by the fraction of channels that its masks keep: real networks, their size, and the way back.

The paper says what is left of a network (13.6M parameters and 1.6B MACs at alpha 0.7, 25M parameters at alpha 0.5),
not how many channels each mask kept. Here every mask layer keeps the same fraction, which turns each published number
into the kept fraction that it implies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from ppcd.base import PpcdError
from ppcd.method.slim import slim
from ppcd.metrics.complexity import Complexity, complexity
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator, table_channels

GRID = tuple(step / 20 for step in range(1, 21))  # kept fractions at which the curve is drawn
Hidden = tuple[tuple[int, int], ...]  # channels of conv1 and conv2 of each block


def kept_channels(channels: int, kept: float) -> int:
    """How many of a layer's channels stay: the nearest whole number (an even one between two), at least 1.

    Raises:
        PpcdError: the fraction is not in (0, 1].
    """
    if isinstance(kept, bool) or not isinstance(kept, int | float) or not 0 < kept <= 1:
        raise PpcdError(f"the kept fraction must be a number in (0, 1], for example 0.3; got {kept!r}")
    return max(1, round(kept * channels))


def masked_generator(
    kept: float,
    resolution: int = 128,
    num_classes: int = 1000,
    width: int = 64,
    *,
    dim_z: int | None = None,
    seed: int = 0,
) -> Generator:
    """PP-Res SA-GAN with its masks, dense: each is frozen on the first channels, nothing is removed.

    Args:
        kept: fraction of channels that every mask layer keeps, in (0, 1]; see `kept_channels` for the rounding.
        resolution, num_classes, width, dim_z, seed: as `ppcd.build_generator`; the defaults are the paper's.

    Raises:
        PpcdError: the fraction is not in (0, 1], or the network cannot be built.
    """
    kept_channels(1, kept)
    generator = build_generator("sagan", resolution, num_classes, width, masked=True, dim_z=dim_z, seed=seed)
    for mask in generator.masks().values():
        mask.freeze(torch.arange(mask.channels) < kept_channels(mask.channels, kept))
    return generator


def kept_generator(
    kept: float,
    resolution: int = 128,
    num_classes: int = 1000,
    width: int = 64,
    *,
    dim_z: int | None = None,
    seed: int = 0,
) -> Generator:
    """The slim form of `masked_generator`: masks and pruned channels gone, transitions there, spectral norm worked in.

    Its `config.hidden` says what every layer kept. Arguments and errors as `masked_generator`.
    """
    return slim(masked_generator(kept, resolution, num_classes, width, dim_z=dim_z, seed=seed))


def count(config: GeneratorConfig) -> Complexity:
    """Parameters and MACs of the network of that configuration (`ppcd.complexity`).

    The network is built, with zeros for weights: what is counted depends on shapes alone.
    """
    with torch.device("meta"):
        generator = Generator(config)
    generator.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*generator.parameters(), *generator.buffers()):
            tensor.zero_()
    return complexity(generator)


def slim_config(
    hidden: Sequence[tuple[int, int]], resolution: int = 128, num_classes: int = 1000, width: int = 64, dim_z: int = 128
) -> GeneratorConfig:
    """The configuration of a slim PP-Res SA-GAN with these channels in conv1 and conv2 of each block."""
    config = GeneratorConfig(
        "sagan", resolution, num_classes, width, dim_z, transition=True, hidden=tuple(hidden), spectral_norm=False
    )
    config.check()
    return config


@dataclass(frozen=True)
class KeptCost:
    """Parameters and MACs of the slim PP-Res SA-GAN of one size, for any kept channels, exactly as `count` has them.

    One network is built and counted; what each further channel adds follows from the shapes of the layers at it.
    """

    resolution: int
    num_classes: int
    channels: tuple[int, ...]  # of each block's input and of the last one's output
    rest: Complexity  # of everything that no mask touches

    @staticmethod
    @cache
    def of(resolution: int = 128, num_classes: int = 1000, width: int = 64, dim_z: int = 128) -> "KeptCost":
        """Of the network of that size; the defaults are the paper's."""
        blocks = len(table_channels(GeneratorConfig("sagan", resolution, num_classes, width, dim_z))) - 1
        narrowest = slim_config(((1, 1),) * blocks, resolution, num_classes, width, dim_z)
        bare = KeptCost(resolution, num_classes, table_channels(narrowest), Complexity(0, 0))
        whole, masked = count(narrowest), bare.at_channels(((1, 1),) * blocks)
        rest = Complexity(whole.params - masked.params, whole.macs - masked.macs)
        return KeptCost(resolution, num_classes, bare.channels, rest)

    def hidden(self, kept: float) -> Hidden:
        """Channels of conv1 and conv2 of each block where every mask layer keeps this fraction."""
        return tuple((kept_channels(out, kept),) * 2 for out in self.channels[1:])

    def at(self, kept: float) -> Complexity:
        """Where every mask layer keeps this fraction.

        Raises:
            PpcdError: it is not in (0, 1].
        """
        return self.at_channels(self.hidden(kept))

    def at_channels(self, hidden: Sequence[tuple[int, int]]) -> Complexity:
        """Where conv1 and conv2 of each block have these channels."""
        params, macs = self.rest.params, self.rest.macs
        for block, (first, second) in enumerate(hidden):
            into, out = self.channels[block : block + 2]
            pixels = (self.resolution >> (len(hidden) - 1 - block)) ** 2
            weights = 9 * into * first + 9 * first * second + second * out  # conv1, conv2, transition
            params += weights + first + second  # with the biases; the transition's is not the masks' matter
            params += 2 * self.num_classes * first  # gain and bias of every class
            macs += (weights + first) * pixels  # and the product with the gain
        return Complexity(params, macs)

    def implied(self, quantity: str, value: float) -> float:
        """The fraction that every mask layer would keep in a network of that size: `at` turned round.

        Counts go up in steps, a channel at a time; found is the middle of the fractions between which they come from
        not above the value to above it.

        Args:
            quantity: "params" or "macs".
            value: how many.

        Raises:
            PpcdError: another quantity, or no kept fraction gives so many.
        """
        if quantity not in ("params", "macs"):
            raise PpcdError(f"a kept fraction is implied by params or macs; got {quantity!r}")
        lowest, highest = getattr(self.at(1e-6), quantity), getattr(self.at(1.0), quantity)
        if not lowest <= value <= highest:
            raise PpcdError(
                f"{value:,.0f} {quantity} are out of reach: this network has {lowest:,} to {highest:,} of them"
            )
        return _crossing(lambda kept: getattr(self.at(kept), quantity) - value)


def _crossing(height: Callable[[float], float]) -> float:
    """Where a function that never falls comes from below or at 0 to above it (1.0 where it does not), by bisection."""
    low, high = 1e-6, 1.0
    if height(high) <= 0:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if height(middle) > 0 else (middle, high)
    return (low + high) / 2
