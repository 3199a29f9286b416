"""Mean, covariance and features of a set of images: what the distances between two sets are computed from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ppcd.base import PpcdError, needs
from ppcd.metrics.sampling import MINIMUM

with needs("metrics"):
    from torch_fidelity.metric_fid import fid_features_to_statistics

COMPARED = 10_000  # at most; features that KID, precision and recall compare, of either set


@dataclass(frozen=True)
class Moments:
    """What the Fréchet distance needs of a set: mean and covariance of its features."""

    mu: Float[Tensor, " feature"]
    sigma: Float[Tensor, "feature feature"]


@dataclass(frozen=True)
class Statistics(Moments):
    """What all distances need of a set: moments, and the features that KID, precision and recall compare."""

    features: Float[Tensor, "compared feature"]  # of its first images
    images: int  # how many there were


def statistics(features: Float[Tensor, "n feature"]) -> Statistics:
    """The statistics of a set, mu and sigma in float64."""
    if len(features) < MINIMUM:
        raise PpcdError(f"the metrics need at least {MINIMUM} samples; got {len(features)}")
    if not bool(features.isfinite().all()):
        raise PpcdError("features that are not finite cannot be compared")
    found = fid_features_to_statistics(features.double())
    mu, sigma = torch.from_numpy(found["mu"]), torch.from_numpy(found["sigma"])
    return Statistics(mu, sigma, features[:COMPARED], len(features))


def without(whole: Statistics, part: Statistics, places: Int64[Tensor, " part"]) -> Statistics:
    """The statistics of a set without a part of it, by Chan, Golub and LeVeque 1979, eq. 2.1, solved for one of two.

    For two sets of m and n vectors, means that differ by d and scatter matrices S (sums of squared deviations from
    their means), S = S_m + S_n + m n / (m + n) d d^T. `places` says where the part's members stand in the set.
    """
    left = whole.images - part.images
    if left < MINIMUM:
        raise PpcdError(f"the metrics need at least {MINIMUM} samples; {left} are left")
    mu = (whole.images * whole.mu.double() - part.images * part.mu.double()) / left
    apart = part.mu.double() - mu
    scatter = (whole.images - 1) * whole.sigma.double() - (part.images - 1) * part.sigma.double()
    scatter -= left * part.images / whole.images * torch.outer(apart, apart)
    stays = torch.ones(len(whole.features), dtype=torch.bool)
    stays[places[places < len(stays)]] = False
    return Statistics(mu, scatter / (left - 1), whole.features[stays], left)
