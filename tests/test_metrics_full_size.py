"""Metrics at full size: images that are read when asked for, a published judge of the labels."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import refused
from torch import Tensor, nn

from paper import failures
from ppcd.data.sets import ImageSet
from ppcd.metrics import diversity, evaluators, fidelity, moments
from ppcd.metrics.evaluate import evaluate, measure
from ppcd.metrics.evaluators import get_evaluators, real_accuracy
from ppcd.metrics.features import Backbone
from ppcd.metrics.sampling import sample_images

SIZE = 8  # pixels


def numbered(images: Tensor, labels: Tensor) -> Tensor:
    """The images with their classes in the first two pixels."""
    images[:, :, 0, 0], images[:, :, 0, 1] = (labels % 256)[:, None].byte(), (labels // 256)[:, None].byte()
    return images


def image_set(count: int, num_classes: int = 10) -> ImageSet:
    """Noise around a level of each class, so that a classifier learns something."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % num_classes
    images = torch.randint(0, 80, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images += (labels * 17 % 170).to(torch.uint8)[:, None, None, None]
    classes = tuple(str(label) for label in range(num_classes))
    return ImageSet(numbered(images, labels), labels, classes, f"noise-{count}", f"{count:064x}", "")


class ReadWhenAsked:
    """Images of which no more than a batch may be asked for at once."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.shape, self.dtype, self.most = images, images.shape, images.dtype, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Tensor:
        found = self.images[index].clone()
        self.most = max(self.most, len(found))
        return found


def read_when_asked(data: ImageSet) -> tuple[ImageSet, ReadWhenAsked]:
    images = ReadWhenAsked(data.images)  # type: ignore[arg-type]
    same = replace(data)
    object.__setattr__(same, "images", images)  # past the check of its type, which knows the store's own only
    return same, images


class Waves(nn.Module):
    """A generator without weights."""

    dim_z, resolution, num_classes = 4, SIZE, 10

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        pattern = torch.arange(3 * self.resolution**2).view(3, self.resolution, -1)
        return torch.sin(z[:, :1, None, None] * pattern + y[:, None, None, None])


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return image_set(300)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that small sets reach."""
    for each in (fidelity, moments):
        monkeypatch.setattr(each, "COMPARED", 300)
    monkeypatch.setattr(diversity, "PAIRS_PER_CLASS", 10)


def test_more_samples_than_are_compared(data: ImageSet, small: None) -> None:
    """KID, precision and recall look at the first samples, everything else at all of them."""
    measuring = get_evaluators(data, "classifier", 1)
    images, labels = sample_images(Waves(), 1100, 3)
    features = measuring.network.extract(images)
    found = measure(Waves(), measuring, 1100, seed=3)
    assert torch.equal(found.statistics.features, features.features[:300])
    assert found.statistics.mu.tolist() == pytest.approx(features.features.mean(0).tolist(), rel=1e-4)
    assert found.score == fidelity.inception_score(features.logits)
    assert found.diversity == diversity.diversity(images, labels, 10, measuring.network, seed=0)
    assert found.accuracy == pytest.approx((features.logits.argmax(1) == labels).float().mean().item())
    p = torch.softmax(features.logits.double(), 1)[torch.arange(1100), labels]
    assert found.leakage == pytest.approx(1 - float(p.mean()), rel=1e-12)


def test_images_that_are_read_when_asked_for(data: ImageSet, fresh_cache: Path, small: None) -> None:
    def scores(given: ImageSet) -> dict[str, dict[str, Any]]:
        return evaluate(Waves(), given, backbone="classifier", samples=100, seed=0, classifier_epochs=1)

    expected = scores(data)
    lazy, images = read_when_asked(replace(data, sha256="1" * 64))  # nothing of it is in the cache
    found = scores(lazy)
    assert found["scores"] == expected["scores"]
    assert found["protocol"]["reference_sha256"] == "1" * 64
    assert 0 < images.most <= 250, "a batch of the backbone"
    measuring = get_evaluators(lazy, "classifier", 1)
    one, other = (failures.reference(each, measuring) for each in (lazy, data))
    assert torch.equal(one.thresholds, other.thresholds)
    assert torch.equal(failures.judge_real(7, measuring, one).images, failures.judge_real(7, measuring, other).images)


class Reading(nn.Module):
    """A network that reads an image's class off its first two pixels."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.weight = nn.Parameter(torch.zeros(1))

    def features(self, images: Tensor) -> Tensor:
        return images[:, 0, :2].flatten(1).float()

    def logits(self, features: Tensor) -> Tensor:
        number = features[:, 0].long() + 256 * features[:, 1].long()
        return 9 * nn.functional.one_hot((number + self.shift) % 1000, 1000).float()

    def stages(self, images: Tensor) -> list[Tensor]:
        return [images.float()]


class Numbered(Waves):
    """Writes the class that was asked for, or for one in four another, into its images."""

    num_classes = 1000

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        images = (127.5 * super().forward(z, y) + 127.5).byte()
        return numbered(images, torch.where(y % 4 == 0, (y + 1) % 1000, y)).float() / 127.5 - 1


def test_a_published_judge_needs_no_training(small: None, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    """EfficientNet-Lite0's place is taken by a network that reads the class."""
    monkeypatch.setattr(evaluators, "get_backbone", lambda name, *_, **__: Backbone(name, Reading(0), "a" * 64))
    lazy, images = read_when_asked(image_set(3000, 1000))
    published = "efficientnet-lite0"
    found = evaluate(Numbered(), lazy, backbone=published, samples=2000, seed=0, classifier_epochs=0, judge=published)
    assert found["scores"]["accuracy"] == pytest.approx(0.75)
    taken = found["protocol"]
    assert (taken["judge"], taken["accuracy_classifier"], taken["classifier_sha256"]) == (published, 1.0, "a" * 64)
    assert images.most <= 32 and taken["diversity_pairs_per_class"] == 10


def test_accuracy_of_the_judge_is_measured_once_and_shows_a_wrong_order(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thousand = image_set(3000, 1000)
    right, wrong = (Backbone("efficientnet-lite0", Reading(shift), f"{shift:064x}") for shift in (0, 1))
    with caplog.at_level(logging.WARNING):
        assert real_accuracy(thousand, right) == 1.0 and not caplog.records
        assert real_accuracy(thousand, wrong) == 0.0
        monkeypatch.setattr(Backbone, "extract", None)
        assert real_accuracy(thousand, right) == 1.0
    (warning,) = caplog.messages
    assert "0.00%" in warning and "synset" in warning


def test_judges_that_cannot_judge(data: ImageSet, fresh_cache: Path) -> None:
    for judge, said in (
        ("efficientnet-lite0", "knows ImageNet's 1000 classes, but the data have 10"),
        ("vgg", "unknown judge 'vgg'; expected one of: efficientnet-lite0, natural-classifier"),
    ):
        with refused(said):
            get_evaluators(data, "classifier", 1, judge=judge)
    assert not (fresh_cache / "classifiers").exists()  # found out before anything is trained
