"""Failure cases (section 4.4, Figure 8) by two stated rules, and which share of the samples fails.

The paper found its failures "when visually observing many generated images". A share needs a rule instead:

* unclear: the profile's judge (its classifier) gives the class that was asked for a probability below 0.5;
* far: the image's distance to the nearest real image of its class, in the features of the profile's backbone,
  is beyond the 99th percentile of the same distance of the real images of that class (each without itself), so
  that one real image in a hundred is "far".

The real images are those that the other metrics compare with, or a hundred of every class where these would be fewer.
Their features are in memory, 0.8 GB at ImageNet's 1000 classes and 2048 features; of the images, those that are judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ppcd.base import PpcdError, seeded
from ppcd.data.sets import ImageSet
from ppcd.metrics.cache import Entry, Key, cached
from ppcd.metrics.evaluators import Evaluators, asked_probability
from ppcd.metrics.features import Backbone
from ppcd.metrics.fidelity import reference_order

LEAST_PROBABILITY = 0.5
PERCENTILE = 99.0
PER_CLASS = 100  # real images: fewer have no 99th percentile
VERSION = 1  # raised when features of real images are taken differently


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
        """Indices of the failures under one of RULES, the worst first, at most `count`; none where none fails."""
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
        data, order: the real images are data.images[order], in a random order.
        features, labels: of these.
        nearest: distance of each to the nearest other one of its class.
        thresholds: of each class, the 99th percentile of `nearest`.
    """

    data: ImageSet
    order: Int64[Tensor, " n"]
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

    With `leave_one_out` the two sets are the same, and a vector is not its own neighbour.

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


def reference(data: ImageSet, evaluators: Evaluators) -> Reference:
    """The real images that are compared with, and the threshold of each class."""
    features = evaluators.real.features
    order = reference_order(len(data))[: len(features)]
    there, of_each = (torch.bincount(some, minlength=len(data.classes)) for some in (data.labels[order], data.labels))
    if bool((there < of_each.clamp_max(PER_CLASS)).any()):
        order = first_of_each_class(data.labels, PER_CLASS)
        features = _features(data, order, evaluators.network)
    labels = data.labels[order]
    nearest = nearest_distances(features, labels, features, labels, leave_one_out=True)
    thresholds = [torch.quantile(nearest[labels == label], PERCENTILE / 100) for label in range(len(data.classes))]
    return Reference(data, order, features, labels, nearest, torch.stack(thresholds))


def first_of_each_class(labels: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " chosen"]:
    """Indices of `count` images of every class, of all where there are fewer, drawn at random and in a random order."""
    order = torch.randperm(len(labels), generator=seeded(0))
    drawn = pd.Series(labels[order].numpy())
    return order[torch.tensor(drawn.groupby(drawn).head(count).index)]


def _features(data: ImageSet, order: Int64[Tensor, " n"], backbone: Backbone) -> Float[Tensor, "n feature"]:
    """Of these images; from the cache where they are there. A batch of images is in memory at a time."""
    key: Key = {
        "version": VERSION,
        "data": data.sha256,
        "backbone": backbone.name,
        "weights": backbone.sha256,
        "per_class": PER_CLASS,
    }

    def compute() -> Entry:
        parts = [backbone.extract(data.images[some]).features for some in order.split(backbone.batch)]
        return Entry({"features": torch.cat(parts)}, {})

    return cached("failures", key, compute).tensors["features"]


def judge(
    images: UInt8[Tensor, "n 3 height width"], labels: Int64[Tensor, " n"], evaluators: Evaluators, real: Reference
) -> Judged:
    """What the rules say of these images, asked to be of these classes."""
    found = evaluators.network.extract(images)
    nearest = nearest_distances(found.features, labels, real.features, real.labels)
    return _judged(images, labels, evaluators.judged(images, found), nearest, real)


def judge_real(count: int, evaluators: Evaluators, real: Reference) -> Judged:
    """What they say of the first `count` real images, each without itself among its neighbours."""
    images, labels = real.data.images[real.order[:count]], real.labels[:count]
    logits = evaluators.judged(images, evaluators.network.extract(images))
    return _judged(images, labels, logits, real.nearest[:count], real)


def _judged(images: Tensor, labels: Tensor, logits: Tensor, nearest: Tensor, real: Reference) -> Judged:
    scale = real.thresholds[labels].clamp_min(torch.finfo(torch.float64).tiny)
    return Judged(images, labels, asked_probability(logits, labels), nearest / scale)


def join(parts: Sequence[Judged]) -> Judged:
    """Several sets as one, for example of several seeds."""
    return Judged(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Judged)))
