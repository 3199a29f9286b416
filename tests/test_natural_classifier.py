"""The judge of natural images: a network of its own, trained on the data, the same from the same seed."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import largest_difference, refused
from safetensors.torch import load_file

from ppcd import paths
from ppcd.data.sets import ImageSet, image_hash, to_float
from ppcd.metrics import cache, classifier, natural
from ppcd.metrics.gauges import check_judge, get_gauges
from ppcd.metrics.natural import Member, NaturalClassifier, train_or_load_natural_classifier, whitening


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


def test_it_learns_and_is_the_same_from_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And from the cache, without training."""
    data = pictures()
    first = train_or_load_natural_classifier(data, epochs=12)
    assert first.accuracy > 0.9 and first.held_out == 24 and not first.training
    monkeypatch.setattr(natural, "_train", lambda *_: pytest.fail("it is in the cache"))
    again = train_or_load_natural_classifier(data, epochs=12)
    assert again.sha256 == first.sha256 != "" and torch.equal(again(data.images[:5]), first(data.images[:5]))
    monkeypatch.undo()
    trained = natural._train(data, torch.arange(100), 1, 0, torch.device("cpu"))
    twice = natural._train(data, torch.arange(100), 1, 0, torch.device("cpu"))
    other = natural._train(data, torch.arange(100), 1, 1, torch.device("cpu"))
    weights = [network.head.weight for network in (trained, twice, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_both_members_leave_out_the_same_images_and_the_first_is_kept_where_the_second_is_missing() -> None:
    data = pictures()
    whole = train_or_load_natural_classifier(data, epochs=12)
    first, second = whole
    assert first.sha256 != second.sha256 and first.held_out == second.held_out == whole.held_out == 24
    with torch.no_grad():
        mean = (first(data.images[:9]) + second(data.images[:9])) / 2
        assert largest_difference(whole(data.images[:9]), mean) < 1e-6
    assert sorted(path.suffix for path in (paths.cache() / "classifiers").iterdir()).count(".safetensors") >= 2


def committed_protocols() -> list[dict[str, Any]]:
    root = paths.repository() / "results"
    return [json.loads(path.read_text())["metrics"]["protocol"] for path in root.glob("cifar10-lite*/runs/*/run.json")]


def test_the_judge_of_the_committed_runs_came_with_them() -> None:
    """Nobody has to train it, and everybody's conditional accuracy is by the same one."""
    protocols = committed_protocols()
    keys = {(each["reference_sha256"], each["classifier_epochs"]) for each in protocols}
    assert len(keys) == 1, "one set of images, one training of the judge"
    ((data, epochs),) = keys
    members = []
    for number in range(natural.MEMBERS):
        version = {"natural architecture": natural.ARCHITECTURE} | ({"member": number} if number else {})
        name = cache.key_hash({"data": data, "epochs": epochs, "seed": 0, **version})
        tensors = load_file(paths.repository() / classifier.BROUGHT / f"{name}.safetensors")
        Member(10, 32).load_state_dict(tensors)
        members.append(cache.tensors_hash(tensors))
    whole = hashlib.sha256("".join(members).encode()).hexdigest()
    assert {each["classifier_sha256"] for each in protocols} == {whole}
    assert len(list((paths.repository() / classifier.BROUGHT).iterdir())) == natural.MEMBERS + 1, "and that of mnist"


def test_it_is_the_judge_wherever_results_and_cache_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in paths.ROOTS:
        monkeypatch.setenv(f"PPCD_{name}", str(tmp_path / name))
    monkeypatch.setattr(natural, "_train", lambda *_: pytest.fail("it came with the runs"))
    protocol = committed_protocols()[0]
    labels = torch.arange(20) % 10
    same = replace(pictures(20), labels=labels, classes=tuple("0123456789"), sha256=protocol["reference_sha256"])
    judge = train_or_load_natural_classifier(same, epochs=protocol["classifier_epochs"])
    assert judge.sha256 == protocol["classifier_sha256"]


def test_each_of_two_has_fewer_than_a_million_weights() -> None:
    network = Member(10, 32)
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000
    assert math.isnan(network.accuracy)


def test_mirror_images_are_the_same_to_it() -> None:
    network = NaturalClassifier([natural._untrained(4, 32, seed) for seed in (0, 1)]).eval()
    images = pictures(8).images
    with torch.no_grad():
        assert largest_difference(network(images), network(images.flip(3))) < 1e-5
        assert largest_difference(network.logits(network.features(images)), network(images)) == 0
    assert [tuple(stage.shape[1:]) for stage in network.stages(images)] == [(96, 15, 15), (288, 7, 7), (288, 3, 3)]


def test_whitened_patches_are_uncorrelated() -> None:
    images = to_float(pictures(60).images)
    answers = torch.nn.functional.conv2d(images.double(), whitening(images).double())
    flat = answers.transpose(0, 1).flatten(1)
    half = len(flat) // 2
    assert largest_difference(torch.cov(flat[:half]), torch.eye(half).double()) < 0.1
    assert largest_difference(flat[half:], -flat[:half]) < 1e-9


def test_what_it_cannot_take_is_refused() -> None:
    with refused("16 pixels a side; got 8"):
        Member(10, 8)
    with refused("at least one epoch"):
        train_or_load_natural_classifier(pictures(), epochs=0)
    one = pictures(2, 3)
    with refused("needs two of every class"):
        train_or_load_natural_classifier(one, epochs=1)


def test_it_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside another backbone; the protocol says that it did."""
    data = pictures()
    check_judge("natural-classifier", data)
    gauges = get_gauges(data, "classifier", 2, judge="natural-classifier")
    assert gauges.judge.name == "natural-classifier" and gauges.network.name == "classifier"
    assert 0 <= gauges.accuracy <= 1
    found = gauges.network.extract(data.images)
    assert gauges.judged(data.images, found).shape == (120, 3)
