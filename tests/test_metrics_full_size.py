"""Metrics at full size: bounded memory, images that are read when asked for, a published judge of the labels."""

import gc
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paper import failures
from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics import diversity, fidelity, gauges, moments
from ppcd.metrics.evaluate import evaluate, measure
from ppcd.metrics.features import Backbone, get_backbone
from ppcd.metrics.gauges import get_gauges, real_accuracy
from ppcd.metrics.sampling import draw_noise, sample_images, sample_portions

SIZE = 8  # pixels


def image_set(count: int, num_classes: int = 10) -> ImageSet:
    """Noise around a level of each class, so that a classifier learns something."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % num_classes
    images = torch.randint(0, 80, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images += (labels * 17 % 170).to(torch.uint8)[:, None, None, None]
    classes = tuple(str(label) for label in range(num_classes))
    return ImageSet(images, labels, classes, f"noise-{count}", f"{count:064x}", "")


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


class Counting(nn.Module):
    """Makes noise, and looks in every `look`th call how many images and bytes of all tensors are there meanwhile."""

    dim_z, resolution = 4, SIZE

    def __init__(self, num_classes: int = 10, look: int = 0) -> None:
        super().__init__()
        self.num_classes, self.look, self.calls, self.images, self.bytes = num_classes, look, 0, 0, 0

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        if self.look and self.calls % self.look == 0:
            tensors = [each for each in gc.get_objects() if type(each) is Tensor and each.layout == torch.strided]
            storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
            pictures = [each for each in tensors if each.dtype == torch.uint8 and each.shape[1:] == (3, SIZE, SIZE)]
            bytes_of_pictures = {
                each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in pictures
            }
            self.images = max(self.images, sum(bytes_of_pictures.values()) // (3 * SIZE * SIZE))
            self.bytes = max(self.bytes, sum(storages.values()))
        pattern = torch.arange(3 * SIZE * SIZE).view(3, SIZE, SIZE)
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


def test_memory_does_not_grow_with_the_samples(data: ImageSet, small: None) -> None:
    measuring = get_gauges(data, "classifier", 1)
    found = []
    for samples in (2000, 7000):
        G = Counting(look=9)
        gc.collect()
        measure(G, measuring, samples, seed=0)
        found.append((G.images, G.bytes))
    (few_images, few_bytes), (many_images, many_bytes) = found
    portion, paired = 500, 2 * 10 * 10
    assert len(data) < few_images <= many_images <= len(data) + 2 * portion + paired
    per_sample = 8 + 8 + 1  # label, probability, right or wrong
    assert many_bytes - few_bytes < 5000 * 2 * per_sample < 5000 * 3 * SIZE * SIZE / 2


def test_portions_change_no_number(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = get_gauges(data, "classifier", 1)
    found = measure(Counting(), measuring, 1100, seed=3)  # portions of 500, 500 and 100
    images, labels = sample_images(Counting(), 1100, 3)
    features = measuring.network.extract(images)
    whole = moments.statistics(features.features)
    assert torch.equal(found.statistics.mu, whole.mu) and torch.equal(found.statistics.sigma, whole.sigma)
    assert torch.equal(found.statistics.features, features.features)
    assert found.score == fidelity.inception_score(features.logits)
    assert found.diversity == diversity.diversity(images, labels, 10, measuring.network, seed=0)
    assert torch.equal(found.right, features.logits.argmax(1) == labels)
    p = torch.softmax(features.logits.double(), 1)[torch.arange(1100), labels]
    assert torch.equal(found.probability, p)
    assert found.leakage == pytest.approx(1 - float(p.mean()), rel=1e-12)


@pytest.mark.parametrize("portion", [1, 64, 100, 130, 1000])
def test_samples_in_portions_are_the_samples(portion: int) -> None:
    images, labels = sample_images(Counting(), 230, seed=1)
    parts = list(sample_portions(Counting(), 230, seed=1, portion=portion))
    assert [len(each) for each, _ in parts] == [len(each) for each in labels.split(portion)]
    assert torch.equal(torch.cat([each for each, _ in parts]), images)
    assert torch.equal(torch.cat([each for _, each in parts]), labels)
    assert not torch.equal(images[:100], sample_images(Counting(), 100, seed=2)[0])
    assert torch.is_grad_enabled()
    next(sample_portions(Counting(), 230, seed=1, portion=portion))
    assert torch.is_grad_enabled(), "a portion that is looked at must not leave gradients off"
    assert torch.equal(draw_noise(70, 4, 1), draw_noise(230, 4, 1)[:70])


def test_images_that_are_read_when_asked_for(data: ImageSet, fresh_cache: Path, small: None) -> None:
    def scores(given: ImageSet) -> dict[str, dict[str, Any]]:
        return evaluate(Counting(), given, backbone="classifier", samples=100, seed=0, classifier_epochs=1)

    expected = scores(data)
    lazy, images = read_when_asked(replace(data, sha256="1" * 64))  # nothing of it is in the cache
    found = scores(lazy)
    assert found["scores"] == expected["scores"]
    assert found["protocol"]["reference_sha256"] == "1" * 64
    assert 0 < images.most <= 250, "a batch of the backbone"
    measuring = get_gauges(lazy, "classifier", 1)
    one, other = (failures.reference(each, measuring) for each in (lazy, data))
    assert torch.equal(one.thresholds, other.thresholds)
    assert torch.equal(failures.judge_real(7, measuring, one).images, failures.judge_real(7, measuring, other).images)


def test_diversity_keeps_only_images_of_pairs(data: ImageSet, small: None) -> None:
    backbone = get_backbone("classifier", data, classifier_epochs=1)
    labels = torch.arange(3000) % 10
    running = diversity.RunningDiversity(labels, 10, backbone, seed=5)
    whole = torch.randint(256, (3000, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for part in whole.split(700):
        running.add(part)
    assert running._kept is not None and 100 < len(running._kept) <= 2 * 10 * 10
    assert running.result() == diversity.diversity(whole, labels, 10, backbone, seed=5)
    other = diversity.diversity(whole.flip(0), labels, 10, backbone, seed=5)
    assert running.result().value != other.value
    with pytest.raises(PpcdError, match="no images"):
        diversity.RunningDiversity(labels, 10, backbone, seed=5).result()
    with pytest.raises(PpcdError, match="two images of every class; class 1 has 1"):
        diversity.RunningDiversity(torch.tensor([0, 0, 1]), 2, backbone, seed=5)


# --- the judge of the labels ---


class Reading(nn.Module):
    """A network that reads an image's class off its first two pixels, as `numbered` wrote it there."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        number = images[:, 0, 0, 0].long() + 256 * images[:, 0, 0, 1].long()
        logits = 9 * nn.functional.one_hot((number + self.shift) % 1000, 1000).float()
        return {"features": images[:, 0, 1].float(), "logits": logits}

    def convert_features_tuple_to_dict(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        return found

    def stages(self, images: Tensor) -> list[Tensor]:
        return [images.float()]


def numbered(images: Tensor, labels: Tensor) -> Tensor:
    images[:, :, 0, 0], images[:, :, 0, 1] = (labels % 256)[:, None].byte(), (labels // 256)[:, None].byte()
    return images


class Numbered(Counting):
    """Writes the class that was asked for, or for one in four another, into its images."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        images = (127.5 * super().forward(z, y) + 127.5).byte()
        return numbered(images, torch.where(y % 4 == 0, (y + 1) % 1000, y)).float() / 127.5 - 1


@pytest.fixture
def thousand() -> ImageSet:
    data = image_set(3000, 1000)
    numbered(data.images, data.labels)  # type: ignore[arg-type]
    return data


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> list[str]:
    """EfficientNet-Lite0's place is taken by a network that reads the class; the names of the backbones made."""
    made: list[str] = []

    def make(name: str, *_: Any, **__: Any) -> Backbone:
        made.append(name)
        assert name == "efficientnet-lite0"
        return Backbone(name, Reading(0), ("features", "logits"), "a" * 64)

    monkeypatch.setattr(gauges, "get_backbone", make)
    return made


def test_a_published_judge_needs_no_training(thousand: ImageSet, reading: list[str], small: None) -> None:
    lazy, images = read_when_asked(thousand)
    found = evaluate(
        Numbered(1000),
        lazy,
        backbone="efficientnet-lite0",
        samples=2000,
        seed=0,
        classifier_epochs=0,
        judge="efficientnet-lite0",
    )
    assert reading == ["efficientnet-lite0"], "the backbone is the judge: one network serves as both"
    assert found["scores"]["accuracy"] == pytest.approx(0.75)
    taken = found["protocol"]
    assert (taken["judge"], taken["accuracy_classifier"], taken["classifier_sha256"]) == (
        "efficientnet-lite0",
        1.0,
        "a" * 64,
    )
    assert images.most <= 32 and taken["diversity_pairs_per_class"] == 10


def test_without_a_judge_the_protocol_is_as_it_was(data: ImageSet) -> None:
    assert get_gauges(data, "classifier", 1).judge.named() == {}


def test_accuracy_of_the_judge_is_measured_once_and_shows_a_wrong_order(
    thousand: ImageSet, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(shift: int, sha256: str) -> Backbone:
        return Backbone("efficientnet-lite0", Reading(shift), ("features", "logits"), sha256)

    asked = []
    extract = Backbone.extract
    monkeypatch.setattr(Backbone, "extract", lambda self, images: asked.append(len(images)) or extract(self, images))
    monkeypatch.setattr(gauges, "JUDGED_IMAGES", 500)
    with caplog.at_level(logging.WARNING):
        assert real_accuracy(thousand, judge(0, "a" * 64)) == 1.0
        assert sum(asked) == 500 and max(asked) <= 32
        assert real_accuracy(thousand, judge(0, "a" * 64)) == 1.0
        assert sum(asked) == 500 and not caplog.records
        assert real_accuracy(thousand, judge(1, "b" * 64)) == 0.0  # another network
        assert real_accuracy(replace(thousand, sha256="2" * 64), judge(0, "a" * 64)) == 1.0  # other data
        assert sum(asked) == 1500
    (warning,) = caplog.messages
    assert "0.00%" in warning and "synset" in warning


def test_judges_that_cannot_judge(data: ImageSet, fresh_cache: Path) -> None:
    with pytest.raises(PpcdError, match="knows ImageNet's 1000 classes, but noise-300 has 10") as caught:
        get_gauges(data, "classifier", 1, judge="efficientnet-lite0")
    assert "\n" not in str(caught.value)
    with pytest.raises(
        PpcdError, match="unknown judge 'vgg'; expected one of: efficientnet-lite0, natural-classifier; or none"
    ):
        get_gauges(data, "classifier", 1, judge="vgg")
    assert not (fresh_cache / "classifiers").exists()  # found out before anything is trained


# --- failures ---


def test_with_many_classes_as_many_images_of_each_are_compared_with(
    data: ImageSet, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "COMPARED", 99)
    monkeypatch.setattr(failures, "PER_CLASS", 10)
    lazy, images = read_when_asked(data)
    measuring = get_gauges(lazy, "classifier", 1)
    images.most = 0
    real = failures.reference(lazy, measuring)
    assert images.most <= 250
    assert real.labels.bincount().tolist() == [10] * 10 and len(real.order.unique()) == 100
    assert len(real.labels[:10].unique()) > 3, "in a random order"
    assert torch.equal(real.features, measuring.network.extract(data.images[real.order]).features)
    monkeypatch.setattr(Backbone, "extract", None)
    assert torch.equal(failures.reference(lazy, measuring).features, real.features)  # from the cache


def test_a_class_with_few_images_gives_what_it_has() -> None:
    labels = torch.tensor([0] * 5 + [1] * 2 + [2] * 9)
    order = failures.first_of_each_class(labels, 4)
    assert labels[order].bincount().tolist() == [4, 2, 4]
    assert len(order.unique()) == 10
