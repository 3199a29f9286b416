"""Slimming: the same images with pruned channels gone, at all resolutions, in both forms."""

import copy

import pytest
import reference
import torch
from reference import largest_difference, noise_and_labels, parameters, refused
from torch import Tensor, nn

from ppcd.method.slim import slim
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.layers import SpectralNorm

RESOLUTIONS = [32, 64, 128]
ARCHS = ["biggan", "sagan"]
DIM_Z = {"biggan": 60, "sagan": 7, "sagan-hier": 16}
CLASSES = 3
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def freeze(generator: Generator, seed: int) -> list[tuple[int, int]]:
    """A single channel stays in two layers, about half in the others. How many, by block."""
    random, kept = torch.Generator().manual_seed(seed), list[int]()
    for index, mask in enumerate(generator.masks().values()):
        kept.append(1 if index in (1, 2) else (mask.channels + 1) // 2)
        mask.freeze(torch.randperm(mask.channels, generator=random) < kept[-1])
    return list(zip(kept[::2], kept[1::2], strict=True))


def masked(
    arch: str = "sagan", resolution: int = 32, seed: int = 0, dtype: torch.dtype = torch.float64, width: int = 1
) -> tuple[Generator, list[tuple[int, int]]]:
    """A random masked generator with frozen masks, and the numbers of channels they keep."""
    generator = build_generator(arch, resolution, CLASSES, width, masked=True, dim_z=DIM_Z[arch])
    reference.randomise(generator.to(dtype), seed).eval()
    return generator, freeze(generator, seed)


def inputs(generator: Generator, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    return noise_and_labels(batch, generator.dim_z, CLASSES, seed, generator.linear.weight.dtype)


@torch.no_grad()
def difference(a: Generator, b: Generator) -> float:
    """Of images and of every feature, at the same noise and labels."""
    z, y = inputs(a)
    images_a, features_a = a(z, y, return_features=True)
    images_b, features_b = b(z, y, return_features=True)
    assert images_a.std(dim=(2, 3)).min() > 1e-3  # not dead
    of_features = [
        largest_difference(o_a, o_b) / o_a.abs().max().item() for o_a, o_b in zip(features_a, features_b, strict=True)
    ]
    return max(largest_difference(images_a, images_b), *of_features)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("for_training", [False, True])
def test_a_slim_generator_computes_the_same_images_without_the_pruned_channels(
    resolution: int, arch: str, dtype: torch.dtype, for_training: bool
) -> None:
    generator, kept = masked(arch, resolution, 1, dtype, width=2 if resolution == 128 else 1)
    result = slim(generator, for_training=for_training)
    assert difference(generator, result) < TOLERANCE[dtype]
    assert result.config.hidden == tuple(kept)
    for block, (one, two) in zip(result.blocks, kept, strict=True):
        assert block.conv1.weight.shape[0] == block.conv2.weight.shape[1] == one
        assert block.conv2.weight.shape[0] == block.transition.weight.shape[1] == two
        assert block.bn2.running_mean.shape == (one,)
    assert parameters(result) < parameters(generator)
    assert not result.training and not any("mask" in name for name in result.state_dict())
    assert {tensor.dtype for tensor in result.parameters()} == {dtype}


@pytest.mark.parametrize("arch", [*ARCHS, "sagan-hier"])
def test_after_a_few_steps_of_training(arch: str) -> None:
    """Statistics and vectors of the spectral norm as training leaves them."""
    generator = build_generator(arch, 32, CLASSES, 2, masked=True, dim_z=DIM_Z[arch]).train()
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
    for seed in range(3):
        optimizer.zero_grad()
        generator(*inputs(generator, batch=6, seed=seed)).square().mean().backward()
        optimizer.step()
    freeze(generator, seed=0)
    generator.eval()
    assert difference(generator, slim(generator)) < 1e-4
    assert difference(generator.double(), slim(generator)) < 1e-10


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("for_training", [False, True])
def test_a_plain_generator_stays_what_it_is(arch: str, for_training: bool) -> None:
    generator = build_generator(arch, 64, CLASSES, 1, dim_z=DIM_Z[arch]).double()
    reference.randomise(generator, 1).eval()
    result = slim(generator, for_training=for_training)
    assert difference(generator, result) < 1e-10
    assert parameters(result) == parameters(generator)
    assert result.config.hidden is None and not result.config.transition


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_slimming_twice(first: bool, second: bool) -> None:
    """Two-step PPCD-GAN*: slim for training, and slim again when training is over."""
    generator, kept = masked(seed=1)
    result = slim(slim(generator, for_training=first), for_training=second)
    assert difference(generator, result) < 1e-10
    assert result.config.hidden == tuple(kept)
    assert result.config.spectral_norm == (first and second)  # once worked in, it does not come back


@pytest.mark.parametrize("arch", ARCHS)
def test_sigma_must_be_worked_out_before_channels_go(arch: str) -> None:
    generator, _ = masked(arch, seed=1)
    result = slim(generator, for_training=True)
    changed = 0
    for name, layer in result.named_modules():
        if isinstance(layer, SpectralNorm) and name.rsplit(".", 1)[-1] in ("conv1", "conv2", "transition"):
            changed += abs(layer.scale.item() - 1) > 1e-2
            layer.scale.fill_(1.0)  # W / sigma(W) of what is left
    assert changed > 3
    assert difference(generator, result) > 1e-2


@pytest.mark.parametrize("for_training", [False, True])
def test_slimming_does_not_change_its_input(for_training: bool) -> None:
    generator, _ = masked()
    before = copy.deepcopy(generator.train().state_dict())
    with torch.no_grad():
        for tensor in slim(generator, for_training=for_training).state_dict().values():
            tensor.zero_()  # would show in the input if the two shared memory
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert generator.training and all(mask.frozen for mask in generator.masks().values())


@pytest.mark.parametrize("arch", ARCHS)
def test_training_goes_on_under_spectral_norm(arch: str) -> None:
    generator, _ = masked(arch, seed=1)
    result = slim(generator, for_training=True)
    layers = {name: m for name, m in result.named_modules() if isinstance(m, SpectralNorm)}
    assert {name for name, m in result.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)} == set(layers)
    with torch.no_grad():
        for layer in layers.values():
            largest = torch.linalg.svdvals(layer.normalized_weight().flatten(1))[0].item()
            assert largest == pytest.approx(layer.scale.item(), rel=1e-9)
            layer.weight.mul_(10)  # under spectral norm only the direction of a weight counts
    assert difference(generator, result) < 1e-10

    z, y = inputs(result, batch=6)
    target = torch.linspace(-1, 1, 32, dtype=torch.float64).expand(6, 3, 32, 32)
    optimizer = torch.optim.Adam(result.train().parameters(), lr=1e-2)
    scales = {name: layer.scale.item() for name, layer in layers.items()}
    course = []
    for _ in range(15):
        optimizer.zero_grad()
        course.append((result(z, y) - target).square().mean())
        course[-1].backward()
        optimizer.step()
    assert course[-1] < 0.9 * course[0]
    assert {name: layer.scale.item() for name, layer in layers.items()} == scales


def test_a_mask_that_has_not_frozen_is_refused() -> None:
    generator = build_generator("sagan", 32, CLASSES, 1, masked=True)
    for name, mask in generator.masks().items():
        if name != "blocks.1.mask2":
            mask.freeze(torch.ones(4, dtype=torch.bool))
    with refused("blocks.1.mask2", "not frozen"):
        slim(generator)
    generator.blocks[1].mask2.freeze(torch.ones(4, dtype=torch.bool))
    slim(generator)
