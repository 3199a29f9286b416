"""Projection discriminators: the reference networks of BigGAN and SA-GAN."""

import copy

import pytest
import reference
import torch
from reference import largest_difference, parameters, refused
from torch import Tensor, nn

import ppcd.networks.discriminators
from ppcd.method import losses
from ppcd.networks.discriminators import Discriminator, build_discriminator
from ppcd.networks.layers import SelfAttention, SNConv2d, SNEmbedding, SNLinear, SpectralNorm

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


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_blocks(resolution: int) -> None:
    """Widths, which blocks halve the size; the last one does not, and its skip is the identity."""
    discriminator = tiny("sagan", resolution)
    channels = [3, *(2 * multiple for multiple in reference.D_CHANNELS[resolution])]
    h, _ = images_and_labels(resolution)
    for index, block in enumerate(discriminator.blocks):
        before, h = h, block(h)
        assert (before.shape[1], h.shape[1]) == (channels[index], channels[index + 1])
        assert block.first == (index == 0)
        halved = index < reference.D_POOLS[resolution]
        assert h.shape[2] == before.shape[2] // (2 if halved else 1)
        assert block.conv1.weight.shape[0] == channels[index + 1]  # wide
    last = discriminator.blocks[-1]
    assert not last.downsample
    assert (last.conv_sc is None) == (channels[-2] == channels[-1]) == (resolution != 64)
    if last.conv_sc is None:
        assert torch.equal(last.skip(before), before)


def test_score_is_linear_plus_projection() -> None:
    """linear(h) + <embed(y), h>, of the ReLU'd and sum-pooled h, all under spectral norm."""
    discriminator = tiny("sagan", 32)
    images, y = images_and_labels(32, batch=3)
    h = images
    for block in discriminator.blocks:
        h = block(h)
    h = h.detach()
    pooled = torch.zeros(3, 8, dtype=torch.float64)
    for b in range(3):
        for c in range(8):
            pooled[b, c] = sum(max(0.0, value) for value in h[b, c].flatten().tolist())
    linear, embed = discriminator.linear, discriminator.embed
    sigma_linear, _, _ = reference.spectral_norm(linear.weight, linear.u, 1e-8)
    sigma_embed, _, _ = reference.spectral_norm(embed.weight, embed.u, 1e-8)
    scores = discriminator(images, y)
    for b in range(3):
        unconditional = (linear.weight[0] / sigma_linear * pooled[b]).sum() + linear.bias[0]
        projection = (embed.weight[y[b]] / sigma_embed * pooled[b]).sum()
        assert scores[b].item() == pytest.approx((unconditional + projection).item(), rel=1e-10)
        assert abs(projection.item() / scores[b].item()) > 1e-2  # it would be missed
    other = discriminator(images, (y + 1) % CLASSES)
    assert largest_difference(other, scores) > 1e-2


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("resolution", "block"), [(32, None), (64, None), (128, 0)])
def test_attention_stands_behind_the_block_of_64_pixels(arch: str, resolution: int, block: int | None) -> None:
    """A discriminator of 64 pixels has no such block: its first gives 32."""
    discriminator = tiny(arch, resolution)
    names = [name for name, module in discriminator.named_modules() if isinstance(module, SelfAttention)]
    assert names == ([] if block is None else ["attention"])
    assert discriminator.attention_after == block
    if block is not None:
        given: list[Tensor] = []
        discriminator.attention.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
        discriminator(*images_and_labels(resolution, batch=1))
        assert [tuple(h.shape[2:]) for h in given] == [(64, 64)]


@pytest.mark.parametrize("arch", ARCHS)
def test_everything_is_under_spectral_norm(arch: str) -> None:
    discriminator = tiny(arch, 128)
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert all(isinstance(layer, SNConv2d | SNLinear | SNEmbedding) for layer in layers)
    assert {layer.eps for layer in layers} == {reference.EPS[arch]}
    with_weights = {id(p) for layer in layers for p in layer.parameters()}
    left = [name for name, p in discriminator.named_parameters() if id(p) not in with_weights]
    assert left == ["attention.gamma"]


@pytest.mark.parametrize("arch", ARCHS)
def test_scores_do_not_depend_on_the_batch(arch: str) -> None:
    discriminator = tiny(arch, 32)
    images, y = images_and_labels(32, batch=4)
    whole = discriminator(images, y)
    parts = torch.cat([discriminator(images[i : i + 1], y[i : i + 1]) for i in range(4)])
    assert largest_difference(whole, parts) < 1e-10 * whole.abs().max().item()


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


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 3, 32, 16), (2, 3, 16, 16)])
def test_images_of_another_resolution_are_refused(shape: tuple[int, ...]) -> None:
    discriminator = build_discriminator("sagan", 32, CLASSES, 1)
    with refused("[batch, 3, 32, 32]", str(list(shape))):
        discriminator(torch.zeros(shape), torch.zeros(2, dtype=torch.int64))


def test_one_label_for_several_images_is_refused() -> None:
    discriminator = build_discriminator("sagan", 32, CLASSES, 1)
    # Without the check of types in the tests, which would come first.
    unchecked = getattr(Discriminator.forward, "__wrapped__", Discriminator.forward)
    with refused("y [batch]", "[2, 3, 32, 32]", "[1]"):
        unchecked(discriminator, torch.zeros(2, 3, 32, 32), torch.tensor([1]))


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="widht"):
        build_discriminator("sagan", 32, 3, widht=4)
