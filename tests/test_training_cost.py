"""Optimisation steps at full size, and what is concluded from measured ones."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from reference import give_back_memory, refused

from paper import training_cost
from paper.training_cost import estimate, measure_steps
from ppcd.base import PpcdError
from ppcd.method.teacher import Teacher
from ppcd.runs.memory import peak_memory, reset_peak
from ppcd.training.profiles import Profile, get_profile


def point(batch: int, seconds: list[float], memory: int) -> dict[str, Any]:
    return {"batch": batch, "seconds": seconds, "memory": memory}


def test_an_estimate_worked_out_by_hand() -> None:
    """2 + 1 s an image and 800 + 100 bytes an image; 1,000 steps of 128 x 2 images."""
    profile = replace(get_profile("imagenet128"), iterations=1000)
    found = estimate(profile, [point(2, [9.0, 4.0, 3.9], 1000), point(4, [6.0], 1200)])
    line = {"seconds_base": 2, "seconds_per_image": 1, "memory_base": 800, "memory_per_image": 100}
    budget = {"iterations": 1000, "images_per_iteration": 256, "batch": 128, "memory": 800 + 100 * 128}
    follows = {"seconds_per_iteration": 258, "images_per_second": 256 / 258, "days": 1000 * 258 / 86400}
    assert found == pytest.approx(line | budget | follows)


def test_the_peak_is_that_of_the_steps() -> None:
    give_back_memory()
    reset_peak("cpu")
    before = peak_memory("cpu")
    block = torch.ones(40_000_000)  # 160 MB
    during = peak_memory("cpu")
    assert during - before > 100e6
    del block
    give_back_memory()
    reset_peak("cpu")
    assert peak_memory("cpu") < during - 100e6, "what was given back before does not count"


def test_every_batch_has_a_process() -> None:
    points = measure_steps(get_profile("smoke"), batches=(1, 2))
    assert [each["batch"] for each in points] == [1, 2] and all(each["memory"] > 50e6 for each in points)
    assert estimate(get_profile("smoke"), points)["days"] > 0


def test_a_batch_that_does_not_fit_ends_the_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line where fewer than two batches fit; else what was measured so far."""
    most = 4

    def process(threads: int, profile: Profile, batch: int, device: str, seed: int) -> dict[str, Any]:
        if batch > most:
            raise PpcdError("no memory")
        return point(batch, [1.0], 1)

    monkeypatch.setattr(training_cost, "_in_own_process", process)
    assert [each["batch"] for each in measure_steps(get_profile("smoke"))] == [2, 4]
    most = 2
    with refused("steps at batch 4 could not be measured on cpu: no memory"):
        measure_steps(get_profile("smoke"))


@pytest.mark.slow
def test_a_step_at_the_papers_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joint PPCD-GAN at 128 px and 1,000 classes, batch 2: what learns moves, what is frozen stays."""
    # Fewer samples behind the teacher's statistics of a class, and masks at the pace of a short training
    monkeypatch.setattr("ppcd.training.trainer.Teacher", partial(Teacher, samples_per_class=2))
    profile = replace(get_profile("imagenet128"), iterations=20)
    trainer = training_cost.step_trainer(profile, batch=2)
    assert trainer.teacher is not None and trainer.discriminator is not None
    networks = {"student": trainer.generator, "D": trainer.discriminator, "teacher": trainer.teacher.generator}
    before = {
        name: {key: value.detach().clone() for key, value in network.named_parameters()}
        for name, network in networks.items()
    }
    reset_peak("cpu")
    found = trainer.step()

    assert peak_memory("cpu") < 8e9
    assert all(bool(torch.isfinite(loss)) for loss in found.values()) and float(found["loss_cd"]) > 0
    moved = {
        name: {key for key, value in network.named_parameters() if not torch.equal(value, before[name][key])}
        for name, network in networks.items()
    }
    masks = {f"{name}.weight" for name in trainer.generator.masks()}
    assert len(masks) == 10 and not masks & moved["student"]  # the schedule lets no channel go in the first step
    assert all(bool(square.gt(0).any()) for square in trainer.rule.squares.values())
    assert {"linear.weight", "blocks.0.conv1.weight", "blocks.4.transition.weight", "output_conv.weight"} <= (
        moved["student"]
    )
    assert {"blocks.0.conv1.weight", "linear.weight", "embed.weight"} <= moved["D"]
    assert moved["teacher"] == set()
    assert trainer.guide is not None and trainer.guide.blocks == [f"blocks.{index}" for index in range(1, 5)]
    assert next(trainer.sampler)[0].shape == (2, 3, 128, 128)
