"""Residual blocks: PP-Res as figure 2 has it, and the discriminators' blocks."""

import copy

import pytest
import reference
import torch
from reference import largest_difference
from torch import Tensor, nn

from ppcd.networks.blocks import DiscriminatorBlock, GeneratorBlock
from ppcd.networks.layers import ClassConditionalBatchNorm, LayerMaker
from ppcd.networks.resampling import straightforward

CLASSES = 3


def make_norm(channels: int) -> ClassConditionalBatchNorm:
    return ClassConditionalBatchNorm(channels, *(nn.Embedding(CLASSES, channels) for _ in range(2)))


def generator_block(
    hidden: tuple[int, int] = (4, 4),
    masked: bool = False,
    transition: bool = False,
    spectral_norm: bool = False,
) -> GeneratorBlock:
    """A block from 3 to 4 channels, in float64, random and in evaluation mode."""
    block = GeneratorBlock(3, 4, hidden, LayerMaker(spectral_norm, 1e-8), make_norm, masked, transition)
    return reference.randomise(block.double(), seed=0).eval()


def block_input(batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 3, 4, 4, generator=generator, dtype=torch.float64)
    return x, torch.arange(batch) % CLASSES


def record(network: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> (input, output) of each direct child at its next call, in the order of the calls."""
    calls: dict[str, tuple[Tensor, Tensor]] = {}
    for name, child in network.named_children():
        child.register_forward_hook(
            lambda _, inputs, output, name=name: calls.update({name: (inputs[0].detach(), output.detach())})
        )
    return calls


# ------------------------------------------------------------ PP-Res


def test_order_of_a_pp_res_block() -> None:
    """CBN-ReLU-up-conv1-CBN-mask-ReLU-conv2-mask-transition, plus a 1x1 skip of the raw input."""
    block = generator_block(masked=True, transition=True)
    calls = record(block)
    x, y = block_input()
    with straightforward(block):
        output = block(x, y)
    assert list(calls) == ["bn1", "conv1", "bn2", "mask1", "conv2", "mask2", "transition", "conv_sc"]

    def given(name: str) -> Tensor:
        return calls[name][0]

    def made(name: str) -> Tensor:
        return calls[name][1]

    assert torch.equal(given("bn1"), x)
    assert torch.equal(given("conv1"), reference.up(made("bn1").clamp(min=0)))
    assert torch.equal(given("bn2"), made("conv1"))
    assert torch.equal(given("mask1"), made("bn2"))
    assert torch.equal(given("conv2"), made("mask1").clamp(min=0))
    assert torch.equal(given("mask2"), made("conv2"))
    assert torch.equal(given("transition"), made("mask2"))
    assert torch.equal(given("conv_sc"), reference.up(x))
    assert torch.equal(output, made("transition") + made("conv_sc"))
    assert output.shape == (2, 4, 8, 8)
    for name, kernel in (("conv1", 3), ("conv2", 3), ("transition", 1), ("conv_sc", 1)):
        assert getattr(block, name).kernel_size == (kernel, kernel)


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_masks_of_ones_change_nothing(spectral_norm: bool, training: bool) -> None:
    block = generator_block(masked=True, transition=True, spectral_norm=spectral_norm).train(training)
    without = copy.deepcopy(block)
    without.mask1 = without.mask2 = None
    x, y = block_input()
    half_open = block(x, y)
    block.load_state_dict({**block.state_dict(), **without.state_dict()})
    for mask in (block.mask1, block.mask2):
        mask.freeze(torch.ones(4, dtype=torch.bool))
    expected = without(x, y)
    assert torch.equal(block(x, y), expected)
    assert largest_difference(half_open, expected) > 1e-2


@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_a_pruned_channel_is_seen(training: bool) -> None:
    """Its filters, its CBN entries and the weights that read it may be anything."""
    block = generator_block(masked=True, transition=True).train(training)
    block.mask1.freeze(torch.tensor([True, False, True, False]))
    block.mask2.freeze(torch.tensor([False, False, True, True]))
    x, y = block_input()

    def changed(first: int, second: int) -> Tensor:
        other = copy.deepcopy(block)
        with torch.no_grad():
            other.conv1.weight[first] += 3
            other.conv1.bias[first] += 3
            other.bn2.gain.weight[:, first] += 3
            other.bn2.bias.weight[:, first] += 3
            other.bn2.running_mean[first] += 3
            other.bn2.running_var[first] *= 3
            other.conv2.weight[:, first] += 3
            other.conv2.weight[second] += 3
            other.conv2.bias[second] += 3
            other.transition.weight[:, second] += 3
        return other(x, y)

    expected = copy.deepcopy(block)(x, y)
    assert torch.equal(changed(1, 0), expected)
    assert torch.equal(changed(3, 1), expected)
    assert largest_difference(changed(1, 2), expected) > 0.1
    assert largest_difference(changed(2, 0), expected) > 0.1


@pytest.mark.parametrize("training", [False, True])
def test_a_zeroed_channel_equals_a_removed_one(training: bool) -> None:
    """Without spectral norm a smaller block with the kept entries only, put together by hand."""
    block = generator_block(masked=True, transition=True).train(training)
    one, two = torch.tensor([0, 2, 3]), torch.tensor([1])
    block.mask1.freeze(torch.tensor([True, False, True, True]))
    block.mask2.freeze(torch.tensor([False, True, False, False]))
    small = generator_block(hidden=(3, 1), transition=True).train(training)
    state = {name: value for name, value in block.state_dict().items() if "mask" not in name}
    for name in ("conv1.weight", "conv1.bias", "bn2.running_mean", "bn2.running_var"):
        state[name] = state[name][one]
    for name in ("bn2.gain.weight", "bn2.bias.weight"):
        state[name] = state[name][:, one]
    state["conv2.weight"], state["conv2.bias"] = state["conv2.weight"][two][:, one], state["conv2.bias"][two]
    state["transition.weight"] = state["transition.weight"][:, two]
    small.load_state_dict(state)
    x, y = block_input(3)
    expected = copy.deepcopy(block)(x, y)
    assert largest_difference(copy.deepcopy(small)(x, y), expected) < 1e-12
    with torch.no_grad():
        small.bn2.bias.weight.copy_(block.bn2.bias.weight[:, :3])  # another channel's entries
    assert largest_difference(small(x, y), expected) > 1e-2


def both_forms(block: GeneratorBlock | DiscriminatorBlock, *args: Tensor) -> tuple[dict[str, Tensor], ...]:
    """Output, gradients and the state afterwards, of the merged and of the straightforward form."""
    results = []
    for _ in range(2):
        network = copy.deepcopy(block)
        x = args[0].clone().requires_grad_()
        if results:
            with straightforward(network):
                output = network(x, *args[1:])
        else:
            output = network(x, *args[1:])
        (output * torch.linspace(-1, 2, output.numel(), dtype=torch.float64).view_as(output)).sum().backward()
        gradients = {f"gradient of {name}": p.grad for name, p in network.named_parameters()}
        state = {name: value for name, value in network.state_dict().items() if "mask" not in name}
        results.append({"output": output.detach(), "gradient of x": x.grad, **gradients, **state})
    return tuple(results)


def blocks_of_all_kinds() -> list[tuple[str, GeneratorBlock | DiscriminatorBlock]]:
    generators = [
        (f"generator {masked} {normalised}", generator_block((4, 4), masked, masked, normalised))
        for masked in (False, True)
        for normalised in (False, True)
    ]
    discriminators = [
        (f"discriminator {first} {downsample}", discriminator_block(first=first, downsample=downsample))
        for first in (False, True)
        for downsample in (False, True)
    ]
    return [*generators, *discriminators]


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("training", [False, True])
def test_the_merged_form_is_the_straightforward_one(index: int, training: bool) -> None:
    """The same output, gradients and changes of state; the spectral norm moves on once in both."""
    name, block = blocks_of_all_kinds()[index]
    x, y = block_input(3)
    merged, plain = both_forms(block.train(training), *((x, y) if name.startswith("generator") else (x,)))
    for key, value in plain.items():
        assert largest_difference(merged[key], value) < 1e-11 * max(1.0, value.abs().max().item()), key
    assert merged["gradient of conv1.weight"].abs().max() > 1e-3


# ------------------------------------------------------------ blocks of a discriminator


def discriminator_block(
    in_channels: int = 3,
    out_channels: int = 5,
    first: bool = False,
    downsample: bool = True,
    wide: bool = True,
) -> DiscriminatorBlock:
    make = LayerMaker(True, 1e-8)
    block = DiscriminatorBlock(in_channels, out_channels, make, first, downsample, wide)
    return reference.randomise(block.double(), seed=0).eval()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("downsample", [True, False])
def test_discriminator_block(first: bool, downsample: bool) -> None:
    block = discriminator_block(first=first, downsample=downsample)
    x, _ = block_input()
    given = x.clone()

    def conv(name: str, h: Tensor) -> Tensor:
        return reference.sn_conv(block.state_dict(), name, h, 1e-8)

    def pool(h: Tensor) -> Tensor:
        return reference.pool(h) if downsample else h

    def expected(pre_activation: bool) -> Tensor:
        branch = conv("conv1", x.clamp(min=0) if pre_activation else x)
        return pool(conv("conv2", branch.clamp(min=0))) + pool(conv("conv_sc", x))

    output = block(x)
    assert largest_difference(output, expected(pre_activation=not first)) < 1e-12
    with straightforward(block):
        assert largest_difference(output, block(x)) < 1e-12
    assert largest_difference(output, expected(pre_activation=first)) > 1e-2
    assert torch.equal(x, given)  # no ReLU in place: the skip sees the raw input


def test_the_skip_is_the_identity_where_channels_and_size_agree() -> None:
    block = discriminator_block(3, 3, downsample=False)
    x, _ = block_input()
    assert block.conv_sc is None
    assert torch.equal(block.skip(x), x)
    for other in (discriminator_block(3, 4, downsample=False), discriminator_block(3, 3, downsample=True)):
        assert other.conv_sc is not None
