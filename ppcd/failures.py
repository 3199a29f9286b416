"""Failure cases (section 4.4, Figure 8) by two stated rules, and which share of the samples fails.

The paper found its failures "when visually observing many generated images". A share needs a rule instead:

* unclear: the profile's classifier gives the class that was asked for a probability below 0.5;
* far: the image's distance to the nearest real image of its class, in the features of the profile's backbone,
  is beyond the 99th percentile of the same distance of the real images of that class (each without itself), so
  that one real image in a hundred is "far".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from ppcd.data import ImageSet
from ppcd.errors import PpcdError
from ppcd.evaluate import Gauges, sample_images
from ppcd.metrics.fidelity import reference_order

LEAST_PROBABILITY = 0.5
PERCENTILE = 99.0


@dataclass(frozen=True)
class Judged:
    """A set of images and what the two rules say of each.

    Attributes:
        probability: of the class that was asked for, p(y | x).
        distance: to the nearest real image of that class, in units of the class's threshold: above 1 is far.
    """

    images: UInt8[Tensor, "n 3 height width"]
    labels: Int64[Tensor, " n"]
    probability: Float[Tensor, " n"]
    distance: Float[Tensor, " n"]

    @property
    def unclear(self) -> Bool[Tensor, " n"]:
        return self.probability < LEAST_PROBABILITY

    @property
    def far(self) -> Bool[Tensor, " n"]:
        return self.distance > 1

    def worst(self, rule: str, count: int) -> Int64[Tensor, " found"]:
        """Indices of the failures under a rule, the worst first, at most `count`; none where none fails.

        Raises:
            PpcdError: there is no such rule.
        """
        if rule not in RULES:
            raise PpcdError(f"unknown rule {rule!r}; expected one of: {', '.join(RULES)}")
        badness = -self.probability if rule == "unclear" else self.distance
        failed = getattr(self, rule).nonzero().flatten()
        return failed[badness[failed].argsort(descending=True, stable=True)][:count]


RULES = {
    "unclear": f"the classifier gives the asked class p < {LEAST_PROBABILITY:g}",
    "far": f"further from the nearest real image of the class than {PERCENTILE:g}% of that class's real images",
}


@dataclass(frozen=True)
class Reference:
    """The real images that the rule `far` compares with.

    Attributes:
        images, features, labels: the real images (10,000 at most, in the metrics' random order).
        nearest: distance of each to the nearest other one of its class.
        thresholds: of each class, the 99th percentile of `nearest`.
    """

    images: UInt8[Tensor, "n 3 height width"]
    features: Float[Tensor, "n feature"]
    labels: Int64[Tensor, " n"]
    nearest: Float[Tensor, " n"]
    thresholds: Float[Tensor, " klass"]


def nearest_distances(
    features: Float[Tensor, "n feature"],
    labels: Int64[Tensor, " n"],
    real: Float[Tensor, "m feature"],
    real_labels: Int64[Tensor, " m"],
    leave_one_out: bool = False,
) -> Float[Tensor, " n"]:
    """Euclidean distance of each vector to the nearest real one of its own class, in float64.

    Args:
        leave_one_out: the two sets are the same, and a vector is not its own neighbour.

    Raises:
        PpcdError: a class with too few real images.
    """
    found = torch.empty(len(features), dtype=torch.float64)
    for label in labels.unique().tolist():
        mine, others = (labels == label).nonzero().flatten(), (real_labels == label).nonzero().flatten()
        if len(others) < 1 + leave_one_out:
            raise PpcdError(f"class {label} has {len(others)} real images; too few to measure a distance to")
        distances = torch.cdist(features[mine].double(), real[others].double())
        if leave_one_out:
            distances.fill_diagonal_(torch.inf)
        found[mine] = distances.amin(1)
    return found


def reference(data: ImageSet, gauges: Gauges) -> Reference:
    """The real images that are compared with, and the threshold of each class."""
    features = gauges.real.features
    order = reference_order(len(data))[: len(features)]
    labels = data.labels[order]
    nearest = nearest_distances(features, labels, features, labels, leave_one_out=True)
    thresholds = [torch.quantile(nearest[labels == label], PERCENTILE / 100) for label in range(len(data.classes))]
    return Reference(data.images[order], features, labels, nearest, torch.stack(thresholds))


def judge(
    images: UInt8[Tensor, "n 3 height width"], labels: Int64[Tensor, " n"], gauges: Gauges, real: Reference
) -> Judged:
    """What the rules say of these images, asked to be of these classes."""
    found = gauges.network.extract(images)
    nearest = nearest_distances(found.features, labels, real.features, real.labels)
    return _judged(images, labels, gauges.judge(images, found), nearest, real)


def judge_samples(generator: nn.Module, count: int, seed: int, gauges: Gauges, real: Reference) -> Judged:
    """What they say of the first `count` samples of the evaluation with that seed."""
    return judge(*sample_images(generator, count, seed), gauges, real)


def judge_real(count: int, gauges: Gauges, real: Reference) -> Judged:
    """What they say of the first `count` real images, each without itself among its neighbours."""
    images, labels = real.images[:count], real.labels[:count]
    logits = gauges.judge(images, gauges.network.extract(images))
    return _judged(images, labels, logits, real.nearest[:count], real)


def _judged(images: Tensor, labels: Tensor, logits: Tensor, nearest: Tensor, real: Reference) -> Judged:
    probability = torch.softmax(logits.double(), dim=1)[torch.arange(len(labels)), labels]
    scale = real.thresholds[labels].clamp_min(torch.finfo(torch.float64).tiny)
    return Judged(images, labels, probability, nearest / scale)


def join(parts: Sequence[Judged]) -> Judged:
    """Several sets as one, for example of several seeds."""
    names = ("images", "labels", "probability", "distance")
    return Judged(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
