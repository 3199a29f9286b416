"""Statistics files of other tools, and the command line that takes them."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference import refused
from test_metrics_full_size import Waves

from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics import evaluate as module
from ppcd.metrics.evaluate import evaluate_against
from ppcd.metrics.features import DIMENSIONS, Backbone, get_backbone
from ppcd.metrics.fidelity import frechet_distance, inception_score
from ppcd.metrics.moments import statistics
from ppcd.metrics.sampling import sample_images
from ppcd.metrics.statistics_files import StatisticsFile, read_statistics
from ppcd.networks.generators import build_generator
from ppcd.networks.io import save_generator
from ppcd.runs.evaluate import main


def covariance(size: int, seed: int = 0) -> np.ndarray:
    a = np.random.RandomState(seed).randn(size, size)
    return a @ a.T


def written(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mu_and_sigma_are_read(dtype: type, save: Callable[..., None], tmp_path: Path) -> None:
    mu, sigma = np.arange(5, dtype=dtype), covariance(5).astype(dtype)
    path = tmp_path / "fid_stats.npz"
    save(path, mu=mu, sigma=sigma, extra=np.zeros(3))
    found = read_statistics(path)
    assert torch.equal(found.mu, torch.from_numpy(mu).double())
    assert torch.equal(found.sigma, torch.from_numpy(sigma).double())
    assert (found.name, found.sha256) == ("fid_stats.npz", hashlib.sha256(path.read_bytes()).hexdigest())


GOOD = {"mu": np.zeros(4), "sigma": covariance(4)}
ASYMMETRIC, NEGATIVE, INFINITE = covariance(4), covariance(4), covariance(4)
ASYMMETRIC[0, 1] += 1
NEGATIVE[2, 2] = -1
INFINITE[1, 1] = np.inf


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": GOOD["mu"]}, "has no sigma; it holds mu"),
        ({"pool": GOOD["mu"], "logits": GOOD["mu"]}, "has no mu and no sigma; it holds logits, pool"),
        (GOOD | {"sigma": covariance(3)}, "got (4,) of float64 and (3, 3) of float64"),
        (GOOD | {"mu": np.zeros((4, 1))}, "got (4, 1) of float64"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "got (0,) of float64"),
        (GOOD | {"mu": np.zeros(4, dtype=int)}, "got (4,) of int64"),
        (GOOD | {"sigma": covariance(4).astype(np.float16)}, "(4, 4) of float16"),
        (GOOD | {"mu": np.array([0, np.nan, 0, 0])}, "expected finite mu"),
        (GOOD | {"sigma": INFINITE}, "expected finite mu [n] and sigma [n, n]"),
        (GOOD | {"sigma": ASYMMETRIC}, "sigma a covariance matrix"),
        (GOOD | {"sigma": NEGATIVE}, "sigma a covariance matrix"),
    ],
)
def test_what_are_no_statistics_is_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with refused("file.npz", message):
        read_statistics(written(tmp_path / "file.npz", **arrays))


def test_what_is_no_npz_file_is_refused(tmp_path: Path) -> None:
    """One that would run code is in tests/test_bad_input.py."""
    good = written(tmp_path / "good.npz", **GOOD).read_bytes()
    (tmp_path / "short.npz").write_bytes(good[: len(good) // 2])
    damaged = bytearray(good)
    damaged[good.index(GOOD["sigma"].tobytes()) + 40] ^= 255
    (tmp_path / "damaged.npz").write_bytes(damaged)
    np.save(tmp_path / "single.npy", np.zeros(4))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("mu.txt", "1")
    for name, said in (
        ("short.npz", "short.npz is not a"), ("damaged.npz", "damaged.npz is not a"),
        ("single.npy", "single.npy is not a"), ("none.npz", "no statistics file at"), (".", "no statistics file at"),
        ("other.npz", "has no mu and no sigma; it holds mu.txt"),
    ):  # fmt: skip
        with refused(said):
            read_statistics(tmp_path / name)


def test_only_statistics_of_as_many_features_are_compared_with() -> None:
    def check(size: int, backbone: str) -> None:
        file = StatisticsFile(torch.zeros(size), torch.eye(size), "moments.npz", "0" * 64)
        evaluate_against(Small(), file, backbone=backbone, samples=16, seed=0)

    with pytest.raises(PpcdError, match=r"moments\.npz is of 1280 features, but the backbone inception has 2048"):
        check(1280, "inception")
    with pytest.raises(PpcdError, match="classifier backbone is trained on the data"):
        check(DIMENSIONS["classifier"], "classifier")
    with pytest.raises(PpcdError, match="unknown feature backbone 'vgg'"):
        check(4, "vgg")


class Small(Waves):
    resolution = 32


@pytest.fixture
def classifier_as_published(few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A cheap network where an ImageNet one is asked for."""
    backbone = get_backbone("classifier", few, classifier_epochs=1)
    monkeypatch.setattr(module, "published_backbone", lambda name, device: backbone)
    monkeypatch.setitem(DIMENSIONS, "efficientnet-lite0", 64)
    return backbone


def test_scores_against_a_file(few: ImageSet, classifier_as_published: Backbone, tmp_path: Path) -> None:
    real = statistics(classifier_as_published.extract(few.images).features)
    file = read_statistics(written(tmp_path / "real.npz", mu=real.mu.numpy(), sigma=real.sigma.numpy()))
    found = evaluate_against(Small(), file, backbone="efficientnet-lite0", samples=600, seed=2)
    features = classifier_as_published.extract(sample_images(Small(), 600, 2)[0])
    scores = found["scores"]
    assert scores["fd"] == pytest.approx(frechet_distance(statistics(features.features), real), rel=1e-6)
    assert (scores["is"], scores["is_std"]) == inception_score(features.logits)
    assert {name for name, value in scores.items() if value is None} == {
        "kid", "kid_std", "precision", "recall", "diversity", "accuracy",
    }  # fmt: skip
    taken = found["protocol"]
    assert (taken["reference"], taken["reference_sha256"], taken["reference_images"]) == ("real.npz", file.sha256, None)
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(PpcdError, match="at least 16 samples; got 15"):
        evaluate_against(Small(), file, backbone="efficientnet-lite0", samples=15, seed=0)


def test_a_generator_is_measured_against_a_file(
    classifier_as_published: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ppcd.runs.evaluate.run_config", None)  # no image of the profile is asked for
    save_generator(build_generator("sagan", 32, num_classes=10, width=2), tmp_path / "g.safetensors")
    file = written(tmp_path / "stats.npz", mu=np.zeros(64), sigma=np.eye(64))
    arguments = [str(tmp_path / "g.safetensors"), "--statistics", str(file), "--device", "cpu", "--samples", "20"]
    assert main([*arguments, "--profile", "cifar10-lite"]) == 0
    table = capsys.readouterr().out
    assert "against stats.npz" in table and table.count("not measured") == 6
    assert main([*arguments, "--profile", "mnist"]) == 2
    assert "classifier backbone is trained" in capsys.readouterr().err
    file.write_bytes(io.BytesIO(b"no").getvalue())
    assert main([*arguments, "--profile", "cifar10-lite"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ppcd: ") and error.count("\n") == 1
