"""Channel masks: eqs. 1-3 against loops over the paper's formulas, and what freezing promises."""

import copy
import io
import math

import pytest
import reference
import torch
from reference import refused

from ppcd.method.masks import ChannelMask


def random_mask(channels: int, seed: int, delta: float = 1e3) -> ChannelMask:
    """A mask of float64 with w around the crossing of the pivot, both sides of it."""
    mask = ChannelMask(channels, delta).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        mask.weight.copy_(0.01 * torch.randn(channels, generator=generator, dtype=torch.float64) - 0.004)
    return mask


def pruned_mask(channels: int, pruned: int) -> ChannelMask:
    """A mask with `pruned` channels far below the pivot and the others open."""
    mask = ChannelMask(channels)
    with torch.no_grad():
        mask.weight[:pruned] = -1
    return mask


# ------------------------------------------------------------ equation 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delta", [1e3, 10.0])
def test_values_are_eq_1(seed: int, delta: float) -> None:
    mask = random_mask(9, seed, delta=delta)
    expected = [reference.mask_value(w, delta) for w in mask.weight.tolist()]
    assert mask.values().tolist() == pytest.approx(expected, abs=1e-12)
    wrong_sign = [reference.mask_value(-w, delta) for w in mask.weight.tolist()]
    assert max(abs(a - b) for a, b in zip(mask.values().tolist(), wrong_sign, strict=True)) > 1e-2
    wrong_delta = [reference.mask_value(w, delta / 2) for w in mask.weight.tolist()]
    assert max(abs(a - b) for a, b in zip(mask.values().tolist(), wrong_delta, strict=True)) > 1e-3


def test_values_at_the_ends_are_finite() -> None:
    mask = ChannelMask(4)
    with torch.no_grad():
        mask.weight.copy_(torch.tensor([-1e6, -1.0, 1.0, 1e6]))
    values = mask.values()
    assert values.tolist() == [0.0, 0.0, 1.0, 1.0]
    values.sum().backward()
    assert torch.isfinite(mask.weight.grad).all()


def test_a_fresh_mask_is_open() -> None:
    mask = ChannelMask(5)
    assert mask.values().min() > 0.9999
    assert mask.pruned_ratio() == 0
    assert not mask.frozen
    assert (mask.delta, mask.pivot) == (1e3, 5e-3)


# ------------------------------------------------------------ equation 2


@pytest.mark.parametrize("seed", range(3))
def test_sparsity_is_eq_2(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = ChannelMask(11).double()
    with torch.no_grad():
        mask.weight.copy_(2 * torch.randn(11, generator=generator, dtype=torch.float64))
    w = mask.weight.tolist()
    assert min(w) < -1 < max(w)
    assert mask.sparsity().shape == ()
    assert mask.sparsity().item() == pytest.approx(reference.l1_to_minus_one(w), abs=1e-12)
    for wrong in (sum(abs(v) for v in w), sum(v + 1 for v in w), sum((v + 1) ** 2 for v in w)):
        assert abs(mask.sparsity().item() - wrong) > 1e-2


# ------------------------------------------------------------ equation 3


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
        mask = pruned_mask(channels, pruned)
        alpha = pruned / channels
        assert mask.pruned_ratio() == alpha
        assert not mask.binarize(alpha), f"{pruned} of {channels} is not more than {alpha}"
        assert not mask.frozen
        assert mask.binarize(math.nextafter(alpha, 0))


def test_the_last_channel_stays() -> None:
    mask = ChannelMask(4)
    with torch.no_grad():
        mask.weight.copy_(torch.tensor([-0.9, -0.2, -0.1, -1.0]))  # all far below the pivot
    assert mask.pruned_ratio() == 1.0
    assert mask.binarize(0.7)
    assert mask.values().tolist() == [0.0, 0.0, 1.0, 0.0]  # the one with the largest w
    assert mask.rescued == 1


def test_freeze_takes_the_channels_it_is_given() -> None:
    mask = ChannelMask(4)
    kept = torch.tensor([True, False, False, True])
    mask.freeze(kept)
    kept[:] = True  # the caller's tensor is not the mask's
    assert mask.frozen
    assert mask.values().tolist() == [1.0, 0.0, 0.0, 1.0]
    assert mask.pruned_ratio() == 0.5
    assert mask.rescued == 0


# ------------------------------------------------------------ forward


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("batch", [2, 5])
def test_forward_multiplies_channels(frozen: bool, batch: int) -> None:
    """Channels, also where the batch has as many images as the mask has channels."""
    mask = random_mask(5, seed=2)
    if frozen:
        mask.freeze(torch.tensor([True, False, True, True, False]))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 5, 3, 4, generator=generator, dtype=torch.float64)
    y, m = mask(x), mask.values().tolist()
    for b in range(batch):
        for c in range(5):
            for r in range(3):
                for s in range(4):
                    assert y[b, c, r, s].item() == pytest.approx(m[c] * x[b, c, r, s].item(), abs=1e-14)


def test_a_pruned_channel_is_exactly_zero() -> None:
    x = 1e30 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = pruned_mask(3, 2)
    mask.binarize(0.5)
    assert mask(x)[:, :2].count_nonzero() == 0
    assert torch.equal(mask(x)[:, 2], x[:, 2])


# ------------------------------------------------------------ frozen for good


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
    mask = ChannelMask(4)
    with torch.no_grad():
        mask.weight.copy_(torch.tensor([-0.9, -0.2, -0.1, -1.0]))
    mask.binarize(0.7)
    return mask


def check_same(mask: ChannelMask) -> None:
    original = frozen_mask()
    assert mask.frozen
    assert mask.rescued == 1
    assert torch.equal(mask.values(), original.values())
    assert torch.equal(mask.weight, original.weight)
    assert not mask.weight.requires_grad
    assert not mask.binarize(0.5)


def test_the_frozen_state_survives_a_checkpoint_file_and_deepcopy() -> None:
    file = io.BytesIO()
    torch.save(frozen_mask().state_dict(), file)
    file.seek(0)
    fresh = ChannelMask(4)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    check_same(fresh)
    original = frozen_mask()
    copied = copy.deepcopy(original)
    with torch.no_grad():
        original.kept.fill_(True)
    check_same(copied)


def test_an_open_state_opens_a_frozen_mask() -> None:
    mask = frozen_mask()
    mask.load_state_dict(ChannelMask(4).state_dict())
    assert not mask.frozen
    assert mask.weight.requires_grad
    assert mask.rescued == 0
    assert torch.equal(mask.values(), ChannelMask(4).values())


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize("alpha", [0.0, 1.0, 70.0, math.nan])
def test_an_impossible_alpha_is_refused(alpha: float) -> None:
    mask = pruned_mask(3, 2)
    with refused("alpha", "(0, 1)", str(alpha)):
        mask.binarize(alpha)
    assert not mask.frozen


def test_what_cannot_be_is_refused() -> None:
    with refused("at least one channel", "0"):
        ChannelMask(0)
    for options in ({"delta": 0.0}, {"pivot": 0.0}, {"pivot": 1.0}):
        with refused("delta > 0", "pivot in (0, 1)"):
            ChannelMask(3, **options)
    with refused("3 channels", "[4]"):
        ChannelMask(3).freeze(torch.ones(4, dtype=torch.bool))
    with refused("frozen for good"):
        frozen_mask().freeze(torch.ones(4, dtype=torch.bool))
