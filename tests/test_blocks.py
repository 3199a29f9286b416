"""PP-Res blocks: what masks of ones and of zeros do.

What whole networks of blocks compute is compared with the reference in tests/test_generators.py and
tests/test_biggan_pytorch.py.
"""

import copy

import pytest
import reference
import torch
from reference import largest_difference
from torch import Tensor, nn

from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.layers import ClassConditionalBatchNorm, LayerMaker

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
