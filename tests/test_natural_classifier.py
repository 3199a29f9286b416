"""The judge of natural images: trained on the data, the same from the same seed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference import largest_difference, refused

from ppcd import paths
from ppcd.data.sets import ImageSet, image_hash
from ppcd.metrics import natural
from ppcd.metrics.evaluators import get_evaluators
from ppcd.metrics.natural import Member, NaturalClassifier, train_or_load_natural_classifier


def pictures(count: int = 120, classes: int = 3, side: int = 32, seed: int = 0) -> ImageSet:
    """Stripes of one direction a class, in colours of chance, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    place = torch.arange(side)
    waves = torch.stack([torch.sin(place * 0.9)[:, None] * torch.ones(side), torch.sin(place * 0.9).expand(side, side),
                         torch.sin((place[:, None] + place) * 0.7)])  # fmt: skip
    colours = torch.rand(count, 3, 1, 1, generator=generator) + 0.3
    noise = torch.randn(count, 3, side, side, generator=generator)
    images = (128 + 60 * waves[labels][:, None] * colours + 10 * noise).clamp(0, 255).to(torch.uint8)
    names = tuple(f"direction {label}" for label in range(classes))
    return ImageSet(images, labels, names, "stripes", image_hash(images, labels), "")


def test_it_learns_and_is_the_same_from_the_same_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from the cache, without training."""
    data = pictures()
    first = train_or_load_natural_classifier(data, epochs=12)
    assert first.accuracy > 0.9 and not first.training
    with torch.no_grad():
        one, other = (member(data.images[:9]) for member in first.members)
        assert not torch.equal(one, other)
        assert largest_difference(first(data.images[:9]), (one + other) / 2) < 1e-6
    with monkeypatch.context() as patch:
        patch.setattr(natural, "_train", lambda *_, **__: pytest.fail("it is in the cache"))
        again = train_or_load_natural_classifier(data, epochs=12)
    assert again.sha256 == first.sha256 != "" and torch.equal(again(data.images[:5]), first(data.images[:5]))
    hashes = {train_or_load_natural_classifier(data, epochs=1).sha256}
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "cache"))
    hashes.add(train_or_load_natural_classifier(data, epochs=1).sha256)
    assert len(hashes) == 1


def test_it_is_the_judge_wherever_results_and_cache_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in paths.ROOTS:
        monkeypatch.setenv(f"PPCD_{name}", str(tmp_path / name))
    monkeypatch.setattr(natural, "_train", lambda *_, **__: pytest.fail("it came with the runs"))
    runs = (paths.repository() / "results").glob("cifar10-lite*/runs/*/run.json")
    protocols = [json.loads(path.read_text())["metrics"]["protocol"] for path in runs]
    names = ("reference_sha256", "classifier_epochs", "classifier_sha256")
    ((data, epochs, sha256),) = {tuple(each[name] for name in names) for each in protocols}
    labels = torch.arange(20) % 10
    same = replace(pictures(20), labels=labels, classes=tuple("0123456789"), sha256=data)
    assert train_or_load_natural_classifier(same, epochs=epochs).sha256 == sha256


def test_mirror_images_are_the_same_to_it() -> None:
    network = NaturalClassifier([natural._untrained(pictures(8), seed) for seed in (0, 1)]).eval()
    images = pictures(8).images
    with torch.no_grad():
        assert largest_difference(network(images), network(images.flip(3))) < 1e-5
        assert largest_difference(network.logits(network.features(images)), network(images)) == 0


def test_what_it_cannot_take_is_refused() -> None:
    with refused("16 pixels a side; got 8"):
        Member(10, 8)
    with refused("at least one epoch"):
        train_or_load_natural_classifier(pictures(), epochs=0)
    one = pictures(2, 3)
    with refused("needs two of every class"):
        train_or_load_natural_classifier(one, epochs=1)


def test_it_judges() -> None:
    """With another backbone than the judge."""
    data = pictures()
    evaluators = get_evaluators(data, "classifier", 2, judge="natural-classifier")
    assert evaluators.judge.name == "natural-classifier" and evaluators.network.name == "classifier"
    found = evaluators.network.extract(data.images)
    assert evaluators.judged(data.images, found).shape == (120, 3)
