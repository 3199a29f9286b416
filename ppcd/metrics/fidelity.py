"""IS, Fréchet distance, KID, precision and recall, each computed by torch-fidelity from features.

Features of a set are computed once and serve all five. Functions take (generated, real), in this order.
Nothing here draws from a global random state: torch-fidelity uses a separate numpy RandomState, whose seed is
part of the protocol.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ppcd.base import needs, seeded
from ppcd.data.sets import ImageSet
from ppcd.metrics.cache import Entry, Key, cached
from ppcd.metrics.features import Backbone
from ppcd.metrics.moments import COMPARED, Moments, Statistics, statistics

with needs("metrics"):
    import torch_fidelity as names
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

VERSION = 2  # raised when reference statistics are computed differently
REFERENCE_IMAGES = 50_000  # at most; statistics of the Fréchet distance
IS_SPLITS, IS_SPLIT_SAMPLES = 10, 100
KID_SUBSETS, KID_SUBSET_SIZE, KID_SEED = 25, 1000, 2020
PRC_NEIGHBOURHOOD, PRC_BATCH = 3, 1000


def reference_statistics(data: ImageSet, backbone: Backbone) -> Statistics:
    """The statistics of the real images, from the cache where they are there.

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
        found = statistics(backbone.extract_from(data, order).features)
        return Entry({"mu": found.mu, "sigma": found.sigma, "features": found.features}, {})

    tensors = cached("statistics", key, compute).tensors
    return Statistics(tensors["mu"], tensors["sigma"], tensors["features"], len(order))


def reference_order(count: int) -> Int64[Tensor, " reference"]:
    """Indices of the real images that are compared with."""
    return torch.randperm(count, generator=seeded(0))[:REFERENCE_IMAGES]


def frechet_distance(generated: Moments, real: Moments) -> float:
    """|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)): "FID" where the backbone is inception."""
    mean = torch.promote_types(generated.mu.dtype, real.mu.dtype)
    pair = [{"mu": each.mu.to(mean).numpy(), "sigma": each.sigma.numpy()} for each in (generated, real)]
    return float(fid_statistics_to_metric(*pair, verbose=False)[names.KEY_METRIC_FID])


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
    return float(found[names.KEY_METRIC_KID_MEAN]), float(found[names.KEY_METRIC_KID_STD])


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
    return float(found[names.KEY_METRIC_PRECISION]), float(found[names.KEY_METRIC_RECALL])


def inception_score(logits: Float[Tensor, "n klass"]) -> tuple[float, float]:
    """IS: mean and standard deviation over splits.

    The samples are not shuffled: `sample_images` lets the classes take turns, so that every split has all of
    them in equal shares.
    """
    found = isc_features_to_metric(logits, splits=is_splits(len(logits)), shuffle=False)
    return float(found[names.KEY_METRIC_ISC_MEAN]), float(found[names.KEY_METRIC_ISC_STD])


def is_splits(samples: int) -> int:
    """10 as usual; 1 where a split would have fewer than 100 samples."""
    return IS_SPLITS if samples >= IS_SPLITS * IS_SPLIT_SAMPLES else 1


def compare(found: Statistics, score: tuple[float, float], real: Statistics) -> dict[str, float | None]:
    """All five of generated samples (is, is_std, fd, kid, kid_std, precision, recall), given their Inception score.

    KID, precision and recall are None where there are no features of single real images.
    """
    kid = kid_std = precision = recall = None
    if len(real.features):
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
    """Under which settings `compare` compares that many samples with that many real images."""
    generated, real = min(samples, COMPARED), min(reference, COMPARED)
    return {
        "is_splits": is_splits(samples),
        "kid_subsets": KID_SUBSETS,
        "kid_subset_size": kid_subset_size(generated, real),
        "kid_seed": KID_SEED,
        "prc_neighbourhood": PRC_NEIGHBOURHOOD,
        "prc_samples": min(generated, real),
    }
