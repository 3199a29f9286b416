"""3x3 convolutions with half of their products: the same function and the same gradients, where they pay."""

import pytest
import torch
import torch.nn.functional as F
from reference import largest_difference
from torch import Tensor, nn

from ppcd.networks import winograd
from ppcd.networks.blocks import DiscriminatorBlock
from ppcd.networks.layers import LayerMaker
from ppcd.networks.resampling import Resampling

SHAPES = [(1, 1, 1, 4, 1), (2, 3, 5, 8, 5), (3, 5, 2, 12, 7), (5, 2, 3, 4, 4)]  # B, C_in, C_out, H, W


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def case(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weight and bias."""
    batch, into, out, height, width = shape
    found = (numbers(batch, into, height, width), numbers(out, into, 3, 3, seed=1), numbers(out, seed=2))
    return tuple(each.to(dtype).requires_grad_() for each in found)  # type: ignore[return-value]


def test_the_matrices_filter_any_six_numbers_by_any_three_taps() -> None:
    pixels, taps = numbers(6), numbers(3, seed=1)
    found = winograd.A @ ((winograd.G @ taps) * (winograd.B @ pixels))
    expected = torch.stack([(pixels[i : i + 3] * taps).sum() for i in range(4)])
    assert largest_difference(found, expected) < 1e-13


@pytest.mark.parametrize("portion", [1, 2**13])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_convolution(shape: tuple[int, ...], portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without bias, in either layout, an image at a time and all at once; and so are its gradients."""
    monkeypatch.setattr(winograd, "PORTION", portion)
    x, weight, bias = case(shape)
    for layout in (torch.contiguous_format, torch.channels_last):
        for added in (bias, None):
            images = x.detach().contiguous(memory_format=layout).requires_grad_()
            taps = [each for each in (images, weight, added) if each is not None]
            found, expected = winograd.convolve(images, weight, added), F.conv2d(images, weight, added, padding=1)
            assert largest_difference(found, expected) < 1e-12
            assert found.is_contiguous(memory_format=torch.channels_last)
            gradient = numbers(*expected.shape, seed=3)
            for mine, theirs in zip(
                torch.autograd.grad(found, taps, gradient), torch.autograd.grad(expected, taps, gradient), strict=True
            ):
                assert mine.shape == theirs.shape and largest_difference(mine, theirs) < 1e-11


def test_its_gradient_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(winograd.convolve, case((2, 2, 3, 4, 3)))


def test_only_wanted_gradients_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the discriminator's weights in the generator's step."""
    x, weight, bias = case((2, 3, 4, 4, 4))
    monkeypatch.setattr(winograd, "_gradient_of_weight", lambda *_: pytest.fail("nobody asked for it"))
    (found,) = torch.autograd.grad(winograd.convolve(x, weight.detach(), bias.detach()).square().sum(), x)
    (expected,) = torch.autograd.grad(F.conv2d(x, weight, bias, padding=1).square().sum(), x)
    assert largest_difference(found, expected) < 1e-10


def test_single_precision_loses_few_digits() -> None:
    exact = case((2, 128, 128, 32, 32))
    x, weight, bias = (each.detach().float() for each in exact)
    expected = F.conv2d(*exact, padding=1)
    found = winograd.convolve(x, weight, bias)
    assert found.dtype == torch.float32
    assert largest_difference(found, expected) < 2e-5 * expected.abs().max().item()


@pytest.mark.parametrize(
    ("x", "weight", "expected"),
    [
        ((1, 128, 32, 32), (128, 128, 3, 3), True),
        ((1, 256, 16, 16), (256, 256, 3, 3), True),
        ((1, 128, 16, 16), (128, 128, 3, 3), False),  # as fast as torch's
        ((1, 64, 64, 64), (64, 64, 3, 3), False),
        ((1, 3, 32, 32), (128, 3, 3, 3), False),
        ((1, 128, 32, 32), (3, 128, 3, 3), False),
        ((1, 128, 34, 34), (128, 128, 3, 3), False),  # four does not divide the height
        ((1, 128, 32, 32), (128, 128, 1, 1), False),
    ],
)
def test_where_it_pays(x: tuple[int, ...], weight: tuple[int, ...], expected: bool) -> None:
    images, taps = torch.empty(x), torch.empty(weight)
    assert winograd.pays(images, taps) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not winograd.pays(images, taps)
    assert not winograd.pays(torch.empty(x, device="meta"), taps)


def test_blocks_take_it_where_it_pays_and_where_they_are_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.Size] = []
    real = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda x, *rest: taken.append(x.shape) or real(x, *rest))
    block = DiscriminatorBlock(128, 128, LayerMaker(True, 1e-8), first=False, downsample=False, wide=True).eval()
    x = numbers(1, 128, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        expected = block(x)
        assert not taken and not Resampling.filtered
        block.filtered = True
        found = block(x)
        assert taken == [x.shape] * 2
        assert largest_difference(found, expected) < 1e-4 * expected.abs().max().item()
        block(x[:, :, :16])
    assert len(taken) == 2


def test_channels_that_are_left_out_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few channels are kept, so the plain convolution computes them."""
    monkeypatch.setattr(winograd, "convolve", lambda *_: pytest.fail("not with some channels only"))
    layer, block, kept = nn.Conv2d(128, 128, 3, padding=1), Resampling(), torch.arange(5)
    block.filtered = True
    x = numbers(1, 5, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        found = block.same_conv(layer, x, kept, kept)
        expected = F.conv2d(x, layer.weight[:5, :5], layer.bias[:5], padding=1)
    assert largest_difference(found, expected) < 1e-5
