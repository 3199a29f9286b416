"""Convolutions next to a change of size: one convolution, and the same function."""

import contextlib
import copy
import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from reference import largest_difference, noise_and_labels, randomise, refused
from torch import Tensor, nn

from ppcd.method.slim import slim
from ppcd.metrics.complexity import complexity
from ppcd.networks.blocks import DiscriminatorBlock
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.networks.layers import LayerMaker, SNConv2d
from ppcd.networks.resampling import Resampling, box, box_sum, straightforward, weight_of

FORMS = {"straightforward": (False, False), "merged": (True, False), "boxed": (True, True)}  # merged, boxed
ODD = [(1, 1, 1, 1, 1), (2, 1, 3, 3, 5), (3, 5, 2, 4, 1), (1, 4, 4, 7, 7), (2, 3, 1, 1, 6)]  # B, C_in, C_out, H, W


def conv(in_channels: int, out_channels: int, kernel: int, normalised: bool, bias: bool = True) -> nn.Conv2d:
    layer = LayerMaker(normalised, 1e-8).conv(in_channels, out_channels, kernel, bias).double()
    return randomise(layer, in_channels + out_channels)  # type: ignore[return-value]


def picture(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def padded(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1))


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv3x3 with 'same' padding (or 1x1), one output pixel at a time."""
    reach = weight.shape[-1]
    wide = padded(x) if reach == 3 else x
    output = torch.empty(x.shape[0], weight.shape[0], *x.shape[2:], dtype=x.dtype)
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            patch = wide[:, None, :, row : row + reach, column : column + reach]
            output[:, :, row, column] = (patch * weight[None]).sum(dim=(2, 3, 4))
    return output if bias is None else output + bias[:, None, None]


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halved(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def effective(layer: nn.Conv2d) -> Tensor:
    with torch.no_grad():
        return weight_of(copy.deepcopy(layer))


# ------------------------------------------------------------ each operation against loops


def test_box_sum_is_a_convolution_with_a_box_of_ones() -> None:
    weight = picture(2, 3, 3, 3)
    expected = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            for down in range(2):
                for right in range(2):
                    expected[:, :, row + down, column + right] += weight[:, :, row, column]
    assert largest_difference(box_sum(weight), expected) < 1e-14


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_upsampling_then_convolving(form: str, normalised: bool, shape: tuple[int, ...]) -> None:
    batch, in_channels, out_channels, height, width = shape
    x, block = picture(batch, in_channels, height, width), Resampling()
    block.merged, block.boxed = FORMS[form]
    for bias in (False, True):
        layer = conv(in_channels, out_channels, 3, normalised, bias).eval()
        expected = convolved(doubled(x), effective(layer), layer.bias)
        assert largest_difference(block.upsample_conv(layer, x), expected) < 1e-12
        turned = convolved(doubled(x), effective(layer).flip(2, 3), layer.bias)
        assert largest_difference(turned, expected) > 1e-3  # the broken case: the kernel the other way round


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_convolving_then_pooling(form: str, normalised: bool, shape: tuple[int, ...]) -> None:
    """Even sizes, which is what pooling takes."""
    batch, in_channels, out_channels, height, width = shape
    x, block = picture(batch, in_channels, 2 * height, 2 * width), Resampling()
    block.merged, block.boxed = FORMS[form]
    for bias in (False, True):
        layer = conv(in_channels, out_channels, 3, normalised, bias).eval()
        expected = halved(convolved(x, effective(layer), layer.bias))
        assert largest_difference(block.conv_pool(layer, x), expected) < 1e-12
        summed = halved(convolved(x, 4 * effective(layer), layer.bias))
        assert largest_difference(summed, expected) > 1e-3  # the broken case: sums where means are asked for


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("merged", [False, True])
def test_the_skip_commutes_with_upsampling(merged: bool, normalised: bool, shape: tuple[int, ...]) -> None:
    batch, in_channels, out_channels, height, width = shape
    x, block = picture(batch, in_channels, height, width), Resampling()
    block.merged = merged
    layer = conv(in_channels, out_channels, 1, normalised).eval()
    expected = convolved(doubled(x), effective(layer), layer.bias)
    assert largest_difference(block.upsample_skip(layer, x), expected) < 1e-12


@pytest.mark.parametrize("operation", ["upsample_conv", "conv_pool", "upsample_skip"])
@pytest.mark.parametrize("normalised", [False, True])
def test_gradients_are_those_of_the_straightforward_form(operation: str, normalised: bool) -> None:
    """Of input, weight and bias, in training mode, where the spectral norm depends on the weight."""
    results = []
    for form in FORMS.values():
        block = Resampling()
        block.merged, block.boxed = form
        layer = conv(3, 4, 1 if operation == "upsample_skip" else 3, normalised).train()
        x = picture(2, 3, 4, 6).requires_grad_()
        output = getattr(block, operation)(layer, x)
        (output * picture(*output.shape)).sum().backward()
        results.append((x.grad, layer.weight.grad, layer.bias.grad, layer.state_dict().get("u", torch.zeros(1))))
    expected, *others = results
    for found in others:
        for mine, theirs in zip(found, expected, strict=True):
            assert largest_difference(mine, theirs) < 1e-12 * max(1.0, theirs.abs().max().item())
    assert expected[1].abs().max() > 1e-2


def test_the_power_iteration_moves_once_in_training_and_not_at_evaluation() -> None:
    layer, x, block = conv(3, 4, 3, True), picture(1, 3, 4, 4), Resampling()
    assert isinstance(layer, SNConv2d)
    once = copy.deepcopy(layer).train()
    once.normalized_weight()
    for operation, boxed in itertools.product((block.upsample_conv, block.conv_pool), (False, True)):
        block.boxed = boxed
        network, before = copy.deepcopy(layer), layer.u.clone()
        operation(network.eval(), x)
        assert torch.equal(network.u, before)
        operation(network.train(), x)
        assert torch.equal(network.u, once.u) and not torch.equal(network.u, before)


# ------------------------------------------------------------ whole networks


def generators() -> Iterator[tuple[str, Generator]]:
    for arch, resolution, dim_z in (("sagan", 32, 3), ("biggan", 32, 8), ("biggan", 64, 5)):
        for masked in (False, True):
            network = build_generator(arch, resolution, 3, width=1, masked=masked, dim_z=dim_z).double()
            yield f"{arch} {resolution} masked={masked}", randomise(network, 1)  # type: ignore[misc]
    config = GeneratorConfig("sagan", 32, 3, 1, 3, transition=True, hidden=((1, 1), (1, 4), (3, 1)))
    yield "one channel left", randomise(Generator(config).double(), 2)  # type: ignore[misc]
    yield "slim", slim(randomise(Generator(config).double(), 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [pytest.param(network, id=name) for name, network in generators()])
def test_generators_of_all_kinds_make_the_same_images(network: Generator) -> None:
    z, y = noise_and_labels(2, network.dim_z, 3, seed=4, dtype=torch.float64)
    for training in (False, True):
        one, other = copy.deepcopy(network).train(training), copy.deepcopy(network).train(training)
        images, features = one(z, y, return_features=True)
        with straightforward(other):
            expected, others = other(z, y, return_features=True)
        assert largest_difference(images, expected) < 1e-12
        for mine, theirs in zip(features, others, strict=True):
            assert largest_difference(mine, theirs) < 1e-12 * max(1.0, theirs.abs().max().item())
        states = one.state_dict(), other.state_dict()
        for key, value in states[0].items():
            if isinstance(value, Tensor) and value.is_floating_point():
                assert largest_difference(value, states[1][key]) < 1e-12 * max(1.0, value.abs().max().item()), key


@pytest.mark.parametrize(("arch", "resolution"), [("sagan", 32), ("biggan", 64), ("sagan", 128)])
def test_discriminators_give_the_same_scores_and_gradients(arch: str, resolution: int) -> None:
    network = randomise(build_discriminator(arch, resolution, 3, width=1).double(), 3)
    images, y = picture(2, 3, resolution, resolution), torch.tensor([0, 2])
    results = []
    for context in (contextlib.nullcontext(), straightforward(network)):
        network.zero_grad()
        x = images.clone().requires_grad_()
        with context:
            scores = network.eval()(x, y)
        scores.sum().backward()
        results.append([scores.detach(), x.grad, *(p.grad for p in network.parameters())])
    for mine, theirs in zip(*results, strict=True):
        assert largest_difference(mine, theirs) < 1e-12 * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("downsample", [False, True])
def test_discriminator_blocks_of_every_kind(wide: bool, first: bool, downsample: bool) -> None:
    for normalised in (False, True):
        make = LayerMaker(normalised, 1e-8)
        block = DiscriminatorBlock(3, 5, make, first, downsample, wide).double().eval()
        randomise(block, 5)
        x = picture(2, 3, 6, 2)
        with straightforward(block):
            expected = block(x)
        assert expected.shape == ((2, 5, 3, 1) if downsample else (2, 5, 6, 2))
        assert largest_difference(block(x), expected) < 1e-12


# ------------------------------------------------------------ the context


def test_the_context_restores_each_block_as_it_was() -> None:
    network = build_generator("sagan", 32, 3, width=1, dim_z=4)
    blocks = [module for module in network.modules() if isinstance(module, Resampling)]
    assert [block.merged for block in blocks] == [True] * 3
    blocks[1].merged = False
    with straightforward(network):
        assert not any(block.merged for block in blocks)
        with straightforward(network):
            pass
        assert not any(block.merged for block in blocks)
    assert [block.merged for block in blocks] == [True, False, True]
    with pytest.raises(KeyError), straightforward(network):
        raise KeyError
    assert [block.merged for block in blocks] == [True, False, True]


# ------------------------------------------------------------ what is counted


@pytest.fixture(scope="module", params=[("sagan", 64, 128, 42.0e6, 9.6e9), ("biggan", 96, 120, 70.4e6, 21.3e9)])
def published(request: pytest.FixtureRequest) -> tuple[Generator, float, float]:
    """A generator at paper scale and its published parameters and MACs. Its weights are all the same."""
    arch, width, dim_z, params, macs = request.param
    with torch.device("meta"):
        network = Generator(GeneratorConfig(arch, 128, 1000, width, dim_z))
    network.to_empty(device="cpu")
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data.fill_(0.01)
    return network, params, macs


def test_the_published_complexity_is_met(published: tuple[Generator, float, float]) -> None:
    network, params, macs = published
    found = complexity(network)
    assert found.params == pytest.approx(params, rel=0.01)
    assert found.macs == pytest.approx(macs, rel=0.01)
    assert all(block.merged for block in network.modules() if isinstance(block, Resampling))


def test_the_merged_form_is_never_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken case: a count of the merged form, which would be too low, is refused."""
    network = build_generator("sagan", 32, 3, width=1, dim_z=4)
    assert complexity(network).macs > 0
    monkeypatch.setattr("ppcd.metrics.complexity.straightforward", contextlib.nullcontext)
    with refused("cannot count"):
        complexity(network)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_box_is_a_pooling_that_keeps_nothing(padding: int) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        ours = box(x, padding, 4)
    assert not kept
    theirs = F.avg_pool2d(x, 2, 1, padding)
    assert torch.equal(ours, theirs)
    assert torch.autograd.gradcheck(lambda given: box(given, padding), x)
    assert torch.autograd.gradgradcheck(lambda given: box(given, padding), x)
