"""Parameters and MACs of PP-Res SA-GAN by the fraction of channels that its masks keep, and the way back.

The paper says what is left of a network (13.6M parameters and 1.6B MACs at alpha 0.7, 25M parameters at alpha 0.5),
not how many channels each mask kept. Here every mask layer keeps the same fraction, which turns each published number
into the kept fraction that it implies.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Int

from ppcd.base import PpcdError
from ppcd.metrics.complexity import Complexity, complexity
from ppcd.networks.generators import ARCHITECTURES, Generator, GeneratorConfig, table_channels
from ppcd.networks.initialisation import initialise

GRID = tuple(step / 20 for step in range(1, 21))  # kept fractions at which the curve is drawn


def kept_channels(channels: int, kept: float) -> int:
    """How many of a layer's channels stay: the nearest whole number (an even one between two), at least 1."""
    if not 0 < kept <= 1:
        raise PpcdError(f"the kept fraction must be a number in (0, 1], for example 0.3; got {kept!r}")
    return max(1, round(kept * channels))


def kept_config(
    kept: float, resolution: int = 128, num_classes: int = 1000, width: int = 64, dim_z: int = 128
) -> GeneratorConfig:
    """The slim PP-Res SA-GAN whose every mask layer kept this fraction of its channels; the defaults are the paper's.

    Raises:
        PpcdError: the fraction is not in (0, 1], or there is no network of that size.
    """
    outputs = table_channels(GeneratorConfig("sagan", resolution, num_classes, width, dim_z))[1:]
    return _slim_config([kept_channels(each, kept) for each in outputs], resolution, num_classes, width, dim_z)


def _slim_config(channels: list[int], resolution: int, num_classes: int, width: int, dim_z: int) -> GeneratorConfig:
    """With these channels in both layers of each block."""
    hidden = tuple((each, each) for each in channels)
    config = GeneratorConfig(
        "sagan", resolution, num_classes, width, dim_z, transition=True, hidden=hidden, spectral_norm=False
    )
    config.check()
    return config


def build(config: GeneratorConfig, seed: int = 0) -> Generator:
    """The network of a configuration with fresh weights, in evaluation mode."""
    generator = Generator(config)
    initialise(generator, ARCHITECTURES[config.arch].init, seed, "generator")
    return generator.eval()


@cache
def count(config: GeneratorConfig) -> Complexity:
    """Parameters and MACs of the network of a configuration (`ppcd.complexity`).

    Its weights are zeros, which takes no time to draw: what is counted depends on shapes alone.
    """
    with torch.device("meta"):
        generator = Generator(config)
    generator.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*generator.parameters(), *generator.buffers()):
            tensor.zero_()
    return complexity(generator)


@dataclass(frozen=True)
class SizeModel:
    """Parameters and MACs of the slim PP-Res SA-GAN of one size, for any kept fraction, exactly as `count` has them.

    In the channels of one block the counts are a quadratic polynomial, so networks of 1, 2 and 3 channels in it, and
    one in the others, say all of it.

    Attributes:
        channels: of each block where all are kept.
        narrowest: params and macs of the network with one channel in every layer.
        first, second: first and second finite differences of each block's two polynomials.
    """

    channels: tuple[int, ...]
    narrowest: Int[np.ndarray, "2"]
    first: Int[np.ndarray, "block 2"]
    second: Int[np.ndarray, "block 2"]

    @staticmethod
    @cache
    def of(resolution: int = 128, num_classes: int = 1000, width: int = 64, dim_z: int = 128) -> "SizeModel":
        """Of the network of that size; the defaults are the paper's."""
        size = (resolution, num_classes, width, dim_z)
        channels = table_channels(GeneratorConfig("sagan", *size))[1:]
        blocks = range(len(channels))

        def counted(block: int, wide: int) -> tuple[int, int]:
            found = count(_slim_config([wide if each == block else 1 for each in blocks], *size))
            return found.params, found.macs

        counts = np.array([[counted(block, wide) for wide in (1, 2, 3)] for block in blocks])
        first, second = (np.diff(counts, order, axis=1)[:, 0] for order in (1, 2))
        return SizeModel(tuple(channels), counts[0, 0], first, second)

    def at(self, kept: float) -> Complexity:
        """Where every mask layer keeps this fraction.

        Raises:
            PpcdError: it is not in (0, 1].
        """
        more = np.array([kept_channels(channels, kept) - 1 for channels in self.channels])
        params, macs = self.narrowest + more @ self.first + more * (more - 1) // 2 @ self.second
        return Complexity(int(params), int(macs))

    def implied(self, quantity: str, value: float) -> float:
        """The fraction that every mask layer would keep in a network of that size: `at` turned round, by bisection.

        Counts go up in steps, a channel at a time; found is the middle of the fractions between which they come from
        not above the value to above it.

        Args:
            quantity: "params" or "macs".
            value: how many.

        Raises:
            PpcdError: no kept fraction gives so many.
        """
        low, high = 1e-6, 1.0
        lowest, highest = (getattr(self.at(kept), quantity) for kept in (low, high))
        if not lowest <= value <= highest:
            raise PpcdError(
                f"{value:,.0f} {quantity} are out of reach: this network has {lowest:,} to {highest:,} of them"
            )
        if value == highest:
            return high
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if getattr(self.at(middle), quantity) > value else (middle, high)
        return (low + high) / 2
