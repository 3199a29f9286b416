"""Channel masks: eqs. 1-3 against loops over the paper's formulas, and what freezing promises."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import reference
import torch
from reference import refused

from ppcd.method.masks import ChannelMask


def mask_of(*weights: float) -> ChannelMask:
    mask = ChannelMask(len(weights))
    with torch.no_grad():
        mask.weight.copy_(torch.tensor(weights))
    return mask


def random_mask(channels: int, seed: int, delta: float = 1e3) -> ChannelMask:
    """A mask of float64 with w around the crossing of the pivot, both sides of it."""
    mask = ChannelMask(channels, delta).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        mask.weight.copy_(0.01 * torch.randn(channels, generator=generator, dtype=torch.float64) - 0.004)
    return mask


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delta", [1e3, 10.0])
def test_values_are_eq_1(seed: int, delta: float) -> None:
    mask = random_mask(9, seed, delta=delta)
    expected = [reference.mask_value(w, delta) for w in mask.weight.tolist()]
    assert mask.values().tolist() == pytest.approx(expected, abs=1e-12)
    wrong_delta = [reference.mask_value(w, delta / 2) for w in mask.weight.tolist()]
    assert max(abs(a - b) for a, b in zip(mask.values().tolist(), wrong_delta, strict=True)) > 1e-3


def test_values_at_the_ends_are_finite() -> None:
    mask = mask_of(-1e6, -1.0, 1.0, 1e6)
    values = mask.values()
    assert values.tolist() == [0.0, 0.0, 1.0, 1.0]
    values.sum().backward()
    assert torch.isfinite(mask.weight.grad).all()


def test_a_fresh_mask_is_open() -> None:
    mask = ChannelMask(5)
    assert mask.values().min() > 0.9999
    assert mask.pruned_ratio() == 0 and not mask.frozen
    assert (mask.delta, mask.pivot) == (1e3, 5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_sparsity_is_eq_2(seed: int) -> None:
    mask = mask_of(*(2 * torch.randn(11, generator=torch.Generator().manual_seed(seed))).tolist()).double()
    w = mask.weight.tolist()
    assert min(w) < -1 < max(w)
    assert mask.sparsity().shape == ()
    assert mask.sparsity().item() == pytest.approx(reference.l1_to_minus_one(w), abs=1e-12)


def test_a_value_at_the_pivot_counts_as_pruned() -> None:
    mask = ChannelMask(4, pivot=0.5, start=0.0)  # m = 0.5 exactly
    assert mask.pruned_ratio() == 1.0
    with torch.no_grad():
        mask.weight[0] = 1
    assert mask.binarize(0.5)
    assert mask.values().tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.6])
def test_binarize_is_eq_3(seed: int, alpha: float) -> None:
    mask = random_mask(10, seed)
    m = mask.values().tolist()
    expected = reference.binarized(m, alpha, mask.pivot)
    assert mask.binarize(alpha) == (reference.ratio(m, mask.pivot) > alpha)
    assert mask.values().tolist() == pytest.approx(expected, abs=1e-15)
    assert mask.frozen == (expected != m)


@pytest.mark.parametrize("channels", [2, 3, 7, 40])
def test_the_ratio_must_be_greater_than_alpha(channels: int) -> None:
    for pruned in range(1, channels):
        mask = mask_of(*[-1.0] * pruned, *[1.0] * (channels - pruned))
        alpha = pruned / channels
        assert mask.pruned_ratio() == alpha
        assert not mask.binarize(alpha) and not mask.frozen, f"{pruned} of {channels} is not more than {alpha}"
        assert mask.binarize(math.nextafter(alpha, 0))


def test_the_last_channel_stays() -> None:
    mask = mask_of(-0.9, -0.2, -0.1, -1.0)  # all far below the pivot
    assert mask.pruned_ratio() == 1.0
    assert mask.binarize(0.7)
    assert mask.values().tolist() == [0.0, 0.0, 1.0, 0.0]  # the one with the largest w
    assert mask.rescued == 1


def test_freeze_takes_the_channels_it_is_given() -> None:
    mask = ChannelMask(4)
    kept = torch.tensor([True, False, False, True])
    mask.freeze(kept)
    kept[:] = True  # the caller's tensor is not the mask's
    assert mask.frozen and mask.rescued == 0
    assert mask.values().tolist() == [1.0, 0.0, 0.0, 1.0]
    assert mask.pruned_ratio() == 0.5


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("batch", [2, 5])
def test_forward_multiplies_channels(frozen: bool, batch: int) -> None:
    """Channels, also where the batch has as many images as the mask has channels; closed ones are exactly zero."""
    mask = random_mask(5, seed=2)
    if frozen:
        mask.freeze(torch.tensor([True, False, True, True, False]))
    x = torch.randn(batch, 5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = mask(x)
    for channel, m in enumerate(mask.values().tolist()):
        torch.testing.assert_close(y[:, channel], m * x[:, channel], rtol=0, atol=1e-14)
    if frozen:
        assert mask(1e30 * x)[:, [1, 4]].count_nonzero() == 0


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_frozen_mask_is_not_updated(momentum: float) -> None:
    """Also with momentum, whose memory of the steps before would go on moving w."""
    mask = random_mask(6, seed=0)
    optimizer = torch.optim.SGD(mask.parameters(), lr=1e-3, momentum=momentum)
    x = torch.ones(1, 6, 2, 2, dtype=torch.float64)

    def step() -> None:
        optimizer.zero_grad()
        loss = mask(x).sum() + mask.sparsity()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()

    before = mask.weight.detach().clone()
    step()
    assert not torch.equal(mask.weight, before)
    mask.freeze(mask.values() > mask.pivot)
    before, values = mask.weight.detach().clone(), mask.values()
    assert not values.requires_grad
    for _ in range(3):
        step()
    assert torch.equal(mask.weight, before)
    assert torch.equal(mask.values(), values)


def frozen_mask() -> ChannelMask:
    mask = mask_of(-0.9, -0.2, -0.1, -1.0)
    mask.binarize(0.7)
    return mask


def test_the_frozen_state_survives_a_checkpoint_file_and_deepcopy() -> None:
    original, file = frozen_mask(), io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    loaded, copied = ChannelMask(4), copy.deepcopy(original)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        original.kept.fill_(True)
    for mask in (loaded, copied):
        assert mask.frozen and mask.rescued == 1 and not mask.weight.requires_grad
        assert torch.equal(mask.values(), frozen_mask().values()) and torch.equal(mask.weight, original.weight)
        assert not mask.binarize(0.5)
    loaded.load_state_dict(ChannelMask(4).state_dict())  # of an earlier checkpoint
    assert not loaded.frozen and loaded.weight.requires_grad
    assert torch.equal(loaded.values(), ChannelMask(4).values())


@pytest.mark.parametrize(
    ("use", "said"),
    [
        *((lambda alpha=alpha: ChannelMask(3).binarize(alpha), ["alpha", "(0, 1)"]) for alpha in (0, 1, 70, math.nan)),
        (lambda: ChannelMask(0), ["at least one channel", "0"]),
        (lambda: ChannelMask(3, delta=0.0), ["delta > 0", "pivot in (0, 1)"]),
        (lambda: ChannelMask(3, pivot=1.0), ["delta > 0", "pivot in (0, 1)"]),
        (lambda: ChannelMask(3).freeze(torch.ones(4, dtype=torch.bool)), ["3 channels", "[4]"]),
        (lambda: frozen_mask().freeze(torch.ones(4, dtype=torch.bool)), ["frozen for good"]),
    ],
)
def test_what_cannot_be_is_refused(use: Callable[[], Any], said: list[str]) -> None:
    with refused(*said):
        use()
