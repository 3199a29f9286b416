"""One finished generator -> its scores, and the protocol under which they were taken."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ppcd.data import ImageSet, to_uint8
from ppcd.errors import PpcdError
from ppcd.metrics.classifier import Classifier, agreement, classifier_logits, train_or_load_classifier
from ppcd.metrics.diversity import diversity
from ppcd.metrics.features import BACKBONES, Backbone, Features, classifier_backbone, get_backbone
from ppcd.metrics.fidelity import MINIMUM, Statistics, fidelity_scores, protocol, reference_statistics
from ppcd.metrics.modes import eval_mode

VERSION = 1  # of the protocol: raised when a score means something else than before
DIVERSITY_SEED = 0
CHUNK = 64  # samples whose noise is drawn at once: torch draws the end of a tensor differently


def evaluate(
    G: nn.Module,
    data: ImageSet,
    *,
    backbone: str,
    samples: int,
    seed: int,
    classifier_epochs: int,
    device: torch.device | str = "cpu",
    distance: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a generator against the real images of `data`.

    Args:
        G: G(z, y) in [-1, 1], with dim_z, num_classes and resolution; used in eval mode, then put back.
        backbone: "classifier", "efficientnet-lite0" or "inception".
        samples: how many images to generate, the classes taking turns.
        seed: of their noise, and of nothing else.
        classifier_epochs: of the classifier that judges the labels (and is the backbone of that name).
        device: where generator, backbone and classifier compute; G must be there.
        distance: of the diversity; see `ppcd.metrics.diversity.diversity`.

    Returns:
        "protocol": what the scores depend on; scores are comparable where all of it agrees but
        accuracy_classifier and seed. "scores": is, is_std, fd, kid, kid_std, precision, recall, diversity,
        accuracy; all of them floats, accuracy, precision and recall in [0, 1].

    Raises:
        PpcdError: generator and data do not fit, too few samples, images that are not finite, or a backbone
            that is not to be had.
    """
    check_fit(G, data)
    check_samples(samples, data)
    gauges = get_gauges(data, backbone, classifier_epochs, device)
    network, classifier, real = gauges.network, gauges.classifier, gauges.real
    images, labels = sample_images(G, samples, seed, device=device)
    found = network.extract(images)
    scores = fidelity_scores(found, real)
    spread = diversity(images, labels, len(data.classes), network, seed=DIVERSITY_SEED, distance=distance)
    scores["diversity"] = spread.value
    scores["accuracy"] = agreement(gauges.judge(images, found), labels)
    taken = {
        "version": VERSION,
        "backbone": network.name,
        "backbone_sha256": network.sha256,
        "samples": samples,
        "reference": data.identity,
        "reference_sha256": data.sha256,
        "reference_images": real.images,
        "seed": seed,
        **protocol(samples, real.images),
        "diversity": spread.distance,
        "diversity_pairs_per_class": spread.pairs_per_class,
        "accuracy_classifier": classifier.accuracy,
        "classifier_epochs": classifier_epochs,
        "classifier_sha256": classifier.sha256,
    }
    return {"protocol": taken, "scores": scores}


@dataclass(frozen=True)
class Gauges:
    """What generated images are measured with: all of it is of the real images only.

    Attributes:
        network: the backbone.
        classifier: judges the labels; it is the backbone of that name.
        real: statistics of the real images.
    """

    network: Backbone
    classifier: Classifier
    real: Statistics

    def judge(self, images: UInt8[Tensor, "n 3 height width"], found: Features) -> Float[Tensor, "n klass"]:
        """The classifier's logits of the images, of which the backbone found these features."""
        return found.logits if self.network.name == "classifier" else classifier_logits(self.classifier, images)


def get_gauges(data: ImageSet, backbone: str, classifier_epochs: int, device: torch.device | str = "cpu") -> Gauges:
    """Backbone, classifier and real statistics, from the cache where they are there; arguments as `evaluate`.

    Raises:
        PpcdError: a backbone that is unknown or not to be had.
    """
    if backbone not in BACKBONES:
        raise PpcdError(f"unknown feature backbone {backbone!r}; expected one of: {', '.join(BACKBONES)}")
    classifier = train_or_load_classifier(data, epochs=classifier_epochs, device=device)
    if backbone == "classifier":
        network = classifier_backbone(classifier)
    else:
        network = get_backbone(backbone, data, device=device)
    return Gauges(network, classifier, reference_statistics(data, network))


def check_fit(G: nn.Module, data: ImageSet) -> None:
    """One line where the generator makes other classes or another resolution than the data have.

    Raises:
        PpcdError: it does.
    """
    given = {"num_classes": G.num_classes, "resolution": G.resolution}
    expected = {"num_classes": len(data.classes), "resolution": data.images.shape[-1]}
    if given != expected:
        raise PpcdError(f"the generator ({given}) does not fit the data {data.identity} ({expected})")


def fewest_samples(num_classes: int) -> int:
    """How many images the metrics need."""
    return max(MINIMUM, 2 * num_classes)


def check_samples(samples: int, data: ImageSet) -> None:
    """One line where there are too few.

    Raises:
        PpcdError: there are.
    """
    least = fewest_samples(len(data.classes))
    if samples < least:
        raise PpcdError(f"the metrics need at least {least} samples of this data; got {samples}")


def sample_images(
    G: nn.Module,
    count: int,
    seed: int,
    *,
    batch: int = 100,
    device: torch.device | str = "cpu",
) -> tuple[UInt8[Tensor, "count 3 height width"], Int64[Tensor, " count"]]:
    """Generate images as they would be saved, on the CPU; sample i has class i mod num_classes.

    Noise is drawn sample by sample from a generator of its own on the CPU: neither the batch size nor the
    device changes it, and the first samples of a larger count are those of a smaller one.

    Raises:
        PpcdError: count or batch < 1, or images that are not finite.
    """
    if count < 1 or batch < 1:
        raise PpcdError(f"sampling needs a count and a batch of at least 1; got {count} and {batch}")
    labels = torch.arange(count) % int(G.num_classes)  # type: ignore[arg-type]
    noise = draw_noise(count, int(G.dim_z), seed)  # type: ignore[arg-type]
    parts = []
    with eval_mode(G), torch.no_grad():
        for z, y in zip(noise.split(batch), labels.split(batch), strict=True):
            images = G(z.to(device), y.to(device))
            if not bool(images.isfinite().all()):
                raise PpcdError("the generator makes images that are not finite; nothing can be measured")
            parts.append(to_uint8(images).cpu())
    return torch.cat(parts), labels


def draw_noise(count: int, dim_z: int, seed: int) -> Float[Tensor, "count dim_z"]:
    """Standard normal noise of the samples; the first rows do not depend on how many are drawn."""
    generator = torch.Generator().manual_seed(seed)
    chunks = [torch.randn(CHUNK, dim_z, generator=generator) for _ in range(-(-count // CHUNK))]
    return torch.cat(chunks)[:count]
