"""A classifier of small natural images (CIFAR-10), trained on the data: the judge of the labels there.

Under half a million weights and above 90% of CIFAR-10's held-out images in minutes of a GPU, or some forty minutes of
one CPU core. The network and its training follow what Keller Jordan's "94% on CIFAR-10 in 3.29 seconds on a single
GPU" (arXiv 2404.00498) found to matter, at a third of its widths: a first layer that whitens patches and is not
trained, stages that shrink first, mirrored and shifted images, label smoothing, and a look at the mirrored image too.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ppcd.data import ImageSet, to_float
from ppcd.errors import PpcdError
from ppcd.metrics.classifier import TrainedClassifier, one_thread, shift, trained_or_cached
from ppcd.seeds import seeded

ARCHITECTURE = 1  # raised when the network or its training changes: older files are then not used
PATCH, WHITENED = 2, 24  # pixels of a side, and filters: 12 directions and their negatives
WIDTHS = (40, 112, 128)
FEATURES = WIDTHS[-1]
FEWEST_PIXELS = 16
STATISTICS = 2000  # images whose patches are whitened
BATCH, LEARNING_RATE, MOMENTUM, DECAY, SMOOTHING = 256, 0.4, 0.9, 5e-4, 0.1
RISE = 0.25  # of the steps in which the learning rate rises to its peak
SHIFT = 3  # pixels at most, in each direction


class NaturalClassifier(TrainedClassifier):
    """Whitened patches, three stages of conv3x3-maxpool-BN-GELU-conv3x3-BN-GELU, the largest of each map, logits.

    It takes images as they are kept, in 0..255, and looks at their mirror images too.

    Raises:
        PpcdError: images of fewer than 16 pixels a side.
    """

    def __init__(self, num_classes: int, resolution: int) -> None:
        super().__init__(num_classes, resolution)
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
        self.head = nn.Linear(FEATURES, num_classes)

    def maps(self, x: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch c h w"]]:
        """The feature maps of images in [-1, 1] after each stage, at about 1/2, 1/4 and 1/8 of the size."""
        x, found = F.gelu(self.whiten(x.contiguous(memory_format=torch.channels_last))), []
        for stage in self.stage_list:
            x = stage(x)
            found.append(x)
        return found

    def stages(self, images: UInt8[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch c h w"]]:
        """As `maps`, of images as they are kept."""
        return self.maps(to_float(images))

    def pooled(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        """The largest entry of each of the last maps."""
        return self.maps(x)[-1].amax((2, 3))

    def features(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature"]:
        """`pooled`, averaged over the images and their mirror images."""
        x = to_float(images)
        return (self.pooled(x) + self.pooled(x.flip(3))) / 2

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch klass"]:
        """Logits."""
        return self.head(self.features(images))


def train_or_load_natural_classifier(
    data: ImageSet, *, epochs: int, seed: int = 0, device: torch.device | str = "cpu"
) -> NaturalClassifier:
    """The classifier of `data`, in eval mode and without gradients; trained once, then read from the cache.

    As `train_or_load_classifier`: 1,000 held-out images, one thread on a CPU.

    Raises:
        PpcdError: epochs < 1, a class with fewer than two images, or images of fewer than 16 pixels a side.
    """
    untrained = _untrained(len(data.classes), data.images.shape[-1], seed)
    untrained.to(memory_format=torch.channels_last)
    return trained_or_cached(untrained, _train, {"natural architecture": ARCHITECTURE}, data, epochs, seed, device)


def whitening(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "filter 3 patch patch"]:
    """Filters whose answers to the images' patches are uncorrelated and of variance 1, and their negatives."""
    patches = F.unfold(images.double(), PATCH).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.t()))
    filters = (vectors / torch.sqrt(values + 1e-4)).t().reshape(-1, 3, PATCH, PATCH)
    return torch.cat([filters, -filters]).float()


def _untrained(num_classes: int, resolution: int, seed: int) -> NaturalClassifier:
    """Initialised by a generator of its own; the state of torch's global one is put back."""
    with torch.random.fork_rng(devices=[]):
        classifier = NaturalClassifier(num_classes, resolution)
    generator = seeded(seed)
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return classifier


def _train(
    data: ImageSet, training: Int64[Tensor, " training"], epochs: int, seed: int, device: torch.device
) -> NaturalClassifier:
    classifier = _untrained(len(data.classes), data.images.shape[-1], seed)
    with torch.no_grad():
        classifier.whiten.weight.copy_(whitening(to_float(data.images[training[:STATISTICS]])))
    classifier.to(device).to(memory_format=torch.channels_last).train()
    batch = max(2, min(BATCH, len(training) // 4))  # at least four steps an epoch
    steps = max(1, len(training) // batch)
    total = epochs * steps
    optimiser = torch.optim.SGD(
        [parameter for parameter in classifier.parameters() if parameter.requires_grad],
        lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True,
    )  # fmt: skip
    peak = max(1, round(RISE * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / peak, (total - step) / max(1, total - peak))
    )
    generator = seeded(seed)
    mirrored = torch.randint(2, (len(data.images),), generator=generator).bool()
    size = data.images.shape[-1]
    reflected = torch.arange(-SHIFT, size + SHIFT).abs()
    reflected = torch.where(reflected < size, reflected, 2 * (size - 1) - reflected)
    with one_thread(device):
        for epoch in range(epochs):
            order = training[torch.randperm(len(training), generator=generator)]
            for index in order[: steps * batch].split(batch):
                padded = data.images[index][:, :, reflected][:, :, :, reflected]
                images = to_float(shift(padded, size, SHIFT, generator))
                turned = mirrored[index] ^ bool(epoch % 2)  # every image is seen either way in turns
                images = torch.where(turned[:, None, None, None], images.flip(3), images).to(device)
                logits = classifier.head(classifier.pooled(images))
                loss = F.cross_entropy(logits, data.labels[index].to(device), label_smoothing=SMOOTHING)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return classifier.eval()
