"""Diversity: the mean perceptual distance of two images of one class, averaged over the classes.

`lpips-alex` is the lpips package's own distance; its trunk (AlexNet) downloads.
`lpips-uncalibrated-<backbone>` is the same distance without the calibration to human judgements, on the
feature maps of the backbone that is there anyway. The name goes with the number, and numbers of two names are
never compared.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ppcd.base import PpcdError, needs, seeded
from ppcd.data.images import to_float
from ppcd.metrics.features import Backbone, downloading

with needs("metrics"):
    import lpips

Distance = Callable[[Tensor, Tensor], Tensor]

PAIRS_PER_CLASS, FEWEST_PAIRS = 100, 10
SLOW_PAIRS = {"efficientnet-lite0": 20}  # per class, where a pair takes a core thirty milliseconds
PAIRS = 2000  # in all: where there are many classes each gets fewer, but not less than FEWEST_PAIRS
BATCH = 32  # pairs at a time


@dataclass(frozen=True)
class Diversity:
    value: float
    distance: str  # "lpips-alex" or "lpips-uncalibrated-<backbone>"
    pairs_per_class: int  # at most


def diversity(
    images: UInt8[Tensor, "n 3 height width"],
    labels: Int64[Tensor, " n"],
    num_classes: int,
    backbone: Backbone,
    *,
    seed: int,
) -> Diversity:
    """Mean distance of random pairs of each class, averaged over the classes.

    lpips-alex goes with the inception backbone, which downloads as well, and lpips-uncalibrated with those that work
    offline: whether a machine has internet never decides which of the two stands in a table.

    Raises:
        PpcdError: a class with fewer than two images, or no AlexNet to be had.
    """
    if backbone.name == "inception":
        name, distance = "lpips-alex", lpips_alex(backbone.device)
    else:
        name, distance = f"lpips-uncalibrated-{backbone.name}", uncalibrated(backbone.stages)
    count = pairs_per_class(num_classes, backbone.name)
    per_class = []
    with torch.no_grad():
        for pairs in class_pairs(labels, num_classes, count, seeded(seed)):
            distances = [distance(images[some[:, 0]], images[some[:, 1]]).cpu() for some in pairs.split(BATCH)]
            per_class.append(torch.cat(distances).double().mean())
    return Diversity(torch.stack(per_class).mean().item(), name, count)


def pairs_per_class(num_classes: int, backbone: str) -> int:
    """100, 20 with a backbone that takes long, or as many as make 2,000 pairs in all; 10 at least."""
    most = SLOW_PAIRS.get(backbone, PAIRS_PER_CLASS)
    return min(most, max(FEWEST_PAIRS, PAIRS // num_classes))


def class_pairs(
    labels: Int64[Tensor, " n"], num_classes: int, count: int, generator: torch.Generator
) -> list[Int64[Tensor, "pairs 2"]]:
    """For every class, `count` random pairs of two different images of it (a pair can come twice).

    All pairs, each once, where there are not more than `count`.
    """
    pairs = []
    for label in range(num_classes):
        members = torch.nonzero(labels == label).flatten()
        if len(members) < 2:
            raise PpcdError(
                f"diversity needs two images of every class; class {label} has {len(members)}: "
                f"ask for {2 * num_classes} samples or more"
            )
        if len(members) * (len(members) - 1) // 2 <= count:
            pairs.append(torch.combinations(members))
            continue
        first = torch.randint(len(members), (count,), generator=generator)
        step = torch.randint(1, len(members), (count,), generator=generator)
        pairs.append(torch.stack([members[first], members[(first + step) % len(members)]], 1))
    return pairs


def uncalibrated(stages: Callable[[Tensor], list[Tensor]]) -> Distance:
    """lpips without its learnt weights (its own `lpips=False`) on the feature maps that `stages` gives.

    d(a, b) = sum over layers of the spatial mean of |f_a / |f_a| - f_b / |f_b||^2, norms over the channels.
    """

    def measure(
        one: UInt8[Tensor, "pair 3 height width"], other: UInt8[Tensor, "pair 3 height width"]
    ) -> Float[Tensor, " pair"]:
        layers = [
            (lpips.normalize_tensor(a) - lpips.normalize_tensor(b)) ** 2
            for a, b in zip(stages(one), stages(other), strict=True)
        ]
        means = [lpips.spatial_average(layer.sum(1, keepdim=True), keepdim=False) for layer in layers]
        return torch.stack(means).sum(0).flatten()

    return measure


def lpips_alex(device: torch.device) -> Distance:
    """The lpips package's distance, version 0.1, on AlexNet; images at their own size."""
    with downloading("of lpips' AlexNet"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips asks torchvision in a way that is deprecated
        network = lpips.LPIPS(net="alex", verbose=False)
    network = network.to(device).eval().requires_grad_(False)
    return lambda one, other: network(to_float(one.to(device)), to_float(other.to(device))).flatten()
