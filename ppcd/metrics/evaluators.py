"""What a profile's images are measured with: backbone, judge of the labels, statistics of the real images."""

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from ppcd.base import PpcdError, seeded
from ppcd.data.sets import ImageSet
from ppcd.metrics.cache import Entry, Key, cached
from ppcd.metrics.classifier import BACKBONES, TrainedClassifier, check_judge
from ppcd.metrics.features import Backbone, Features, get_backbone
from ppcd.metrics.fidelity import reference_statistics
from ppcd.metrics.moments import Statistics
from ppcd.metrics.reference import Reference

log = logging.getLogger(__name__)

JUDGED_IMAGES = 5_000  # real ones, at most, on which such a judge is tried
CHANCE = 10  # a judge that is right less than ten times as often as chance has other classes, or another order
VERSION = 1  # raised when the trial of a judge changes


@dataclass(frozen=True)
class Evaluators:
    """What generated images are measured with; none of it depends on a generator."""

    network: Backbone
    judge: Backbone  # its logits say of what class an image is: a classifier of the data, or a published one
    accuracy: float  # of the judge on real images (held out from training where the data trained it), in [0, 1]
    real: Statistics  # of the real images

    def judged(self, images: UInt8[Tensor, "n 3 height width"], found: Features) -> Float[Tensor, "n klass"]:
        """The judge's logits of the images, of which the backbone found these features."""
        return found.logits if self.network is self.judge else self.judge.extract(images).logits


def get_evaluators(
    data: ImageSet,
    backbone: str,
    classifier_epochs: int,
    device: torch.device | str = "cpu",
    *,
    judge: str | None = None,
) -> Evaluators:
    """Backbone, judge and real statistics, from the cache where they are there; arguments as `evaluate`.

    Raises:
        PpcdError: a backbone or a judge that is unknown or not to be had, a judge of other classes, or a reference
            of another backbone than the one here.
    """
    if backbone not in BACKBONES:
        raise PpcdError(f"unknown feature backbone {backbone!r}; expected one of: {', '.join(BACKBONES)}")
    if judge is not None:
        check_judge(judge, len(data.classes))
    network = get_backbone(backbone, data, classifier_epochs=classifier_epochs, device=device)
    judging = network
    if (name := judge or "classifier") != backbone:
        judging = get_backbone(name, data, classifier_epochs=classifier_epochs, device=device)
    if isinstance(data, Reference):
        if network.sha256 != data.backbone_sha256:
            raise PpcdError(
                f"{data.path} is of another {backbone} than the one here; scores need the images {data.identity}: "
                "point PPCD_DATA at their folder"
            )
        return Evaluators(network, judging, data.judge_accuracy, data.real)
    trained_here = isinstance(judging.network, TrainedClassifier)
    accuracy = judging.network.accuracy if trained_here else real_accuracy(data, judging)
    return Evaluators(network, judging, accuracy, reference_statistics(data, network))


def real_accuracy(data: ImageSet, judge: Backbone) -> float:
    """The share of real images, in [0, 1], that the judge puts into their class: of 5,000 fixed random ones at most.

    The protocol names it as the upper bound of the accuracies that the judge measures. Near chance, the classes of the
    data have another order than the judge's, and a warning says so. Read from the cache if possible.
    """
    order = torch.randperm(len(data), generator=seeded(0))[:JUDGED_IMAGES]
    key: Key = {
        "version": VERSION,
        "data": data.sha256,
        "judge": judge.name,
        "weights": judge.sha256,
        "images": len(order),
    }

    def compute() -> Entry:
        right = judge.extract_from(data, order).logits.argmax(1) == data.labels[order]
        return Entry({"accuracy": right.double().mean()}, {})

    accuracy = cached("judges", key, compute).tensors["accuracy"].item()
    if accuracy * len(data.classes) < CHANCE:
        log.warning(
            "the judge %s puts only %.2f%% of the real images of %s into their class: "
            "are the class folders ImageNet's, named by synset?",
            judge.name,
            100 * accuracy,
            data.identity,
        )
    return accuracy


def asked_probability(logits: Float[Tensor, "n klass"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """p(y | x) of each image for the class y that was asked for, p the softmax of the logits."""
    return torch.softmax(logits.double(), dim=1).gather(1, labels[:, None]).squeeze(1)
