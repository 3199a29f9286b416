"""One finished generator -> its scores, and the protocol under which they were taken."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics.classifier import agreement
from ppcd.metrics.diversity import Diversity, diversity
from ppcd.metrics.evaluators import Evaluators, asked_probability, get_evaluators
from ppcd.metrics.features import Backbone, published_backbone
from ppcd.metrics.fidelity import compare, frechet_distance, inception_score, is_splits, protocol
from ppcd.metrics.moments import Moments, Statistics, statistics
from ppcd.metrics.sampling import fewest_samples, sample_images
from ppcd.metrics.statistics_files import StatisticsFile, check_features

FREE = ("seed", "accuracy_classifier")  # the seed of the noise, and how good the judge of this machine is
VERSION = 1  # of the protocol: raised when a score means something else than before
DIVERSITY_SEED = 0
NEED_IMAGES = ("kid", "kid_std", "precision", "recall", "diversity", "accuracy")  # real ones, or labels to judge


def evaluate(
    G: nn.Module,
    data: ImageSet,
    *,
    backbone: str,
    samples: int,
    seed: int,
    classifier_epochs: int,
    device: torch.device | str = "cpu",
    judge: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a generator against the real images of `data`, or against what a `Reference` keeps of them.

    Args:
        G: G(z, y) in [-1, 1], with dim_z, num_classes and resolution; used in eval mode, then put back.
        backbone: "classifier", "efficientnet-lite0" or "inception".
        samples: how many images to generate, the classes in turn; all of them are in memory.
        seed: of their noise, and of nothing else.
        classifier_epochs: of the classifier that judges the labels (and is the backbone of that name).
        device: where generator, backbone and judge compute; G must be there.
        judge: of the labels: None, a classifier trained on the data; "natural-classifier", one for natural images;
            "efficientnet-lite0", a published one of ImageNet, for data with its 1000 classes.

    Returns:
        "protocol": what the scores depend on; scores are comparable where all of it agrees but
        accuracy_classifier (of the judge, on real images) and seed. "scores": is, is_std, fd, kid, kid_std,
        precision, recall, diversity, accuracy; all of them floats, accuracy, precision and recall in [0, 1]. Against
        a `Reference`, kid, kid_std, precision and recall are None.

    Raises:
        PpcdError: generator and data do not fit, too few samples, images that are not finite, or a backbone
            or judge that is not to be had.
    """
    check_fit(G, data)
    least = fewest_samples(len(data.classes))
    if samples < least:
        raise PpcdError(f"the metrics need at least {least} samples of this data; got {samples}: ask for more")
    evaluators = get_evaluators(data, backbone, classifier_epochs, device, judge=judge)
    found = measure(G, evaluators, samples, seed, device=device)
    return {
        "protocol": describe(data, evaluators, found, evaluators.real.images, samples, seed, classifier_epochs),
        "scores": {
            **compare(found.statistics, found.score, evaluators.real),
            "diversity": found.diversity.value,
            "accuracy": found.accuracy,
        },
    }


def describe(
    data: ImageSet,
    evaluators: Evaluators,
    found: "Measured",
    reference_images: int,
    samples: int,
    seed: int | None,
    classifier_epochs: int,
) -> dict[str, Any]:
    """The protocol: what scores of `found` depend on; see `evaluate`."""
    judge = evaluators.judge.name
    return {
        "version": VERSION,
        "backbone": evaluators.network.name,
        "backbone_sha256": evaluators.network.sha256,
        "samples": samples,
        "reference": data.identity,
        "reference_sha256": data.sha256,
        "reference_images": reference_images,
        "seed": seed,
        **protocol(samples, reference_images),
        "diversity": found.diversity.distance,
        "diversity_pairs_per_class": found.diversity.pairs_per_class,
        "accuracy_classifier": evaluators.accuracy,
        "classifier_epochs": classifier_epochs,
        "classifier_sha256": evaluators.judge.sha256,
        **({} if judge == "classifier" else {"judge": judge}),
    }


def evaluate_against(
    G: nn.Module,
    real: StatisticsFile,
    *,
    backbone: str,
    samples: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, Any]]:
    """What can be said of a generator with nothing but another tool's statistics of the real images.

    Arguments, protocol, scores and errors as `evaluate`, with the file's name and hash as the reference; all scores but
    is, is_std and fd are None, and so are the settings of theirs.
    """
    check_features(real, backbone)
    network = published_backbone(backbone, device)
    distance, (mean, deviation) = frechet_and_inception(G, network, real, samples, seed, device)
    taken = {
        "version": VERSION,
        "backbone": network.name,
        "backbone_sha256": network.sha256,
        "samples": samples,
        "reference": real.name,
        "reference_sha256": real.sha256,
        "reference_images": None,
        "seed": seed,
        "is_splits": is_splits(samples),
    }
    scores = {"is": mean, "is_std": deviation, "fd": distance, **dict.fromkeys(NEED_IMAGES)}
    return {"protocol": taken, "scores": scores}


def frechet_and_inception(
    G: nn.Module, backbone: Backbone, real: Moments, samples: int, seed: int, device: torch.device | str = "cpu"
) -> tuple[float, tuple[float, float]]:
    """Sample a generator: the Fréchet distance to real images, and the Inception score (mean, deviation)."""
    found = backbone.extract(sample_images(G, samples, seed, device=device)[0])
    return frechet_distance(statistics(found.features), real), inception_score(found.logits)


@dataclass(frozen=True)
class Measured:
    """What was found of a generator's samples."""

    statistics: Statistics  # of their features
    score: tuple[float, float]  # Inception score, mean and deviation
    diversity: Diversity
    accuracy: float  # the share that the judge puts into the class that was asked for, in [0, 1]
    leakage: float  # class leakage (section 3.3) as a number: the mean of 1 - p(y | x), p the judge's softmax


def measure(
    G: nn.Module, evaluators: Evaluators, samples: int, seed: int, *, device: torch.device | str = "cpu"
) -> Measured:
    """Generate samples and look at them; arguments as `evaluate`."""
    images, labels = sample_images(G, samples, seed, device=device)
    return observe(images, labels, int(G.num_classes), evaluators)  # type: ignore[arg-type]


def observe(
    images: UInt8[Tensor, "n 3 height width"], labels: Int64[Tensor, " n"], num_classes: int, evaluators: Evaluators
) -> Measured:
    """Look at images of classes from 0 on."""
    found = evaluators.network.extract(images)
    judged = evaluators.judged(images, found)
    return Measured(
        statistics(found.features),
        inception_score(found.logits),
        diversity(images, labels, num_classes, evaluators.network, seed=DIVERSITY_SEED),
        agreement(judged, labels),
        1 - asked_probability(judged, labels).mean().item(),
    )


def check_fit(G: nn.Module, data: ImageSet) -> None:
    """Refuse a generator that makes other classes or another resolution than the data have."""
    if lacking := [name for name in ("dim_z", "num_classes", "resolution") if not hasattr(G, name)]:
        raise PpcdError(
            f"a generator that is measured has dim_z, num_classes and resolution; {type(G).__name__} lacks "
            f"{', '.join(lacking)}: set them, for example G.{lacking[0]} = {32 if lacking[0] == 'resolution' else 10}"
        )
    given = {"num_classes": G.num_classes, "resolution": G.resolution}
    expected = {"num_classes": len(data.classes), "resolution": data.images.shape[-1]}
    if given != expected:
        raise PpcdError(
            f"the generator ({given}) does not fit the data {data.identity} ({expected}); take its own profile"
        )


def is_free(key: str) -> bool:
    """Whether an entry of a protocol may differ between scores that are compared.

    So may the weights of networks that were trained for measuring (`*_sha256`), on another machine for example; the
    real images may not.
    """
    return key in FREE or (key.endswith("_sha256") and key != "reference_sha256")
