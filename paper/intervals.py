"""One rule for verdicts, of claims and of evidence: Student's t interval over paired seeds.

Runs of one seed share initialisation, data order and noise, so a comparison gives one number a seed: the logarithm of
a ratio, a difference or a slope. The interval of their mean has the coverage that it states where these numbers are
about normal. A percentile bootstrap over three seeds, which was used here before, has not: it is their range, and calls
two equal systems different in a quarter of simulated cases (`tests/test_intervals.py`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
MOST_SEEDS = 50  # more than anybody will train


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


def p_value(values: Sequence[float]) -> float:
    """Of the two-sided t test that the mean is 0: at most 1 - level where the interval of that level leaves 0 out."""
    if len(values) < 2:
        return 1.0
    if np.ptp(values) == 0:
        return float(values[0] == 0)
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values of several tests, corrected for their number (Holm 1979): the chance of any false finding is kept."""
    corrected, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        corrected[name] = largest
    return corrected


def seeds_to_decide(values: Sequence[float], bound: float = 0.0, level: float = LEVEL) -> int | None:
    """The fewest seeds whose interval would leave the bound out, if mean and standard deviation stay what they are.

    Returns:
        None for more than `MOST_SEEDS`, and for fewer than two values, whose spread is not known.
    """
    if len(values) < 2:
        return None
    distance, spread = abs(float(np.mean(values)) - bound), float(np.std(values, ddof=1))
    return next((n for n in range(2, MOST_SEEDS + 1) if _half_width(spread, n, level) < distance), None)


def _half_width(spread: float, seeds: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, seeds - 1)) * spread / math.sqrt(seeds)
