"""Projection discriminators: the reference networks of BigGAN and SA-GAN."""

import copy

import pytest
import reference
import torch
from reference import largest_difference, parameters
from torch import Tensor

import ppcd.networks.discriminators
from ppcd.method import losses
from ppcd.networks.discriminators import Discriminator, build_discriminator
from ppcd.networks.layers import SpectralNorm

RESOLUTIONS = [32, 64, 128]
ARCHS = ["biggan", "sagan"]
CLASSES = 3


def tiny(arch: str = "sagan", resolution: int = 32, width: int = 2, seed: int = 0) -> Discriminator:
    """A random discriminator in float64 and evaluation mode."""
    return reference.randomise(build_discriminator(arch, resolution, CLASSES, width).double(), seed).eval()


def images_and_labels(resolution: int, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = 2 * torch.rand(batch, 3, resolution, resolution, generator=generator, dtype=torch.float64) - 1
    return images, torch.arange(batch) % CLASSES


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_discriminator_computes_what_the_reference_describes(arch: str, resolution: int) -> None:
    discriminator = tiny(arch, resolution)
    images, y = images_and_labels(resolution)
    with torch.no_grad():
        scores = discriminator(images, y)
        state = discriminator.state_dict()
        expected = reference.discriminator(state, arch, resolution, images, y)
    assert scores.shape == (2,)
    scale = expected.abs().max().item()
    assert largest_difference(scores, expected) < 1e-10 * scale
    other = {name: value for name, value in state.items() if name != "blocks.2.conv2.u"}
    weight, u = state["blocks.2.conv2.weight"], state["blocks.2.conv2.u"]
    _, u_next, _ = reference.spectral_norm(weight, u, reference.EPS[arch])
    other["blocks.2.conv2.u"] = torch.tensor([u_next], dtype=torch.float64)
    wrong = reference.discriminator(other, arch, resolution, images, y)
    assert largest_difference(scores, wrong) > 1e-4 * scale  # one more power iteration in a single layer


@pytest.mark.parametrize(("arch", "expected"), [("biggan", 87_982_370), ("sagan", 39_448_258)])
def test_parameters_at_paper_scale(monkeypatch: pytest.MonkeyPatch, arch: str, expected: int) -> None:
    monkeypatch.setattr(ppcd.networks.discriminators, "initialise", lambda *_: None)
    with torch.device("meta"):
        discriminator = build_discriminator(arch, 128, 1000)
    assert parameters(discriminator) == expected


def test_every_parameter_gets_a_gradient() -> None:
    discriminator = tiny("biggan", 128).train()
    images, y = images_and_labels(128, batch=3)
    before = copy.deepcopy(discriminator.state_dict())
    scores = discriminator(images, y)
    losses.discriminator_minimax(scores[:1] / 100, scores[1:] / 100).backward()
    without = [n for n, p in discriminator.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []
    changed = [n for n, value in discriminator.state_dict().items() if not torch.equal(value, before[n])]
    assert {name.rsplit(".", 1)[-1] for name in changed} == {"u"}


@pytest.mark.parametrize("arch", ARCHS)
def test_initial_weights_depend_on_the_seed_only(arch: str) -> None:
    torch.manual_seed(1)
    first = build_discriminator(arch, 32, CLASSES, 1, seed=3).state_dict()
    before = torch.random.get_rng_state()
    second = build_discriminator(arch, 32, CLASSES, 1, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = build_discriminator(arch, 32, CLASSES, 1, seed=4).state_dict()
    assert not any(torch.equal(value, other[name]) for name, value in first.items() if name.endswith("weight"))


def test_initial_values() -> None:
    for layer in build_discriminator("biggan", 32, CLASSES, 2).modules():
        if isinstance(layer, SpectralNorm):
            singular = torch.linalg.svdvals(layer.weight.detach().flatten(1))
            assert largest_difference(singular, torch.ones_like(singular)) < 1e-4  # orthogonal
    for layer in build_discriminator("sagan", 32, CLASSES, 2).modules():
        if isinstance(layer, SpectralNorm):
            bound = (6 / (layer.weight[0, 0].numel() * sum(layer.weight.shape[:2]))) ** 0.5
            assert 0.7 * bound < layer.weight.abs().max() <= bound  # xavier uniform
