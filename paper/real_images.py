"""Real images measured as if a generator had made them: the scores that no generator can be expected to pass.

Some of the real images are compared with all others that the statistics are of. Every score is taken as a generator's
is, except accuracy and leakage: the classifier was trained on most of these images, so those two are of the images that
were held out from its training. What `ppcd.metrics.reference` keeps of the images is written along with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from paper import measurements, sums
from paper.judges import get_judges
from paper.study import Study
from ppcd.base import PpcdError, seeded
from ppcd.data.sets import ImageSet
from ppcd.metrics.classifier import split
from ppcd.metrics.evaluate import describe, is_free, observe
from ppcd.metrics.evaluators import Evaluators, asked_probability
from ppcd.metrics.features import Backbone
from ppcd.metrics.fidelity import compare, reference_order
from ppcd.metrics.moments import without
from ppcd.metrics.reference import FILE as REFERENCE
from ppcd.metrics.reference import packed_reference, read_reference
from ppcd.metrics.sampling import fewest_of_each
from ppcd.progress import say
from ppcd.runs import provenance

Scored = dict[str, dict[str, Any]]  # protocol and scores, as `ppcd.metrics.evaluate.evaluate` returns them

FILE = "real.json"
COUNTS = ("samples", "reference_images", "is_splits", "kid_subset_size", "prc_samples")  # smaller for real images


def draw(data: ImageSet, samples: int) -> Int64[Tensor, " drawn"]:
    """Which images take a generator's place, by their places in `reference_order`: the last of each class there.

    As many as a generator is measured with, but at most half of the smallest class; the classes take turns.

    Raises:
        PpcdError: too few of a class.
    """
    labels = data.labels[reference_order(len(data))]
    members = [torch.nonzero(labels == label).flatten() for label in range(len(data.classes))]
    share = min(samples // len(members), min(map(len, members)) // 2)
    if share < 2:
        raise PpcdError(
            f"{data.identity} has too few images to compare real ones with others: among {len(labels)} of them are "
            f"{min(map(len, members))} of a class, and {2 * fewest_of_each(len(members))} of each are needed"
        )
    return torch.stack([each[-share:] for each in members], dim=1).flatten()


def measure_real_images(data: ImageSet, evaluators: Evaluators, samples: int, classifier_epochs: int) -> Scored:
    """Real images, at most as many as a generator's samples, against the other real images.

    Returns:
        "protocol" and "scores" as `ppcd.metrics.evaluate.evaluate` gives them; "samples" and "reference_images" of the
        protocol say how many images were compared with how many, its "seed" is None.

    Raises:
        PpcdError: too few images.
    """
    places = draw(data, samples)
    chosen = reference_order(len(data))[places]
    found = observe(data.images[chosen], data.labels[chosen], len(data.classes), evaluators)
    others = without(evaluators.real, found.statistics, places)
    return {
        "protocol": describe(data, evaluators, found, others.images, len(chosen), None, classifier_epochs),
        "scores": {
            **compare(found.statistics, found.score, others),
            "diversity": found.diversity.value,
            "accuracy": evaluators.accuracy,
            "leakage": leakage(data, evaluators.judge),
        },
    }


def leakage(data: ImageSet, judge: Backbone) -> float:
    """The mean of 1 - p(y | x), as of generated images, of the real ones that a judge of the data has not learnt."""
    held_out, _ = split(data.labels, len(data.classes), seeded(0))
    logits = judge.extract(data.images[held_out]).logits
    return 1 - asked_probability(logits, data.labels[held_out]).mean().item()


def comparable(real: Mapping[str, Any], protocol: Mapping[str, Any]) -> bool:
    """Whether real images were measured as the runs of this protocol were, except for how many images there are."""
    return all(
        real.get(key) == protocol.get(key) for key in {*real, *protocol} if key not in COUNTS and not is_free(key)
    )


def ensure_real_images(study: Study, device: str = "cpu") -> Scored:
    """The scores of a profile's real images, measured and written to real.json if not known.

    What the scores of generators need of them goes to reference.safetensors.

    Raises:
        PpcdError: its data or its backbone is not to be had.
    """
    budget, began = study.fitted, provenance.collect(device)
    data, evaluators = get_judges(study, device)
    about = {
        "reference_sha256": data.sha256,
        "classifier_epochs": budget.classifier_epochs,
        "backbone_sha256": evaluators.network.sha256,
        "classifier_sha256": evaluators.judge.sha256,
    }
    kept, network = read_reference(study.source / REFERENCE), evaluators.network
    if kept is None or (kept.sha256, kept.backbone_sha256) != (data.sha256, network.sha256):
        content = packed_reference(
            budget.dataset, data, evaluators.real, network.name, network.sha256, evaluators.accuracy
        )
        sums.write(study.results, REFERENCE, content)
    known = read_real_images(study.source)
    if known is not None and about.items() <= known["protocol"].items():
        return known
    say("real images against other real images")
    found = measure_real_images(data, evaluators, budget.evaluation_samples, budget.classifier_epochs)
    measurements.write(study.results, FILE, found, began)
    return found


def read_real_images(folder: Path) -> Scored | None:
    """Protocol and scores of real images; None where they were not measured, or the file is damaged."""
    content = measurements.read(folder, FILE)
    return content and {name: content[name] for name in ("protocol", "scores")}
