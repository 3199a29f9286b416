"""Scores without the real images, from what `results/<profile>/reference.safetensors` keeps of them; the index."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_runs import fake_run, smoke
from PIL import Image

from paper import sums
from paper.artifacts import index
from paper.judges import get_judges
from paper.real_images import ensure_real_images
from paper.study import Study
from paper.verify.products import check_products
from paper.verify.scores import check_scores
from ppcd import paths
from ppcd.metrics import reference
from ppcd.metrics.evaluate import evaluate
from ppcd.metrics.fidelity import frechet_distance
from ppcd.metrics.moments import Moments, statistics
from ppcd.metrics.reference import find_reference, pack_covariance, unpack_covariance
from ppcd.networks.io import load_generator
from ppcd.records import read_unsealed
from ppcd.runs.evaluate import main
from ppcd.training.config import runs_root
from ppcd.training.profiles import PROFILES, SMOKE, get_profile

COMMITTED = paths.repository() / "results"
SCORED = {"is", "is_std", "fd", "diversity", "accuracy"}


@pytest.mark.parametrize(("steps", "exact"), [(reference.STEPS, True), (127, False)])
def test_a_covariance_keeps_its_distances(steps: int, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strongly correlated features, one of them constant; in 8 bits the distance would change."""
    monkeypatch.setattr(reference, "STEPS", steps)
    random = torch.Generator().manual_seed(0)
    mixed = torch.randn(3000, 20, generator=random) @ torch.randn(20, 40, generator=random)
    mixed += 0.3 * torch.randn(3000, 40, generator=random)
    mixed[:, 7] = 2
    real, found = statistics(mixed[:2000]), statistics(1.1 * mixed[2000:])
    kept = Moments(real.mu, unpack_covariance(*pack_covariance(real.sigma)))
    assert (frechet_distance(found, kept) == pytest.approx(frechet_distance(found, real), rel=1e-4)) == exact


@dataclass(frozen=True)
class Built:
    """A run of a folder of images, which is gone: its record, its scores before, the name of the images."""

    folder: Path
    record: dict[str, Any]
    measured: dict[str, Any]
    identity: str

    def move_here(self, patch: pytest.MonkeyPatch) -> None:
        patch.setitem(PROFILES, "smoke", replace(SMOKE, dataset="cifar10", images_per_class=None))
        patch.setenv("PPCD_RESULTS", str(self.folder / "results"))
        patch.setenv("PPCD_CACHE", str(self.folder / "cache"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder, random = tmp_path_factory.mktemp("built"), np.random.default_rng(0)
    for label in range(10):
        (folder / "images" / str(label)).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 25 * (label + 1), (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / str(label) / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        Built(folder, {}, {}, "").move_here(patch)
        patch.setenv("PPCD_DATA", str(folder / "images"))
        data, _ = get_judges(smoke())
        record = fake_run("biggan")
        ensure_real_images(smoke())
        assert reference.FILE in sums.read(paths.results("smoke"))
        generator = load_generator(runs_root("smoke") / record["id"] / "generator.safetensors")
        measured = evaluate(
            generator, data, backbone="classifier", samples=100, seed=0, classifier_epochs=SMOKE.classifier_epochs
        )
    for prepared in (folder / "cache" / "data").glob("*.npz"):
        prepared.unlink()
    return Built(folder, record, measured, data.identity)


@pytest.fixture
def scored(built: Built, monkeypatch: pytest.MonkeyPatch) -> Built:
    built.move_here(monkeypatch)
    return built


@pytest.mark.parametrize("named", [False, True])
def test_a_generator_is_scored_without_the_images(
    scored: Built, named: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = runs_root("smoke") / scored.record["id"] / "generator.safetensors"
    if named:
        monkeypatch.setenv("PPCD_DATA", scored.identity)
    arguments = [str(file), "--profile", "smoke"] if named else [scored.record["id"]]
    assert main([*arguments, "--json", "--device", "cpu"]) == 0
    printed, said = capsys.readouterr()
    found, before = json.loads(printed), scored.measured
    assert found["protocol"] == before["protocol"], "the same judge, samples and real images"
    taken = {name: value for name, value in found["scores"].items() if value is not None}
    assert taken == pytest.approx({name: before["scores"][name] for name in SCORED}, rel=1e-4)
    assert f"the images {scored.identity} are not here" in said and said.count("\n") == 1
    assert "kid, precision and recall need the images themselves: point PPCD_DATA at their folder" in said


def test_verify_measures_scores_again_and_without_the_file_the_images_are_asked_for(
    scored: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PPCD_DATA", scored.identity)
    metrics = {**scored.record["metrics"], "ema": scored.measured["scores"] | {"is": 7.5, "kid": 9.0}}
    record, said = {**scored.record, "metrics": metrics}, list[str]()
    (found,) = check_scores(smoke(), {record["id"]: record}, said.append)
    assert "metrics.ema.is: says 7.5" in found.problem and "kid, precision and recall are not measured" in said[0]
    file = paths.results("smoke") / reference.FILE
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert main([scored.record["id"]]) == 2
    file.write_bytes(content)
    assert f"the images {scored.identity} are not on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["cifar10-lite", "cifar10-lite-z24"])
def test_the_committed_file_is_of_what_measured_the_committed_runs(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPCD_RESULTS", str(COMMITTED))
    settings, records = get_profile(profile), list(map(read_unsealed, runs_root(profile).iterdir()))
    (identity,) = {record["data"]["identity"] for record in records}
    kept = find_reference(profile, settings.dataset, settings.resolution, settings.backbone, identity)
    assert kept is not None
    for record in records:
        taken = record["metrics"]["protocol"]
        assert (kept.sha256, kept.backbone_sha256, kept.real.images, kept.judge_accuracy, list(kept.classes)) == (
            taken["reference_sha256"], taken["backbone_sha256"], taken["reference_images"],
            taken["accuracy_classifier"], record["data"]["classes"],
        )  # fmt: skip


def test_the_index_says_what_the_runs_are_and_which_to_take() -> None:
    for recipe, seed, fd, params in (
        ("biggan", 0, 9.0, 100_000), ("sagan", 0, 5.0, 60_000), ("ppcd-a0.5", 0, 8.0, 50_000),
        ("ppcd-a0.5", 1, 7.0, 50_000), ("l1-biggan-a0.8", 0, 6.0, 20_000),
    ):  # fmt: skip
        fake_run(recipe, seed, fd=fd, params=params, raw_fd=fd + 0.25)
    text = (index.write(smoke()) or Path()).read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    chosen = {row[0].removeprefix("| "): [cell.partition("-s")[0].lstrip("[") for cell in row[1:]] for row in rows[2:6]}
    assert chosen["1/2"] == ["l1-biggan-a0.8", "ppcd-a0.5"] and chosen["1/8"] == ["–", "– |"]
    assert "`python -m ppcd evaluate sagan-s0-" in text and "**Data.** Digits of MNIST" in text
    (row,) = (row for row in rows if row[0].startswith("| [ppcd-a0.5-s1"))
    assert row[1:] == ["PPCD-GAN", "0.5", "1", "50,000 (80,000)", "500k", "7.00 · 7.25", "90.0% |"]
    page = paths.results("smoke") / index.FILE
    assert list(check_products(smoke(), lambda: None, lambda _: None)) == []
    page.write_text(text.replace("7.00 · 7.25", "7.00 · 7.35"))
    (found,) = check_products(smoke(), lambda: None, lambda _: None)
    assert found.file == "results/smoke/README.md" and "7.35" in found.problem
    fake_run("sngan", protocol={"reference": "folder-0123456789ab"})
    assert "## 1 runs scored against folder-0123456789ab" in (index.markdown(smoke()) or ""), "apart from the others"
    assert index.markdown(Study.of("mnist")) is None


def test_the_committed_indexes_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_RESULTS", str(COMMITTED))
    for profile in {path.parents[2].name for path in COMMITTED.glob("*/runs/*/run.json")}:
        assert (COMMITTED / profile / index.FILE).read_text() == index.markdown(Study.of(profile))
