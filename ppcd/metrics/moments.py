"""Means and covariances of sets of features that come in portions, in memory for their first 10,000 only.

Up to that many, torch-fidelity sees the whole set; of a larger one, what it would compute is added up in double
precision.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics

from ppcd.base import PpcdError

MINIMUM = 16  # samples: precision and recall look at the third neighbour, KID halves the set
COMPARED = 10_000  # at most; features kept for KID, precision and recall, of either set
PORTION = 5_000  # features that are added up at a time


@dataclass(frozen=True)
class Moments:
    """What the Fréchet distance needs of a set.

    Attributes:
        mu, sigma: mean and covariance of its features.
    """

    mu: Float[Tensor, " feature"]
    sigma: Float[Tensor, "feature feature"]


@dataclass(frozen=True)
class Statistics(Moments):
    """What all distances need of a set: moments, and the features that KID, precision and recall compare.

    Attributes:
        features: of its first images (COMPARED at most).
        images: how many there were.
    """

    features: Float[Tensor, "compared feature"]
    images: int


def statistics(features: Float[Tensor, "n feature"]) -> Statistics:
    """The statistics of a set.

    Raises:
        PpcdError: fewer than 16 samples, or features that are not finite.
    """
    running = RunningStatistics()
    running.add(features)
    return running.result()


class RunningStatistics:
    """The statistics of a set whose features come in portions, in memory for COMPARED of them.

    mu and sigma of more than that are merged in float64 after Chan, Golub and LeVeque 1979, eq. 2.1: for two sets of
    m and n vectors, means that differ by d and scatter matrices S (sums of squared deviations from their means),
    S = S_m + S_n + m n / (m + n) d d^T.
    """

    def __init__(self) -> None:
        self.images = 0
        self._first: list[Tensor] = []
        self._rest = _Scatter()

    def add(self, features: Float[Tensor, "n feature"]) -> None:
        """One more portion.

        Raises:
            PpcdError: features that are not finite.
        """
        if not bool(features.isfinite().all()):
            raise PpcdError("features that are not finite cannot be compared")
        room = max(0, COMPARED - self.images)
        self.images += len(features)
        if room:
            self._first.append(features[:room])
        if len(features) > room:
            self._rest.add(features[room:])

    def result(self) -> Statistics:
        """Of all that came: as torch-fidelity computes them where it was COMPARED or less.

        Raises:
            PpcdError: fewer than 16 samples.
        """
        if self.images < MINIMUM:
            raise PpcdError(f"the metrics need at least {MINIMUM} samples; got {self.images}")
        first = torch.cat(self._first)
        if self.images <= COMPARED:
            found = fid_features_to_statistics(first)
            return Statistics(torch.from_numpy(found["mu"]), torch.from_numpy(found["sigma"]), first, self.images)
        whole = _Scatter()
        whole.merge(self._rest)
        for part in first.split(PORTION):
            whole.add(part)
        return Statistics(torch.from_numpy(whole.mean), torch.from_numpy(whole.covariance()), first, self.images)


class _Scatter:
    """Number, mean and scatter matrix of vectors, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.scatter = np.zeros(0)

    def add(self, features: Float[Tensor, "n feature"]) -> None:
        more = _Scatter()
        deviations = features.double().numpy()
        more.count, more.mean = len(deviations), deviations.mean(0)
        deviations = deviations - more.mean
        more.scatter = deviations.T @ deviations
        self.merge(more)

    def merge(self, other: "_Scatter") -> None:
        if not self.count:
            self.count, self.mean, self.scatter = other.count, other.mean, other.scatter
            return
        total, apart = self.count + other.count, other.mean - self.mean
        self.scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.count * other.count / total)
        self.mean = self.mean + apart * (other.count / total)
        self.count = total

    @classmethod
    def of(cls, known: Statistics) -> "_Scatter":
        found = cls()
        found.count, found.mean = known.images, known.mu.double().numpy()
        found.scatter = known.sigma.double().numpy() * (known.images - 1)
        return found

    def leave_out(self, part: "_Scatter") -> None:
        """What `merge` did to these, undone."""
        left = self.count - part.count
        if left < MINIMUM:
            raise PpcdError(f"the metrics need at least {MINIMUM} samples; {max(left, 0)} are left")
        self.mean = (self.mean * self.count - part.mean * part.count) / left
        apart = part.mean - self.mean
        self.scatter = self.scatter - part.scatter - np.outer(apart, apart) * (left * part.count / self.count)
        self.count = left

    def covariance(self) -> np.ndarray:
        """Unbiased, as numpy's `cov`."""
        return self.scatter / (self.count - 1)


def without(whole: Statistics, part: Statistics, places: Int64[Tensor, " part"]) -> Statistics:
    """The statistics of a set without a part of it.

    Args:
        whole, part: of the set and of the part.
        places: where the part's members stand in the set.

    Raises:
        PpcdError: fewer than 16 are left.
    """
    kept = torch.ones(len(whole.features), dtype=torch.bool)
    kept[places[places < len(kept)]] = False
    if whole.images <= COMPARED:
        return statistics(whole.features[kept])
    rest, gone = _Scatter.of(whole), _Scatter.of(part)
    rest.leave_out(gone)
    return Statistics(
        torch.from_numpy(rest.mean), torch.from_numpy(rest.covariance()), whole.features[kept], rest.count
    )
