"""Convolutions next to a change of size: one convolution, and the same function.

Whole networks are compared with the reference in tests/test_biggan_pytorch.py, trainings in tests/test_compute.py.
"""

import pytest
import reference
import torch
import torch.nn.functional as F
from reference import largest_difference, randomise
from torch import Tensor, nn

from ppcd.networks.generators import build_generator
from ppcd.networks.layers import LayerMaker
from ppcd.networks.resampling import Resampling, part_of, straightforward

FORMS = {"straightforward": (False, False), "merged": (True, False), "boxed": (True, True)}  # merged, boxed
ODD = [(1, 1, 1, 1, 1), (2, 1, 3, 3, 5), (3, 5, 2, 4, 1), (1, 4, 4, 7, 7), (2, 3, 1, 1, 6)]  # B, C_in, C_out, H, W


def conv(in_channels: int, out_channels: int, kernel: int, normalised: bool, bias: bool = True) -> nn.Conv2d:
    layer = LayerMaker(normalised, 1e-8).conv(in_channels, out_channels, kernel, bias).double()
    return randomise(layer, in_channels + out_channels)  # type: ignore[return-value]


def picture(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operation", ["upsample_conv", "upsample_skip", "conv_pool"])
def test_each_operation(operation: str, form: str, normalised: bool, shape: tuple[int, ...]) -> None:
    batch, in_channels, out_channels, height, width = shape
    block, pools = Resampling(), operation == "conv_pool"
    block.merged, block.boxed = FORMS[form]
    x = picture(batch, in_channels, 2 * height, 2 * width) if pools else picture(batch, in_channels, height, width)
    for bias in (False, True):
        layer = conv(in_channels, out_channels, 1 if operation == "upsample_skip" else 3, normalised, bias).eval()
        weight = part_of(layer)[0].detach()
        wrong = weight.flip(2, 3) if operation == "upsample_conv" else 4 * weight  # turned round; sums for means
        expected, other = (
            reference.pool(convolved(x, each, layer.bias)) if pools else convolved(reference.up(x), each, layer.bias)
            for each in (weight, wrong)
        )
        assert largest_difference(getattr(block, operation)(layer, x), expected) < 1e-12
        assert largest_difference(other, expected) > 1e-3


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


def test_the_context_restores_each_block_as_it_was() -> None:
    network = build_generator("sagan", 32, 3, width=1, dim_z=4)
    blocks = [module for module in network.modules() if isinstance(module, Resampling)]
    blocks[1].merged = False
    with pytest.raises(KeyError), straightforward(network):
        assert not any(block.merged for block in blocks)
        raise KeyError
    assert [block.merged for block in blocks] == [True, False, True]
