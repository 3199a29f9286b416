"""A small classifier of the profile's own data: backbone of the fidelity metrics, judge of the labels."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Real, UInt8
from torch import Tensor, nn

from ppcd import paths
from ppcd.base import PpcdError, seeded
from ppcd.data.images import ImageSet, to_float
from ppcd.metrics.cache import Entry, Key, cached, tensors_hash

PUBLISHED, NATURAL = "efficientnet-lite0", "natural-classifier"
BACKBONES = ("classifier", "efficientnet-lite0", "inception")  # of features: `ppcd.metrics.features`
JUDGES = (PUBLISHED, NATURAL)
JUDGED_CLASSES = 1000  # of ImageNet, in the order of their sorted synsets, which is that of its class folders
ARCHITECTURE = 1  # raised when the network or its training changes: older files are then not used
WIDTH = 16
FEATURES = 64
BATCH = 64
LEARNING_RATE = 4e-3
SHIFT = 1  # pixels at most, in each direction
HELD_OUT = 1000
BROUGHT = "results/judges"  # of the repository: the classifiers that measured the committed runs


def check_judge(name: str, num_classes: int) -> None:
    """Refuse a judge that is unknown, or knows ImageNet's 1000 classes, which the data have not."""
    if name not in JUDGES:
        raise PpcdError(
            f"unknown judge {name!r}; expected one of: {', '.join(JUDGES)}; or none: a classifier trained on the data"
        )
    if name == PUBLISHED and num_classes != JUDGED_CLASSES:
        raise PpcdError(
            f"the judge {name} knows ImageNet's {JUDGED_CLASSES} classes, but the data have {num_classes}; "
            f"{NATURAL} is trained on the data"
        )


class TrainedClassifier(nn.Module):
    """A classifier that the data train; a subclass has features(images), logits(features) and stages(images).

    It takes images as they are stored, in 0..255, so that nobody can feed it another scale.

    Attributes:
        accuracy: on the held-out images, in [0, 1]; NaN before training.
        sha256: of its weights (64 hex), "" before training.
    """

    features: Callable[..., Tensor]
    logits: Callable[..., Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.accuracy, self.sha256 = math.nan, ""

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch klass"]:
        """Logits."""
        return self.logits(self.features(images))


Network = TypeVar("Network", bound=TrainedClassifier)


class Classifier(TrainedClassifier):
    """Three stages of conv3x3-BN-ReLU-maxpool, one hidden layer, one logit per class."""

    def __init__(self, num_classes: int, resolution: int) -> None:
        super().__init__()
        if resolution % 8 or resolution < 8:
            raise PpcdError(f"the classifier needs a resolution that 8 divides; got {resolution}")
        widths = (3, WIDTH, 2 * WIDTH, 4 * WIDTH)
        self.stage_list = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for before, after in pairwise(widths)
        )
        self.hidden = nn.Sequential(
            nn.Linear(widths[-1] * (resolution // 8) ** 2, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, num_classes)

    def stages(self, images: UInt8[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch c h w"]]:
        """The feature maps after each stage: 16, 32 and 64 channels at 1/2, 1/4 and 1/8 of the size."""
        x, maps = to_float(images).contiguous(memory_format=torch.channels_last), []
        for stage in self.stage_list:
            x = stage(x)
            maps.append(x)
        return maps

    def features(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        """The 64 activations before the last layer."""
        return self.hidden(self.stages(images)[-1].flatten(1))

    def logits(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch klass"]:
        return self.head(features)


def train_or_load_classifier(
    data: ImageSet, *, epochs: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Classifier:
    """The classifier of `data`, in eval mode and without gradients; that of the committed runs came with them.

    Of other data, or with other settings, it is trained once, then read from the cache. Up to 1,000 images, in
    equal shares of every class, are held out for its accuracy. Training images are shifted by up to 1 px, never
    mirrored, as digits would become others. On a CPU one thread trains, because weights would otherwise differ with
    the number of threads, and scores with them. They still differ between processors with other instruction sets
    (`ppcd.runs.provenance.instructions`).

    Raises:
        PpcdError: as `trained_or_cached`.
    """
    untrained = _untrained(data, seed)
    return trained_or_cached(
        untrained, partial(_train, seed=seed), {"architecture": ARCHITECTURE}, data, epochs, seed, device
    )


def trained_or_cached(
    untrained: Network,
    train: Callable[[ImageSet, Tensor, int, torch.device], Network],
    version: Key,
    data: ImageSet,
    epochs: int,
    seed: int,
    device: torch.device | str,
) -> Network:
    """A classifier with the weights that `train` gives it, from the repository or the cache where they are there.

    Args:
        untrained: a network of the kind, to be given weights, accuracy and sha256.
        train: (data, indices of the training images, epochs, device) -> a trained one.
        version: what decides its weights besides data, epochs and seed.
    """
    if epochs < 1:
        raise PpcdError(f"a classifier needs at least one epoch; got {epochs}")
    key: Key = {"data": data.sha256, "epochs": epochs, "seed": seed, **version}

    def compute() -> Entry:
        if not len(data):
            raise PpcdError(
                f"the classifier of the images {data.identity} is not here and takes them to train; point PPCD_DATA at "
                "their folder"
            )
        held_out, training = split(data.labels, len(data.classes), seeded(seed))
        classifier = train(data, training, epochs, torch.device(device))
        accuracy = agreement(classifier_logits(classifier, data.images[held_out]), data.labels[held_out])
        return Entry(classifier.state_dict(), {"accuracy": repr(accuracy)})

    entry = cached("classifiers", key, compute, paths.repository() / BROUGHT)
    untrained.load_state_dict(entry.tensors)
    untrained.accuracy, untrained.sha256 = float(entry.notes["accuracy"]), tensors_hash(entry.tensors)
    return untrained.to(device).eval().requires_grad_(False)


@torch.no_grad()
def classifier_logits(classifier: nn.Module, images: UInt8[Tensor, "n 3 height width"]) -> Float[Tensor, "n klass"]:
    """The logits of all images, on the CPU."""
    device = next(classifier.parameters()).device
    return torch.cat([classifier(part.to(device)).cpu() for part in images.split(250)])


def agreement(logits: Float[Tensor, "n klass"], labels: Int64[Tensor, " n"]) -> float:
    """The share of images, in [0, 1], that the classifier puts into the class that they should be of."""
    return (logits.argmax(1) == labels).double().mean().item()


def split(
    labels: Int64[Tensor, " n"], num_classes: int, generator: torch.Generator
) -> tuple[Int64[Tensor, " held_out"], Int64[Tensor, " training"]]:
    """Indices of held-out and of training images: the same share of every class, at least one image of each."""
    share = min(HELD_OUT / max(len(labels), 1), 0.2)
    held_out, training = [], []
    for label in range(num_classes):
        members = torch.nonzero(labels == label).flatten()
        if len(members) < 2:
            raise PpcdError(f"class {label} has {len(members)} images; the classifier needs two of every class")
        members = members[torch.randperm(len(members), generator=generator)]
        count = max(1, round(share * len(members)))
        held_out.append(members[:count])
        training.append(members[count:])
    return torch.cat(held_out), torch.cat(training)


def _untrained(data: ImageSet, seed: int) -> Classifier:
    """Initialised by a separate generator; the state of torch's global one is put back."""
    with torch.random.fork_rng(devices=[]):
        classifier = Classifier(len(data.classes), data.images.shape[-1])
    generator = seeded(seed)
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(classifier.head.weight)
    nn.init.zeros_(classifier.head.bias)
    return classifier


def _train(
    data: ImageSet, training: Int64[Tensor, " training"], epochs: int, device: torch.device, seed: int
) -> Classifier:
    classifier = _untrained(data, seed).to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(classifier.parameters(), lr=LEARNING_RATE)
    batch = max(2, min(BATCH, len(training) // 4))  # at least four steps an epoch
    steps_per_epoch = max(1, len(training) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps_per_epoch)
    generator = seeded(seed)
    with one_thread(device):
        for _ in range(epochs):
            order = training[torch.randperm(len(training), generator=generator)]
            for step in range(steps_per_epoch):
                index = order[step * batch : (step + 1) * batch]
                padded = F.pad(data.images[index], (SHIFT,) * 4)
                shifted = shift(padded, data.images.shape[-1], SHIFT, generator).to(device)
                loss = F.cross_entropy(classifier(shifted), data.labels[index].to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return classifier.eval()


def shift(
    padded: Real[Tensor, "batch 3 padded padded"], size: int, reach: int, generator: torch.Generator
) -> Real[Tensor, "batch 3 size size"]:
    """Cut a window of `size` out of every image, padded by `reach` on each side, each at its own random place."""
    top, left = torch.randint(0, 2 * reach + 1, (2, len(padded), 1), generator=generator)
    rows, columns = top + torch.arange(size), left + torch.arange(size)  # [batch, size]
    picture = torch.arange(len(padded))[:, None, None, None]
    colour = torch.arange(3)[None, :, None, None]
    return padded[picture, colour, rows[:, None, :, None], columns[:, None, None, :]]


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Within this context a CPU computes with one thread, so that weights do not depend on how many there are."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
