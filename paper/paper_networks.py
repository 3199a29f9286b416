"""The networks of the paper's own scale: which they are, their parameters and MACs, and what the paper's imply.

The paper says what is left of a network (13.6M parameters and 1.6B MACs at alpha 0.7, 25M parameters at alpha 0.5),
not how many channels each mask kept. Here every mask layer keeps the same fraction, which turns each published number
into the kept fraction that it implies.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from paper import numbers
from ppcd.base import PpcdError
from ppcd.metrics.complexity import CONVENTION, Complexity, complexity
from ppcd.networks.generators import ARCHITECTURES, Generator, GeneratorConfig, table_channels
from ppcd.networks.initialisation import initialise
from ppcd.runs import provenance, trials
from ppcd.training.profiles import Profile

Content = dict[str, Any]  # of paper_scale.json

# The paper's numbers about PPCD-GAN's size: table, row, column, quantity, alpha.
POINTS = (
    (1, "PPCD-GAN (alpha=0.7)", "#Par.", "params", numbers.TABLE1_ALPHA),
    (1, "PPCD-GAN (alpha=0.7)", "MACs", "macs", numbers.TABLE1_ALPHA),
    (3, "PPCD-GAN (complete)", "#Par.", "params", numbers.TABLE3_ALPHA),
)
PLAIN = {"biggan": "Big-GAN", "sagan": "SA-GAN", "sngan": "SN-GAN", "tinygan": "Tiny-GAN"}  # network -> row of Table 1
MASKED, SLIM_MACS, SLIM_ALPHA = trials.MASKED, "ppcd-slim-macs", "ppcd-slim-alpha"
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
    size, hidden = (resolution, num_classes, width, dim_z), tuple((each, each) for each in channels)
    config = GeneratorConfig("sagan", *size, transition=True, hidden=hidden, spectral_norm=False)
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
        """Where every mask layer keeps this fraction."""
        more = np.array([kept_channels(channels, kept) - 1 for channels in self.channels])
        params, macs = self.narrowest + more @ self.first + more * (more - 1) // 2 @ self.second
        return Complexity(int(params), int(macs))

    def implied(self, quantity: str, value: float) -> float:
        """The fraction that every mask layer would keep in a network with so many "params" or "macs", by bisection.

        Counts go up in steps, a channel at a time; found is the middle of the fractions between which they come from
        not above the value to above it.

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


def is_paper_size(profile: Profile) -> bool:
    """Whether the profile's networks are the paper's."""
    widths = {arch: ARCHITECTURES[arch].width for arch in ("biggan", "sagan")}
    size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.student_width)
    return size == (128, 1000, widths["biggan"], widths["sagan"])


def kept_fractions() -> dict[str, float]:
    """Fraction of channels that every mask of a slim network of ours keeps, by the network's name.

    That which the paper's MACs at alpha 0.7 imply, and 1 - alpha.
    """
    macs = numbers.published(1, "PPCD-GAN (alpha=0.7)", "MACs").value
    return {SLIM_MACS: SizeModel.of().implied("macs", macs), SLIM_ALPHA: round(1 - numbers.TABLE1_ALPHA, 6)}


def network_configs(profile: Profile) -> dict[str, GeneratorConfig]:
    """The networks at the profile's size, in the order of Table 1, and slim PP-Res SA-GAN at `kept_fractions`."""
    student = (profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)
    slim = {name: kept_config(kept, *student) for name, kept in kept_fractions().items()}
    return {**trials.network_configs(profile), **slim}


def compute_complexity(profile: Profile) -> Content:
    """Parameters and MACs: of Table 1's networks, of the student by the kept fraction, and what the paper's imply.

    Returns:
        convention; networks {name: params, macs}; power_iterations {name: MACs with them counted, of those that have
        a spectral norm}; curve [kept, params, macs]; points, one for each of POINTS: the paper's value and its place,
        the kept fraction that it implies at the paper's size with the parameters and MACs there, and those of keeping
        1 - alpha; provenance.
    """
    began, configs, fractions = provenance.collect("cpu"), network_configs(profile), kept_fractions()
    full = SizeModel.of()
    student = SizeModel.of(profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)
    points = []
    for table, row, column, quantity, alpha in POINTS:
        value = numbers.published(table, row, column).value
        place = {"table": table, "row": row, "column": column, "quantity": quantity, "alpha": alpha, "value": value}
        implied = full.implied(quantity, value)
        kept = {"implied": {"kept": implied, **_sizes(full.at(implied))}}
        kept["literal"] = {"kept": round(1 - alpha, 6), **_sizes(full.at(1 - alpha))}
        points.append(place | kept)
    normalised = [name for name in PLAIN if ARCHITECTURES[name].spectral_norm]
    return {
        "convention": CONVENTION,
        "networks": {
            name: ({"kept": fractions[name]} if name in fractions else {}) | _sizes(count(config))
            for name, config in configs.items()
        },
        "power_iterations": {name: count(replace(configs[name], spectral_norm=True)).macs for name in normalised},
        "curve": [{"kept": kept, **_sizes(student.at(kept))} for kept in GRID],
        "points": points,
        "provenance": provenance.finish(began),
    }


def _sizes(cost: Complexity) -> dict[str, int]:
    return {"params": cost.params, "macs": cost.macs}
