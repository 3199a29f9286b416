"""The gradual rule: one channel after another, on its schedule, those that the training needs least first."""

import copy
import io
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ppcd.method.earlier_rules import RULES, MaskRule
from ppcd.method.masks import ChannelMask, channels_to_prune
from ppcd.method.schedule import GradualRule, GradualSchedule

Loss = Callable[[dict[str, ChannelMask], int], Tensor]  # of the masks and the iteration
WIDTHS = (1, 2, 3, 16, 24, 200)
ALPHAS = (0.5, 0.6, 0.7, 0.8)


def mask_layers(widths: tuple[int, ...] = WIDTHS) -> dict[str, ChannelMask]:
    return {f"layer{index}": ChannelMask(width) for index, width in enumerate(widths)}


def noise(masks: dict[str, ChannelMask], iteration: int, scales: dict[str, Tensor] | None = None) -> Tensor:
    """A loss whose gradient for m_i is noise of mean zero, as near a stationary point, of these standard deviations."""
    generator = torch.Generator().manual_seed(iteration)
    terms = []
    for name, mask in masks.items():
        drawn = torch.randn(mask.channels, generator=generator)
        terms.append((drawn * (1 if scales is None else scales[name]) * mask.values()).sum())
    return torch.stack(terms).sum()


def go_on(rule: GradualRule | MaskRule, first: int, last: int, loss: Loss = noise) -> list[dict]:
    """Iterations first to last - 1 as the trainer does them; the closed channels of each layer after each of them."""
    course = []
    for iteration in range(first, last):
        value = loss(rule.masks, iteration)
        if value.requires_grad:
            value.backward()
        rule.backward()
        rule.step(iteration)
        course.append({name: int((mask.values() <= mask.pivot).sum()) for name, mask in rule.masks.items()})
    return course


def faults(course: list[dict], masks: dict[str, ChannelMask], alpha: float) -> list[str]:
    """What the bars of the rule ask for and the course does not have."""
    total, found = len(course), []
    window = max(1, total // 100)
    for name, mask in masks.items():
        goal, counts = channels_to_prune(mask.channels, alpha), [0] + [row[name] for row in course]
        most = max(1, round(0.02 * mask.channels))
        steps = [after - before for before, after in zip(counts, counts[window:], strict=False)]
        if max(steps) > most:
            found.append(f"{name}: {max(steps)} of {mask.channels} channels in 1% of the training")
        asked = [GradualSchedule().closed(goal, done / total) for done in range(total + 1)]
        if max(abs(count - wanted) for count, wanted in zip(counts, asked, strict=True)) > 1:
            found.append(f"{name}: not within one channel of the schedule")
        if counts[-1] != goal or not mask.frozen or counts[2 * total // 3] != goal:
            found.append(f"{name}: {counts[-1]} of {goal} channels closed, frozen {mask.frozen}")
        if sorted(counts) != counts:
            found.append(f"{name}: a channel opened again")
    return found


@pytest.mark.parametrize("alpha", [0.5, 0.7])
@pytest.mark.parametrize("total", [1000, 4000])
def test_channels_close_one_by_one_on_schedule(alpha: float, total: int) -> None:
    rule = GradualRule(mask_layers(), alpha, total)
    assert faults(go_on(rule, 0, total), rule.masks, alpha) == []
    assert set(rule.forced.values()) == {0} and not any(mask.rescued for mask in rule.masks.values())


def test_the_bars_are_missed_by_the_rule_of_the_committed_runs() -> None:
    """Its channels cross together, so the check above can fail."""
    rule = MaskRule(mask_layers((24,)), "scheduled", 0.7, 0.01, 1000)
    assert any("in 1% of the training" in fault for fault in faults(go_on(rule, 0, 1000), rule.masks, 0.7))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("total", [1, 2, 24, 80, 1000])
def test_every_layer_freezes_by_two_thirds_with_the_channels_that_alpha_leaves(total: int, alpha: float) -> None:
    rule = GradualRule(mask_layers(), alpha, total)
    go_on(rule, 0, max(1, total))
    for name, mask in rule.masks.items():
        assert mask.frozen and rule.frozen_at[name] <= max(1, -(-2 * total // 3))
        assert set(mask.values().tolist()) <= {0.0, 1.0}
        assert int(mask.kept.sum()) == mask.channels - channels_to_prune(mask.channels, alpha) >= 1
        assert sorted(rule.closed_at[name]) == (~mask.kept).nonzero().squeeze(1).tolist()


def test_the_channels_with_the_smallest_gradients_go_first() -> None:
    """Their order of closing is that of the gradients' size, though the mean of every gradient is zero."""
    scales = {"layer0": torch.logspace(-1, 1, 24)[torch.randperm(24, generator=torch.Generator().manual_seed(0))]}
    rule = GradualRule(mask_layers((24,)), 0.7, 4000)
    go_on(rule, 0, 4000, partial(noise, scales=scales))
    order = list(rule.closed_at["layer0"])
    expected = scales["layer0"].argsort()[: len(order)].tolist()
    assert set(order) == set(expected)
    assert max(abs(order.index(channel) - place) for place, channel in enumerate(expected)) <= 3


def test_lambda_lies_between_the_last_channel_that_went_and_the_next() -> None:
    scales = {"layer0": torch.tensor([1.0, 100.0, 10.0, 1000.0])}
    rule = GradualRule(mask_layers((4,)), 0.5, 100)
    go_on(rule, 0, 100, partial(noise, scales=scales))
    assert next(iter(rule.closed_at["layer0"])) == 0 and set(rule.closed_at["layer0"]) == {0, 1, 2}
    assert 100 < rule.lambdas["layer0"] / len(rule.masks) < 1000


def test_a_channel_closes_gradually_and_the_others_stay_open() -> None:
    rule = GradualRule(mask_layers((4,)), 0.2, 1000)
    seen = []
    for iteration in range(1000):
        go_on(rule, iteration, iteration + 1)
        seen.append(rule.masks["layer0"].values().detach().sort().values.tolist())
    lowest = [row[0] for row in seen]
    assert lowest == sorted(lowest, reverse=True)
    assert sum(0.01 < value < 0.99 for value in lowest) >= 10  # iterations between open and closed
    assert all(row[1] > 0.9999 for row in seen)


def rule_of(name: str) -> GradualRule | MaskRule:
    masks = mask_layers((1, 2, 3, 8, 32))
    return GradualRule(masks, 0.6, 80) if name == "gradual" else MaskRule(masks, name, 0.6, 0.01, 80)


@pytest.mark.parametrize("name", ["gradual", *RULES])
@pytest.mark.parametrize("stop", [1, 30, 45, 70])
def test_resuming_equals_not_stopping(name: str, stop: int) -> None:
    """Of every rule: before the first layer froze, while some are frozen, and after the last."""
    straight, resumed = rule_of(name), rule_of(name)
    go_on(straight, 0, stop)
    buffer = io.BytesIO()
    torch.save([straight.state_dict(), *(mask.state_dict() for mask in straight.masks.values())], buffer)
    go_on(straight, stop, 80)
    buffer.seek(0)
    state, *masks = torch.load(buffer, weights_only=True)
    for mask, kept in zip(resumed.masks.values(), masks, strict=True):
        mask.load_state_dict(kept)
    resumed.load_state_dict(state)
    go_on(resumed, stop, 80)
    for part in ("lambdas", "frozen_at", "forced", "spared", "closed_at"):
        assert getattr(resumed, part, None) == getattr(straight, part, None), part
    for mine, theirs in zip(resumed.masks.values(), straight.masks.values(), strict=True):
        assert torch.equal(mine.weight, theirs.weight) and torch.equal(mine.kept, theirs.kept)
        assert (mine.frozen, mine.rescued) == (theirs.frozen, theirs.rescued)


def test_the_gradients_of_the_losses_do_not_move_w_themselves() -> None:
    """They choose; how fast a channel closes is the schedule's, so no batch can throw one out or lock one in."""
    rule = GradualRule(mask_layers((8,)), 0.5, 1000)
    before = copy.deepcopy(rule.masks["layer0"].weight.detach())
    (1e9 * rule.masks["layer0"].values().sum()).backward()
    rule.backward()
    rule.step(0)
    assert torch.equal(rule.masks["layer0"].weight, before) and rule.masks["layer0"].weight.grad is None
