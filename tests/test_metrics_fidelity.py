"""IS, Fréchet distance, KID, precision and recall: against formulas, against torch-fidelity, and in meaning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Subset

from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics import fidelity as module
from ppcd.metrics import moments
from ppcd.metrics.features import Backbone, Features, get_backbone
from ppcd.metrics.fidelity import compare, frechet_distance, inception_score, reference_statistics
from ppcd.metrics.moments import Moments, Statistics, statistics


def fidelity_scores(generated: Features, real: Statistics) -> dict[str, float]:
    return compare(statistics(generated.features), inception_score(generated.logits), real)


def normal(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_distance_of_known_gaussians() -> None:
    """Against Dowson and Landau 1982, with the square root of another library."""
    one, other = (Moments(normal(1, 8, seed)[0], normal(20, 8, seed).T.cov()) for seed in (1, 2))
    means = (one.mu - other.mu).square().sum().item()
    root = scipy.linalg.sqrtm((one.sigma @ other.sigma).numpy())
    expected = means + (one.sigma + other.sigma).trace().item() - 2 * np.trace(root).real
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6 * expected)
    # Broken cases that the tolerance must not let pass: without the covariances, or with a mean moved a little.
    assert expected != pytest.approx(means, rel=1e-6)
    assert frechet_distance(Moments(one.mu + 0.01, one.sigma), other) != pytest.approx(expected, rel=1e-6)


def test_inception_score_of_known_predictions() -> None:
    classes = torch.arange(1000) % 10  # taking turns, as sample_images has it
    confident = 100 * torch.nn.functional.one_hot(classes, 10).float()
    assert inception_score(confident) == pytest.approx((10, 0), abs=1e-6)
    assert inception_score(torch.zeros(1000, 10)) == pytest.approx((1, 0), abs=1e-6)
    assert inception_score(confident[:1].expand(1000, 10)) == pytest.approx((1, 0), abs=1e-6)
    # In the order of the classes each split would be of one class.
    assert inception_score(confident[classes.argsort()])[0] == pytest.approx(1, abs=1e-6)
    assert inception_score(confident[:100]) == pytest.approx((10, 0), abs=1e-6)  # one split
    half_sure = torch.log(torch.where(confident > 0, 0.5, 0.5 / 9))
    entropy = -(0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 9))
    assert inception_score(half_sure)[0] == pytest.approx(10 / np.exp(entropy), rel=1e-5)


def test_the_same_as_torch_fidelity_s_own_entry(few: ImageSet) -> None:
    backbone = get_backbone("classifier", few, classifier_epochs=1)

    class Extractor(torch_fidelity.FeatureExtractorBase):
        """The backbone as torch-fidelity takes networks."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, list(features_list))

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return tuple(getattr(backbone.extract(images), name) for name in self.features_list)

    torch_fidelity.register_feature_extractor("ours", Extractor)
    generated, real = few.images[:60], few.images[60:]
    expected = torch_fidelity.calculate_metrics(
        input1=Subset(few.images, range(60)), input2=Subset(few.images, range(60, 120)), feature_extractor="ours",
        isc=True, fid=True, kid=True, prc=True, isc_splits=1, samples_shuffle=False,
        kid_subsets=module.KID_SUBSETS, kid_subset_size=30, cuda=False, cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    found = fidelity_scores(backbone.extract(generated), statistics(backbone.extract(real).features))
    names = {
        "is": "inception_score_mean", "is_std": "inception_score_std", "fd": "frechet_inception_distance",
        "kid": "kernel_inception_distance_mean", "kid_std": "kernel_inception_distance_std",
        "precision": "precision", "recall": "recall",
    }  # fmt: skip
    assert found == pytest.approx({ours: expected[theirs] for ours, theirs in names.items()}, rel=1e-4)


def test_reference_is_computed_once_of_all_classes(
    few: ImageSet, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (module, moments):
        monkeypatch.setattr(each, "COMPARED", 30)
    backbone = get_backbone("classifier", few, classifier_epochs=1)
    first = reference_statistics(few, backbone)
    assert first.features.shape == (30, 64) and first.images == 120
    assert len(few.labels[module.reference_order(120)[:30]].unique()) >= 8, "the first are not of the first classes"
    retrained = get_backbone("classifier", few, classifier_epochs=2)
    assert not torch.equal(reference_statistics(few, retrained).mu, first.mu)
    monkeypatch.setattr(Backbone, "extract", lambda *_: pytest.fail("computed again"))
    second = reference_statistics(few, backbone)
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("mu", "sigma", "features"))


def test_statistics_of_more_images_than_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments of all, features of the first; means in double precision, where a float32 sum would drift."""
    monkeypatch.setattr(moments, "COMPARED", 50)
    features = (1e4 + normal(300, 6)).float()
    found, expected = statistics(features), features.double().numpy()
    np.testing.assert_allclose(found.mu, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.sigma, np.cov(expected, rowvar=False), rtol=1e-12)
    assert found.images == 300 and torch.equal(found.features, features[:50])
    assert np.abs(features.numpy().mean(0) - expected.mean(0)).max() > 1e-12 * 1e4
    with pytest.raises(PpcdError, match="at least 16 samples; got 15"):
        statistics(features[:15])
    with pytest.raises(PpcdError, match="not finite"):
        statistics(torch.full((16, 4), torch.nan))
