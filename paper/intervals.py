"""One rule for verdicts, of claims and of questions: Student's t interval over paired seeds.

Runs of one seed share initialisation, data order and noise, so a comparison gives one number a seed: the logarithm of
a ratio, a difference or a slope. The interval of their mean has the coverage that it states where these numbers are
about normal. A percentile bootstrap over three seeds, which was used here before, has not: it is their range, and calls
two equal systems different in a quarter of simulated cases (`tests/test_intervals.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
MOST_SEEDS = 50  # more than anybody will train


@dataclass(frozen=True)
class Contrast:
    """What paired runs say of a comparison: one number a seed, and the bound that their mean is compared with."""

    values: tuple[float, ...]
    bound: float = 0.0

    @property
    def mean(self) -> float:
        """NaN without any seed."""
        return float(np.mean(self.values)) if self.values else math.nan

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """See `t_interval`."""
        return t_interval(self.values, level)

    @property
    def p(self) -> float:
        """Of the two-sided t test against the bound: at most 1 - level where that level's interval leaves it out."""
        if len(self.values) < 2:
            return 1.0
        if np.ptp(self.values) == 0:
            return float(self.values[0] == self.bound)
        return float(stats.ttest_1samp(self.values, self.bound).pvalue)

    def seeds_to_decide(self, level: float = LEVEL) -> int | None:
        """The fewest seeds whose interval would leave the bound out, if mean and standard deviation stay the same.

        Returns:
            None for more than `MOST_SEEDS`, and for fewer than two values, whose spread is not known.
        """
        if len(self.values) < 2:
            return None
        distance, spread = abs(self.mean - self.bound), float(np.std(self.values, ddof=1))
        return next((n for n in range(2, MOST_SEEDS + 1) if _half_width(spread, n, level) < distance), None)


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The two-sided t interval of the mean of one value a seed.

    Args:
        values: [seed]; those that are all equal have an interval of no width.
        level: its coverage.

    Returns:
        lower and upper end; the whole line for fewer than two values, which say nothing of the spread between seeds.
    """
    if len(values) < 2:
        return -math.inf, math.inf
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    half = _half_width(float(np.std(values, ddof=1)), len(values), level)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _half_width(spread: float, seeds: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, seeds - 1)) * spread / math.sqrt(seeds)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values of several tests, corrected for their number (Holm 1979) so that they bound the family-wise error."""
    ordered = sorted(p_values, key=lambda each: p_values[each])
    scaled = [(len(ordered) - place) * p_values[name] for place, name in enumerate(ordered)]
    return dict(zip(ordered, np.maximum.accumulate(np.minimum(scaled, 1.0)).tolist(), strict=True))
