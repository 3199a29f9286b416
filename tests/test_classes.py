"""Folders of images with any number of classes: what they make of a profile, what is refused, and a whole run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reference import refused

from paper.artifacts import failures, figures, headline, interpolation
from paper.generations import measure_generations
from paper.real_images import ensure_real_images
from paper.study import Study
from ppcd import paths
from ppcd.data.archive import get_archive
from ppcd.runs import evaluate, train
from ppcd.training.config import run_config
from ppcd.training.profiles import CIFAR10_LITE, IMAGENET, PROFILES, SMOKE, fitted
from ppcd.training.recipes import TEACHER

OWN = replace(
    SMOKE, name="own", dataset="cifar10", images_per_class=None, teacher_iterations=4, iterations=6, best_samples=20,
    evaluation_samples=20, classifier_epochs=1, judge="natural-classifier",
)  # fmt: skip


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> Callable[..., Path]:
    """Makes a folder with so many images of each class, and has PPCD_DATA name it."""
    rng = np.random.default_rng(0)

    def folder(*sizes: int) -> Path:
        for label, size in enumerate(sizes):
            for number in range(size):
                path = tmp_path / "images" / f"class {label:03}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
        monkeypatch.setenv("PPCD_DATA", str(tmp_path / "images"))
        return tmp_path / "images"

    return folder


@pytest.mark.parametrize(("classes", "images"), [(3, 12), (300, 1)])
def test_the_folder_says_how_many_classes_there_are(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, classes: int, images: int
) -> None:
    folder = make(*[images] * classes)
    profile = fitted(CIFAR10_LITE)
    assert (profile.num_classes, profile.evaluation_samples) == (classes, 5000)
    assert profile.best_samples == max(500, 2 * classes)
    if images > 4:
        assert run_config("cifar10-lite", "ppcd", 0).resolved()["profile"]["num_classes"] == classes
        monkeypatch.setenv("PPCD_DATA", str(get_archive(folder, 32).directory))  # of `python -m ppcd prepare`
        assert len(run_config(OWN, TEACHER, 0).load_data()) == classes * images
    large = fitted(IMAGENET, folder)
    assert (large.num_classes, large.judge, large.classifier_epochs) == (classes, "natural-classifier", 16)
    assert fitted(profile, folder) == profile and fitted(SMOKE) == SMOKE
    monkeypatch.setenv("PPCD_DATA", "folder-f0c8ff4af5e3")
    assert fitted(CIFAR10_LITE) == CIFAR10_LITE, "images that are not here leave the profile as it is"


@pytest.mark.parametrize(
    ("sizes", "changes", "expected"),
    [
        ((20, 20, 20), {"teacher_dim_z": 15}, "dim_z of biggan at 32 px must be a positive multiple of 4; got 15"),
        ((20, 20, 20), {"teacher_dim_z": 32}, "more than the student's 16"),
        ((20, 20, 20), {"batch_size": 64}, "a batch has 64 images, and {folder} only 60"),
        ((20, 20, 1), {}, "at least 12 images of each; {folder} has fewer of class 002 (1): add some"),
        ((20, 15), {}, "at least 16 images of each; {folder} has fewer of class 001 (15)"),
        ((20, 20, 20), {"images_per_class": 3}, "raise images_per_class"),
        ((20, 20, 20), {"images_per_class": 21}, "fewer of class 000 (20)"),
        ((20, 20, 20), {"num_classes": 3, "best_samples": 9}, "at least 18 samples of 3 classes; got 9: raise best_"),
    ],
)
def test_what_cannot_work_is_refused_by_dry_runs_too(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    sizes: tuple[int, ...], changes: dict[str, Any], expected: str,
) -> None:  # fmt: skip
    folder = make(*sizes)
    monkeypatch.setitem(PROFILES, "own", replace(OWN, **changes))
    for more in (["--dry-run"], []):
        assert train.main(["--profile", "own", *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith("ppcd: ") and said.count("\n") == 1 and expected.format(folder=folder) in said
    assert not paths.results("own").exists()


def test_images_that_cannot_be_read_do_not_count_and_leave_no_run_directory(make: Callable[..., Path]) -> None:
    folder = make(12, 12, 12)
    (folder / "class 001" / "3.png").write_text("damaged")
    config = run_config(OWN, TEACHER, 0)
    with refused("fewer of class 001 (11)"):
        train.train_run(config, callbacks=[])
    assert not config.directory.exists()


def test_three_classes_go_all_the_way(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training, its scores, real images, and the figures that name classes."""
    monkeypatch.setitem(PROFILES, "own", OWN)
    make(12, 12, 13)
    run = train.train_run(run_config("own", TEACHER, 0), callbacks=[])
    record = run.read()
    assert record["data"]["classes"] == ["class 000", "class 001", "class 002"]
    assert record["metrics"]["protocol"]["judge"] == "natural-classifier" and record["best"]["iteration"] == 4
    assert 0 <= record["metrics"]["ema"]["accuracy"] <= 1
    study = Study.of("own")
    assert [each["id"] for each in study.runs()] == [run.config.id]
    assert evaluate.main([str(run.directory)]) == 0 and "fd" in capsys.readouterr().out
    assert len(measure_generations(study, record)["generations"]) == 10
    assert ensure_real_images(study)["protocol"]["samples"] == 18
    drawn = {
        "fig3": figures.fig3, "fig5": figures.fig5, "fig6": interpolation.fig6, "fig7": interpolation.fig7,
        "fig8": failures.fig8, "headline": headline.figure,
    }  # fmt: skip
    for name, figure in drawn.items():
        text = " ".join(each.get_text() for each in figure(study).findobj(lambda each: hasattr(each, "get_text")))
        assert "class 00" in text and "airplane" not in text, name
