"""Diversity: lpips' own distance, within classes, nothing for copies."""

import urllib.error
import warnings
from dataclasses import replace

import lpips
import pytest
import torch
from torch import Tensor

from ppcd.base import PpcdError
from ppcd.data.images import ImageSet, to_float
from ppcd.metrics.diversity import class_pairs, diversity, lpips_alex, uncalibrated
from ppcd.metrics.features import Backbone, get_backbone

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone(few: ImageSet) -> Backbone:
    return get_backbone("classifier", few, classifier_epochs=2)


def untrained_alex(calibrated: bool) -> lpips.LPIPS:
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net="alex", pnet_rand=True, lpips=calibrated, verbose=False)


def test_uncalibrated_is_lpips_without_its_weights(few: ImageSet) -> None:
    network = untrained_alex(calibrated=False)

    def stages(images: Tensor) -> list[Tensor]:
        return list(network.net(network.scaling_layer(to_float(images))))

    one, other = few.images[:3], few.images[20:23]
    with torch.no_grad():
        expected = network(to_float(one), to_float(other)).flatten()
        found = uncalibrated(stages)(one, other)
        without_last = uncalibrated(lambda images: stages(images)[:-1])(one, other)
    assert found.shape == (3,)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert (without_last - expected).abs().min() > 1e-3 * expected.max()


def test_calibrated_is_lpips(few: ImageSet, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an AlexNet with random weights: its real ones cannot be had everywhere."""
    network = untrained_alex(calibrated=True)
    monkeypatch.setattr(lpips, "LPIPS", lambda net, verbose: network)
    one, other = few.images[:3], few.images[20:23]
    expected = network(to_float(one), to_float(other)).flatten()
    assert torch.equal(lpips_alex(CPU)(one, other), expected)
    found = diversity(few.images, few.labels, 10, replace(backbone, name="inception"), seed=0)
    assert found.distance == "lpips-alex" and found.value > 0


def test_alex_offline_names_the_offline_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_internet(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(lpips.pretrained_networks.tv, "alexnet", no_internet)
    with pytest.raises(PpcdError, match=r"lpips' AlexNet.*offline") as caught:
        lpips_alex(CPU)
    assert "\n" not in str(caught.value)


def test_copies_have_none_and_only_classes_count(few: ImageSet, backbone: Backbone) -> None:
    real = diversity(few.images, few.labels, 10, backbone, seed=0)
    assert real.distance == "lpips-uncalibrated-classifier"
    first = torch.stack([few.images[few.labels == label][0] for label in range(10)])
    collapsed = diversity(first[few.labels], few.labels, 10, backbone, seed=0)
    assert collapsed.value < 1e-6 < 0.1 < real.value  # though the ten images differ from each other
    half = few.images.clone()
    half[few.labels < 5] = first[few.labels[few.labels < 5]]
    part = diversity(half, few.labels, 10, backbone, seed=0)
    assert 0.2 * real.value < part.value < 0.8 * real.value
    with pytest.raises(PpcdError, match="class 9 has 1: ask for 20 samples"):
        diversity(few.images[:19], torch.arange(19) % 10, 10, backbone, seed=0)


def test_mean_over_all_pairs_where_there_are_few(few: ImageSet, backbone: Backbone) -> None:
    measure = uncalibrated(backbone.stages)
    expected = []
    for label in range(10):
        images = few.images[few.labels == label]
        distances = [float(measure(images[i : i + 1], images[j : j + 1])) for i in range(12) for j in range(i)]
        expected.append(sum(distances) / len(distances))
    found = diversity(few.images, few.labels, 10, backbone, seed=0)
    assert found.value == pytest.approx(sum(expected) / 10, rel=1e-5)
    assert found.value != pytest.approx(sum(expected[1:]) / 10, rel=1e-2)


def test_pairs_are_of_one_class_and_of_two_images() -> None:
    labels = torch.randint(3, (90,), generator=torch.Generator().manual_seed(0))
    pairs, again, other = (class_pairs(labels, 3, 50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for label, found in enumerate(pairs):
        assert found.shape == (50, 2)
        assert (labels[found] == label).all() and (found[:, 0] != found[:, 1]).all()
    assert all(torch.equal(a, b) for a, b in zip(pairs, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(pairs, other, strict=True))
    (all_pairs,) = class_pairs(torch.zeros(5, dtype=torch.int64), 1, 10, torch.Generator())
    assert len({tuple(sorted(pair)) for pair in all_pairs.tolist()}) == len(all_pairs) == 10
