"""Intervals over seeds and generations: a hierarchical bootstrap, paired over systems.

A system was trained with several seeds, and each of its runs was measured in several generations. A resample draws
seeds with replacement, the same ones for every system (recipes of one seed share initialisation, data order and
noise, so their differences are paired), and then generations with replacement within each drawn run. With one seed
only the generations vary, and the spread between seeds is not in the interval. With three seeds the three are the
same in more than 2.5% of the resamples at either end, so a 95% interval reaches about from the lowest seed to the
highest: a comparison is decided where all seeds agree.
"""

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ppcd.seeds import seeded_numpy

Array = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20220456  # of the bootstrap's own draws; runs have seeds of their own


class Bootstrap:
    """The resamples of one comparison; what is drawn depends on nothing but seed, shape and a system's name.

    Args:
        seeds: how many seeds every system was trained with.
        resamples: how many resamples are drawn.
        seed: of the draws.
    """

    def __init__(self, seeds: int, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        if seeds < 1 or resamples < 1:
            raise ValueError(f"a bootstrap needs seeds and resamples, got {seeds} and {resamples}")
        self.seeds, self.resamples, self._seed = seeds, resamples, seed
        self._drawn = seeded_numpy(seed).integers(0, seeds, size=(resamples, seeds))

    def means(self, system: str, values: Array) -> Array:
        """The mean of a system's measurement in every resample.

        Args:
            system: its name; all measurements of one system see the same generations drawn.
            values: [seed, generation]; one generation for what does not vary with the noise.

        Returns:
            [resample]
        """
        if values.ndim != 2 or len(values) != self.seeds or values.shape[1] < 1:
            raise ValueError(f"expected values [{self.seeds} seeds, generations], got {values.shape}")
        generations = values.shape[1]
        generator = seeded_numpy([self._seed, crc32(system.encode())])
        chosen = generator.integers(0, generations, size=(self.resamples, self.seeds, generations))
        return values[self._drawn[:, :, None], chosen].mean(axis=(1, 2))


def interval(statistics: Array, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of a statistic over resamples."""
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
