"""IS, Fréchet distance, KID, precision and recall, each computed by torch-fidelity from features.

Features of a set are computed once and serve all five. Functions take (generated, real), in this order.
Nothing here draws from a global random state: torch-fidelity uses a numpy RandomState of its own, whose seed
is part of the protocol.

Sets come in portions (`RunningStatistics`, `RunningInceptionScore`) and need memory for their first 10,000 features
only. Up to that many, torch-fidelity sees the whole set; of a larger one, what it would compute is added up in
double precision.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch_fidelity import (
    KEY_METRIC_FID,
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
)
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ppcd.data import ImageSet
from ppcd.errors import PpcdError
from ppcd.metrics.cache import Entry, Key, cached
from ppcd.metrics.features import Backbone, Features
from ppcd.seeds import seeded

VERSION = 2  # raised when reference statistics are computed differently
MINIMUM = 16  # samples: precision and recall look at the third neighbour, KID halves the set
REFERENCE_IMAGES = 50_000  # at most; statistics of the Fréchet distance
COMPARED = 10_000  # at most; features kept for KID, precision and recall, of either set
READ = 5_000  # features of real images that are gathered before they are added up
IS_SPLITS, IS_SPLIT_SAMPLES = 10, 100
KID_SUBSETS, KID_SUBSET_SIZE, KID_SEED = 25, 1000, 2020
PRC_NEIGHBOURHOOD, PRC_BATCH = 3, 1000


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
        for part in first.split(READ):
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


def reference_statistics(data: ImageSet, backbone: Backbone) -> Statistics:
    """The statistics of the real images, from the cache where they are there; a batch of images in memory at a time.

    All images, or 50,000 drawn from them with a fixed seed, in a random order: the first of them, which KID,
    precision and recall look at, are then of all classes.
    """
    order = reference_order(len(data))
    key: Key = {
        "version": VERSION,
        "data": data.sha256,
        "backbone": backbone.name,
        "weights": backbone.sha256,
        "images": len(order),
        "compared": COMPARED,
    }

    def compute() -> Entry:
        running = RunningStatistics()
        for part in order.split(READ):
            batches = [backbone.extract(data.images[some]).features for some in part.split(backbone.batch)]
            running.add(torch.cat(batches))
        found = running.result()
        return Entry({"mu": found.mu, "sigma": found.sigma, "features": found.features}, {})

    tensors = cached("statistics", key, compute).tensors
    return Statistics(tensors["mu"], tensors["sigma"], tensors["features"], len(order))


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


def reference_order(count: int) -> Int64[Tensor, " reference"]:
    """Indices of the real images that are compared with."""
    return torch.randperm(count, generator=seeded(0))[:REFERENCE_IMAGES]


def frechet_distance(generated: Moments, real: Moments) -> float:
    """|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)): "FID" where the backbone is inception."""
    mean = torch.promote_types(generated.mu.dtype, real.mu.dtype)
    pair = [{"mu": each.mu.to(mean).numpy(), "sigma": each.sigma.numpy()} for each in (generated, real)]
    return float(fid_statistics_to_metric(*pair, verbose=False)[KEY_METRIC_FID])


def kernel_distance(generated: Float[Tensor, "n feature"], real: Float[Tensor, "m feature"]) -> tuple[float, float]:
    """KID: mean and standard deviation over subsets of the unbiased MMD^2 with the kernel (x.y / d + 1)^3."""
    found = kid_features_to_metric(
        generated,
        real,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=kid_subset_size(len(generated), len(real)),
        rng_seed=KID_SEED,
        verbose=False,
    )
    return float(found[KEY_METRIC_KID_MEAN]), float(found[KEY_METRIC_KID_STD])


def kid_subset_size(generated: int, real: int) -> int:
    """1,000 as usual, but at most half of the smaller set, so that subsets differ."""
    return min(KID_SUBSET_SIZE, min(generated, real) // 2)


def precision_recall(generated: Float[Tensor, "n feature"], real: Float[Tensor, "m feature"]) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019), third neighbour, equal numbers of both.

    In double precision: torch's distances in float32 would give copies of one image a radius above zero.
    """
    count = min(len(generated), len(real))
    found = prc_features_to_metric(
        generated[:count].double(),
        real[:count].double(),
        prc_neighborhood=PRC_NEIGHBOURHOOD,
        prc_batch_size=PRC_BATCH,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def inception_score(logits: Float[Tensor, "n klass"]) -> tuple[float, float]:
    """IS: mean and standard deviation over splits.

    The samples are not shuffled: `sample_images` lets the classes take turns, so that every split has all of
    them in equal shares.
    """
    found = isc_features_to_metric(logits, splits=is_splits(len(logits)), shuffle=False)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD])


class RunningInceptionScore:
    """IS of samples whose logits come in portions, in memory for COMPARED of them.

    A split of n samples has exp(1/n sum_x sum_y p(y|x) log p(y|x) - sum_y p(y) log p(y)); of more samples than
    COMPARED the sums are kept, in float64.
    """

    def __init__(self, samples: int) -> None:
        splits = is_splits(samples)
        self._whole = samples <= COMPARED
        self._logits: list[Tensor] = []
        self._ends = torch.tensor([(split + 1) * samples // splits for split in range(splits)])
        self._seen = 0
        self._marginals = torch.zeros(splits, 0, dtype=torch.float64)
        self._negentropies = torch.zeros(splits, dtype=torch.float64)

    def add(self, logits: Float[Tensor, "n klass"]) -> None:
        """One more portion, in the order of the samples."""
        if self._whole:
            self._logits.append(logits)
            return
        log_p = logits.double().log_softmax(1)
        p = log_p.exp()
        split = torch.searchsorted(self._ends, torch.arange(self._seen, self._seen + len(p)), right=True)
        self._seen += len(p)
        if not self._marginals.numel():
            self._marginals = self._marginals.new_zeros(len(self._ends), p.shape[1])
        self._marginals.index_add_(0, split, p)
        self._negentropies.index_add_(0, split, (p * log_p).sum(1))

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation over splits, as `inception_score`."""
        if self._whole:
            return inception_score(torch.cat(self._logits))
        counts = self._ends.diff(prepend=torch.zeros(1, dtype=torch.int64))
        marginals = self._marginals / counts[:, None]
        scores = (self._negentropies / counts - torch.xlogy(marginals, marginals).sum(1)).exp()
        return scores.mean().item(), scores.std(correction=0).item()


def is_splits(samples: int) -> int:
    """10 as usual; 1 where a split would have fewer than 100 samples."""
    return IS_SPLITS if samples >= IS_SPLITS * IS_SPLIT_SAMPLES else 1


def fidelity_scores(generated: Features, real: Statistics) -> dict[str, float]:
    """All five: is, is_std, fd, kid, kid_std, precision, recall."""
    return compare(statistics(generated.features), inception_score(generated.logits), real)


def compare(found: Statistics, score: tuple[float, float], real: Statistics) -> dict[str, float]:
    """The same of generated samples whose statistics and inception score (mean, deviation) are there already."""
    kid, kid_std = kernel_distance(found.features, real.features)
    precision, recall = precision_recall(found.features, real.features)
    return {
        "is": score[0],
        "is_std": score[1],
        "fd": frechet_distance(found, real),
        "kid": kid,
        "kid_std": kid_std,
        "precision": precision,
        "recall": recall,
    }


def protocol(samples: int, reference: int) -> dict[str, int]:
    """Under which settings `fidelity_scores` compares that many samples with that many real images."""
    generated, real = min(samples, COMPARED), min(reference, COMPARED)
    return {
        "is_splits": is_splits(samples),
        "kid_subsets": KID_SUBSETS,
        "kid_subset_size": kid_subset_size(generated, real),
        "kid_seed": KID_SEED,
        "prc_neighbourhood": PRC_NEIGHBOURHOOD,
        "prc_samples": min(generated, real),
    }
