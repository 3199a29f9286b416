"""A classifier of small natural images (CIFAR-10), trained on the data: the judge of the labels there.

Two networks of under a million weights, each trained in minutes of a GPU, or most of an hour of one CPU core. Network
and training follow what Keller Jordan's "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv
2404.00498) found to matter, at about half of its widths and for longer: a first layer that whitens patches and is not
trained, other convolutions that begin as identities, norms without weights whose biases learn 64 times as fast, weights
that are drawn back to their average every few steps, mirrored and shifted images, label smoothing, and a look at the
mirrored image too.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ppcd.base import PpcdError, seeded
from ppcd.data.images import ImageSet, to_float
from ppcd.metrics.cache import Key
from ppcd.metrics.classifier import (
    TrainedClassifier,
    agreement,
    classifier_logits,
    one_thread,
    shift,
    split,
    trained_or_cached,
)
from ppcd.progress import say

ARCHITECTURE = 2  # raised when the network or its training changes: older files are then not used
PATCH, WHITENED = 2, 24  # pixels of a side, and filters: 12 directions and their negatives
WIDTHS = (48, 144, 144)
FEATURES = WIDTHS[-1]
FEWEST_PIXELS = 16
MEMBERS = 2
STATISTICS = 2000  # images whose patches are whitened
LOGITS = 1 / 9  # what they are multiplied by
# The paper gives rates for sums over 1,024 images; these are for means over a batch.
BATCH, LEARNING_RATE, MOMENTUM, SMOOTHING = 256, 0.33, 0.85, 0.2
DECAY = 5e-4  # of a step at the peak of the learning rate, whatever that is
BIASES = 64  # times the learning rate: of the norms
START, RISE, END = 0.2, 0.23, 0.07  # the learning rate's, of its peak; and the part of the steps until that
DRAWN_BACK, KEPT = 20, 0.95**5  # every so many steps; how much of the average stays, at the end of the training
SHIFT = 2  # pixels at most, in each direction


class Member(TrainedClassifier):
    """Whitened patches, three stages of conv3x3-maxpool-BN-GELU-conv3x3-BN-GELU, the largest of each map, logits.

    It looks at the mirror images too.
    """

    def __init__(self, num_classes: int, resolution: int) -> None:
        super().__init__()
        if resolution < FEWEST_PIXELS:
            raise PpcdError(f"the classifier of natural images needs {FEWEST_PIXELS} pixels a side; got {resolution}")
        self.whiten = nn.Conv2d(3, WHITENED, PATCH)
        self.whiten.weight.requires_grad_(False)
        self.stage_list = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(after),
                nn.GELU(),
                nn.Conv2d(after, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.GELU(),
            )
            for before, after in pairwise((WHITENED, *WIDTHS))
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.requires_grad_(False)
        self.head = nn.Linear(FEATURES, num_classes, bias=False)

    def maps(self, x: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch c h w"]]:
        """The feature maps of images in [-1, 1] after each stage, at about 1/2, 1/4 and 1/8 of the size."""
        x, found = F.gelu(self.whiten(x.contiguous(memory_format=torch.channels_last))), []
        for stage in self.stage_list:
            x = stage(x)
            found.append(x)
        return found

    def stages(self, images: UInt8[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch c h w"]]:
        """As `maps`, of images in 0..255."""
        return self.maps(to_float(images))

    def pooled(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        """The largest entry of each of the last maps."""
        return self.maps(x)[-1].amax((2, 3))

    def features(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        """`pooled`, averaged over the images and their mirror images."""
        x = to_float(images)
        return (self.pooled(x) + self.pooled(x.flip(3))) / 2

    def logits(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch klass"]:
        return LOGITS * self.head(features)


class NaturalClassifier(TrainedClassifier):
    """Two networks of one kind that learnt the same images in another order from other weights; their mean logits.

    On 10,000 test images of CIFAR-10 as JPEG files one of them alone was right 89.5% of the time.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members: Any = nn.ModuleList(members)

    def stages(self, images: UInt8[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch c h w"]]:
        """The feature maps of both members, at about 1/2, 1/4 and 1/8 of the size."""
        return [torch.cat(maps, 1) for maps in zip(*(each.stages(images) for each in self.members), strict=True)]

    def features(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        """Features of both members, concatenated."""
        return torch.cat([each.features(images) for each in self.members], 1)

    def logits(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch klass"]:
        parts = features.split(FEATURES, dim=1)
        return torch.stack([each.logits(part) for each, part in zip(self.members, parts, strict=True)]).mean(0)


def train_or_load_natural_classifier(
    data: ImageSet, *, epochs: int, device: torch.device | str = "cpu"
) -> NaturalClassifier:
    """As `train_or_load_classifier`.

    Raises:
        PpcdError: as there, or images of fewer than 16 pixels a side.
    """
    members = []
    for number in range(MEMBERS):  # all of them leave out the same images
        untrained = _untrained(data, 0).to(memory_format=torch.channels_last)
        version: Key = {"natural architecture": ARCHITECTURE} | ({"member": number} if number else {})
        members.append(trained_or_cached(untrained, partial(_train, seed=number), version, data, epochs, 0, device))
    classifier = NaturalClassifier(members).to(device).eval().requires_grad_(False)
    if len(data):
        held_out, _ = split(data.labels, len(data.classes), seeded(0))
        classifier.accuracy = agreement(classifier_logits(classifier, data.images[held_out]), data.labels[held_out])
    classifier.sha256 = hashlib.sha256("".join(each.sha256 for each in members).encode()).hexdigest()
    return classifier


def whitening(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "filter 3 patch patch"]:
    """Filters whose outputs on the images' patches are uncorrelated and of variance 1, and their negatives."""
    patches = F.unfold(images.double(), PATCH).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.t()))
    filters = (vectors / torch.sqrt(values + 1e-4)).t().reshape(-1, 3, PATCH, PATCH)
    return torch.cat([filters, -filters]).float()


def _untrained(data: ImageSet, seed: int) -> Member:
    """Initialised by a separate generator; the state of torch's global one is put back."""
    with torch.random.fork_rng(devices=[]):
        classifier = Member(len(data.classes), data.images.shape[-1])
    generator = seeded(seed)
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        if isinstance(module, nn.Conv2d) and module is not classifier.whiten:
            nn.init.dirac_(module.weight[: module.in_channels])
    if classifier.whiten.bias is not None:
        nn.init.zeros_(classifier.whiten.bias)
    return classifier


def _train(
    data: ImageSet, training: Int64[Tensor, " training"], epochs: int, device: torch.device, seed: int
) -> Member:
    classifier = _untrained(data, seed)
    with torch.no_grad():
        classifier.whiten.weight.copy_(whitening(to_float(data.images[training[:STATISTICS]])))
    classifier.to(device).to(memory_format=torch.channels_last).train()
    batch = max(2, min(BATCH, len(training) // 4))  # at least four steps an epoch
    steps = max(1, len(training) // batch)
    step, total = 0, epochs * steps
    optimiser = torch.optim.SGD(
        [
            {"params": parameters, "lr": rate, "weight_decay": DECAY / rate}
            for rate, parameters in _by_rate(classifier).items()
        ],
        momentum=MOMENTUM, nesterov=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, total=total))
    average = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    generator = seeded(seed)
    mirrored = torch.randint(2, (len(data.images),), generator=generator).bool()
    with one_thread(device):
        for epoch in range(epochs):
            say(f"judge of natural images: epoch {epoch + 1} of {epochs}")
            order = training[torch.randperm(len(training), generator=generator)]
            for index in order[: steps * batch].split(batch):
                padded = F.pad(to_float(data.images[index]), (SHIFT,) * 4, mode="reflect")
                images = shift(padded, data.images.shape[-1], SHIFT, generator)
                turned = mirrored[index] ^ bool(epoch % 2)  # every image is seen either way in turns
                images = torch.where(turned[:, None, None, None], images.flip(3), images).to(device)
                logits = classifier.logits(classifier.pooled(images))
                loss = F.cross_entropy(logits, data.labels[index].to(device), label_smoothing=SMOOTHING)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                step += 1
                if step % DRAWN_BACK == 0 or step == total:
                    _draw_back(classifier, average, 1.0 if step == total else KEPT * (step / total) ** 3)
    return classifier.eval()


def _by_rate(classifier: Member) -> dict[float, list[nn.Parameter]]:
    """What is trained, by its learning rate at the peak."""
    biases = [module.bias for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    known = {id(bias) for bias in biases}
    others = [each for each in classifier.parameters() if each.requires_grad and id(each) not in known]
    return {BIASES * LEARNING_RATE: biases, LEARNING_RATE: others}


def _rate(step: int, total: int) -> float:
    """The learning rate at a step, as a share of its peak."""
    peak = RISE * total
    return START + (1 - START) * step / peak if step < peak else 1 + (END - 1) * (step - peak) / (total - peak)


def _draw_back(classifier: Member, average: dict[str, Tensor], share: float) -> None:
    """Move the average towards the weights, keeping `share` of it, and set the weights to it."""
    for name, tensor in classifier.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1 - share)
            tensor.copy_(average[name])
