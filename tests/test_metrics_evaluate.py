"""From a generator to its scores: generators whose quality is known by construction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.data.images import ImageSet, to_float
from ppcd.data.sets import load_data
from ppcd.metrics import diversity, fidelity
from ppcd.metrics.evaluate import evaluate
from ppcd.metrics.sampling import draw_noise, sample_images

SCORES = {"is", "is_std", "fd", "kid", "kid_std", "precision", "recall", "diversity", "accuracy"}


class Drawing(nn.Module):
    """Draws from real images: of the class asked for, or as `fault` has it."""

    dim_z, num_classes, resolution = 4, 10, 32

    def __init__(self, data: ImageSet, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.noise: list[Tensor] = []
        self.register_buffer("images", to_float(data.images))
        self.members = [torch.nonzero(data.labels == label).flatten() for label in range(10)]

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        assert not self.training
        self.noise.append(z)
        if self.fault == "noise":
            return torch.sin(1e4 * z[:, :1, None, None] * (1 + self.images[: len(z)]))
        if self.fault == "nan":
            return torch.full((len(z), 3, 32, 32), torch.nan)
        place = torch.zeros(len(z)) if self.fault == "collapsed" else torch.special.ndtr(z[:, 0])
        if self.fault == "wrong class":
            y = (y + 1) % 10
        index = [
            self.members[label][min(int(p * len(self.members[label])), len(self.members[label]) - 1)]
            for p, label in zip(place, y.tolist(), strict=True)
        ]
        return self.images[torch.stack(index)]


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return load_data("mnist", 32, images_per_class=60)


def scores_of(data: ImageSet, fault: str, samples: int = 400) -> dict[str, float]:
    G = Drawing(data, fault)
    return evaluate(G, data, backbone="classifier", samples=samples, seed=0, classifier_epochs=6)["scores"]


def test_known_generators_score_as_they_should(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "PAIRS_PER_CLASS", 20)
    good, collapsed = scores_of(data, ""), scores_of(data, "collapsed")
    wrong, noise = (scores_of(data, fault) for fault in ("wrong class", "noise"))
    # The very images: near zero distance. Noise: far.
    assert good["fd"] < 0.1 * noise["fd"] and good["kid"] < 0.1 * noise["kid"]
    assert min(good["precision"], good["recall"]) > 0.9 > 0.1 > noise["precision"]
    # One image per class is precise and of the right class, and is punished in recall and diversity.
    assert collapsed["precision"] > 0.9 and collapsed["accuracy"] >= 0.8
    assert collapsed["recall"] < 0.1 and collapsed["diversity"] < 1e-6 < 0.1 < good["diversity"]
    assert collapsed["fd"] > 5 * good["fd"]
    # The label is judged by accuracy alone: images of other classes are as good in all else.
    assert good["accuracy"] > 0.95 and wrong["accuracy"] < 0.05
    assert wrong["fd"] < 0.1 * noise["fd"] and wrong["recall"] > 0.8
    assert good["is"] > 2 > 1.5 > noise["is"]


def test_protocol_and_scores_can_be_kept(data: ImageSet) -> None:
    def measure(seed: int = 0) -> dict[str, dict[str, Any]]:
        return evaluate(Drawing(data), data, backbone="classifier", samples=100, seed=seed, classifier_epochs=2)

    first = measure()
    assert json.loads(json.dumps(first)) == first
    assert set(first["scores"]) == SCORES
    assert all(type(value) is float for value in first["scores"].values())
    taken = first["protocol"]
    assert (taken["backbone"], taken["samples"], taken["seed"]) == ("classifier", 100, 0)
    assert (taken["reference"], taken["reference_images"]) == (data.identity, 600)
    assert (taken["diversity"], taken["classifier_epochs"]) == ("lpips-uncalibrated-classifier", 2)
    assert (taken["is_splits"], taken["kid_subset_size"], taken["prc_samples"]) == (1, 50, 100)

    # Again: the same numbers, whatever the global state.
    torch.manual_seed(99)
    np.random.seed(99)
    state, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert measure() == first
    assert torch.equal(state, torch.get_rng_state()) and (of_numpy == np.random.get_state()[1]).all()
    assert measure(seed=1)["scores"]["fd"] != first["scores"]["fd"]


def test_efficientnet_lite0(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "REFERENCE_IMAGES", 32)
    found = evaluate(Drawing(data), data, backbone="efficientnet-lite0", samples=20, seed=0, classifier_epochs=2)
    assert found["protocol"]["backbone"] == "efficientnet-lite0"
    assert found["protocol"]["diversity"] == "lpips-uncalibrated-efficientnet-lite0"
    assert found["protocol"]["backbone_sha256"] != found["protocol"]["classifier_sha256"]
    assert set(found["scores"]) == SCORES and found["scores"]["fd"] > 0


def test_neither_batch_size_nor_number_change_a_sample(data: ImageSet) -> None:
    expected, _ = sample_images(Drawing(data), 50, seed=3)
    for batch in (1, 7, 64):
        G = Drawing(data).train()
        images, labels = sample_images(G, 50, seed=3, batch=batch)
        assert G.training, "the mode is put back"
        assert torch.equal(labels, torch.arange(50) % 10) and torch.equal(images, expected)
        assert torch.equal(torch.cat(G.noise), draw_noise(50, G.dim_z, seed=3))
    for image, label in zip(expected, labels, strict=True):
        assert (data.images[data.labels == label] == image).flatten(1).all(1).any()
    assert not torch.equal(sample_images(Drawing(data), 50, seed=4)[0], expected)
    for dim_z in (1, 5, 32):
        many = draw_noise(200, dim_z, seed=0)
        assert all(torch.equal(draw_noise(count, dim_z, seed=0), many[:count]) for count in (1, 3, 63, 64, 65, 150))
        assert abs(many.mean()) < 0.3 and abs(many.std() - 1) < 0.2


def test_mistakes(data: ImageSet, fresh_cache: Path) -> None:
    G, other = Drawing(data), Drawing(data)
    other.resolution = 64
    for generator, backbone, samples, said in (
        (G, "vgg", 100, "classifier, efficientnet-lite0, inception"),
        (G, "classifier", 19, "at least 20 samples"),
        (other, "classifier", 100, "does not fit"),
    ):
        with pytest.raises(PpcdError, match=said):
            evaluate(generator, data, backbone=backbone, samples=samples, seed=0, classifier_epochs=1)
    assert not (fresh_cache / "classifiers").exists()  # found out before anything is trained
    with pytest.raises(PpcdError, match="not finite"):
        sample_images(Drawing(data, "nan"), 10, seed=0)
    with pytest.raises(PpcdError, match="at least 1"):
        sample_images(G, 0, seed=0)
