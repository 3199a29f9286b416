"""Frozen channels leave the computation while the training goes on: the same training, with fewer operations."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import together
import torch
import torch.nn.functional as F
from reference import largest_difference, noise_and_labels
from torch import Tensor

from ppcd.method.slim import slim
from ppcd.networks.generators import build_generator
from ppcd.training.recipes import get_recipe
from ppcd.training.trainer import Trainer


def training_of(fast: bool | None, iterations: int = 20) -> tuple[list[dict[str, float]], Trainer]:
    """A training in double precision, with frozen channels computed and multiplied by 0, or left out."""
    profile = replace(together.PROFILE, fast=fast, iterations=iterations)
    teacher = build_generator("biggan", 32, 10, 2, dim_z=16, seed=5)
    trainer = together.make_trainer(profile, get_recipe("ppcd"), 0, together.images(), teacher)
    return [{name: float(loss) for name, loss in trainer.step().items()} for _ in range(iterations)], trainer


@pytest.fixture(scope="module")
def both_trainings() -> Iterator[list[tuple[list[dict[str, float]], Trainer]]]:
    torch.set_default_dtype(torch.float64)
    try:
        yield [training_of(fast) for fast in (None, True)]
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_training_without_the_frozen_channels_is_the_masked_training(
    both_trainings: list[tuple[list[dict[str, float]], Trainer]],
) -> None:
    """Losses, weights (pruned ones too: they belong to the spectral norm), optimisers, average; in float64.

    Nothing looks at the batch statistics of channels that are gone, and theirs stand still.
    """
    (expected, masked), (found, shrunk) = both_trainings
    frozen = [layer["frozen_at"] for layer in masked.report_masks()]
    assert frozen == [layer["frozen_at"] for layer in shrunk.report_masks()] and max(frozen) < 15
    for step, other in zip(expected, found, strict=True):
        assert step.keys() == other.keys() and all(abs(step[name] - other[name]) < 1e-10 for name in step)
    states = [dict(together.leaves(trainer.state_dict())) for trainer in (masked, shrunk)]
    assert states[0].keys() == states[1].keys()
    kept = {
        f".{network}.blocks.{index}.bn2.{name}": block.mask1.kept
        for network in ("generator", "averages.ema.generator")
        for index, block in enumerate(masked.generator.residual_blocks())
        for name in ("running_mean", "running_var")
    }
    for name, value in states[0].items():
        other = states[1][name]
        if name in kept:
            value, other = value[kept[name]], other[kept[name]]
        if value.numel() and not name.endswith("fused"):
            scale = 1 + float(value.double().abs().max())
            assert largest_difference(value.double(), other.double()) < 1e-8 * scale, name


def test_the_frozen_channels_are_not_computed(both_trainings: list[tuple[list[dict[str, float]], Trainer]]) -> None:
    """Convolutions of a step see the kept channels only; before a mask froze, all."""
    shrunk = both_trainings[1][1]
    block = shrunk.generator.residual_blocks()[0]
    seen: list[tuple[int, int]] = []

    def listen(x: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        seen.append((weight.shape[0], weight.shape[1]))
        return conv2d(x, weight, *rest, **options)

    conv2d = F.conv2d
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "conv2d", listen)
        block(torch.randn(2, block.conv1.in_channels, 4, 4), torch.zeros(2, dtype=torch.int64))
    kept1, kept2 = (int(mask.kept.sum()) for mask in (block.mask1, block.mask2))
    assert kept1 < block.mask1.channels
    assert (kept2, kept1) in seen and (block.conv_sc.out_channels, kept2) in seen


def test_a_slim_network_of_a_shrunk_one_makes_the_same_images(
    both_trainings: list[tuple[list[dict[str, float]], Trainer]],
) -> None:
    generator = copy.deepcopy(both_trainings[1][1].ema.generator).eval()
    z, y = noise_and_labels(4, 16, 10, seed=0, dtype=torch.float64)
    with torch.no_grad():
        shrunk, thin = generator(z, y), slim(generator)(z, y)
        for block in generator.residual_blocks():
            block.shrink = False
        assert largest_difference(generator(z, y), shrunk) < 1e-10
        assert largest_difference(thin, shrunk) < 1e-10
