"""The rule of the masks: when they close, which channels go, and the paper's literal settings."""

import pytest
import torch
from reference import l1_to_minus_one, refused
from test_schedule import ALPHAS, Loss, go_on, mask_layers, noise
from torch import Tensor

from ppcd.method.earlier_rules import RULES, MaskRule
from ppcd.method.masks import ChannelMask, channels_to_prune

WIDTHS = (1, 2, 3, 8, 32)
LAMBDA = 0.01  # the paper's


def trained(
    loss: Loss, alpha: float, total: int, rule: str = "scheduled", widths: tuple[int, ...] = WIDTHS
) -> MaskRule:
    result = MaskRule(mask_layers(widths), rule, alpha, LAMBDA, total)
    go_on(result, 0, total, loss)
    return result


# What a training can say of the channels. Gradients reach w through m (eq. 1) or directly.


def nothing(masks: dict[str, ChannelMask], iteration: int) -> Tensor:
    return 0 * noise(masks, iteration)


def hold(masks: dict[str, ChannelMask], iteration: int) -> Tensor:
    """Every channel is wanted, as strongly as can be."""
    return torch.stack([-1e6 * mask.weight.sum() for mask in masks.values()]).sum()


def needs(needed: dict[str, Tensor], strength: float) -> Loss:
    """A loss that falls with the needed channels and is noise in the others."""

    def loss(masks: dict[str, ChannelMask], iteration: int) -> Tensor:
        terms = [strength * (1 - mask.values()[needed[name]]).sum() for name, mask in masks.items()]
        return torch.stack(terms).sum() + 0.3 * strength * noise(masks, iteration)

    return loss


def needed_channels(widths: tuple[int, ...], alpha: float, seed: int) -> dict[str, Tensor]:
    """In each layer as many channels as may stay, chosen by chance."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer{index}": torch.randperm(width, generator=generator)[: width - channels_to_prune(width, alpha)]
        for index, width in enumerate(widths)
    }


# ------------------------------------------------------------ how many channels have to go


@pytest.mark.parametrize("alpha", [0.1, 1 / 3, 0.3, *ALPHAS, 0.9, 0.99])
def test_channels_to_prune_is_the_fewest_at_which_a_mask_freezes(alpha: float) -> None:
    """Also where c / n equals alpha exactly: 3 of 5 at .6, 8 of 10 at .8, 5 of 10 at .5."""

    def freezes(channels: int, pruned: int) -> bool:
        mask = ChannelMask(channels)
        mask.weight.data[:pruned] = -1.0
        return mask.binarize(alpha)

    for channels in range(2, 41):
        count = channels_to_prune(channels, alpha)
        assert 1 <= count < channels
        assert not freezes(channels, count - 1)
        assert freezes(channels, count) or count == channels - 1  # all but one is the most there can be
    assert channels_to_prune(1, alpha) == 0


# ------------------------------------------------------------ every layer freezes in time


def faults(rule: MaskRule) -> list[str]:
    """What is wrong with the layers of a rule at the end of its training."""
    found = []
    for name, mask in rule.masks.items():
        pruned = mask.channels - int(mask.kept.sum())
        frozen_at = rule.frozen_at.get(name)
        if not mask.frozen or frozen_at is None:
            found.append(f"{name} is open")
            continue
        if frozen_at > rule.total * 2 / 3:
            found.append(f"{name} froze at {frozen_at} of {rule.total}")
        if pruned != channels_to_prune(mask.channels, rule.alpha):
            found.append(f"{name} lost {pruned} of {mask.channels} channels")
        if pruned == mask.channels:
            found.append(f"{name} has no channel left")
        if not set(mask.values().tolist()) <= {0.0, 1.0}:
            found.append(f"{name} is not binary")
        if not 0 <= rule.forced[name] <= pruned or not 0 <= rule.spared[name] <= mask.channels - pruned:
            found.append(f"{name}: {rule.forced[name]} forced, {rule.spared[name]} spared")
    return found


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("total", [24, 80])
@pytest.mark.parametrize("loss", [nothing, noise, hold])
def test_every_layer_freezes_by_two_thirds(loss: Loss, total: int, alpha: float) -> None:
    """One-channel and two-channel layers too, whatever the training says of the channels.

    And all layers of a width keep the same number of channels, also where many cross in one iteration.
    """
    assert faults(trained(loss, alpha, total)) == []


def test_without_the_rule_layers_would_stay_open() -> None:
    """The broken case: the paper's settings by SGD, against a loss that holds the channels."""
    assert "layer4 is open" in faults(trained(hold, 0.5, 24, "paper-sgd"))


@pytest.mark.parametrize(("crossed", "forced", "spared"), [(0, 9, 0), (4, 5, 0), (14, 0, 5)])
def test_as_many_channels_go_as_alpha_asks_for(crossed: int, forced: int, spared: int) -> None:
    """However many crossed by themselves: those with the largest w stay, and the difference is counted."""
    rule = MaskRule(mask_layers((16,)), "scheduled", 0.5, LAMBDA, 1000)
    mask = rule.masks["layer0"]
    mask.weight.data = torch.linspace(1.0, 2.0, 16)
    mask.weight.data[:crossed] -= 3.0
    rule.step(498)
    assert mask.frozen == (crossed > 9)
    rule.step(499)  # the deadline
    assert mask.frozen and mask.kept.tolist() == [index >= 9 for index in range(16)]  # 9 of 16 is above 0.5
    assert (rule.forced, rule.spared) == ({"layer0": forced}, {"layer0": spared})


# ------------------------------------------------------------ which channels stay


def survivors(rule: MaskRule, needed: dict[str, Tensor]) -> float:
    """The part of the needed channels that stayed."""
    kept = sum(int(mask.kept[needed[name]].sum()) for name, mask in rule.masks.items())
    return kept / sum(len(channels) for channels in needed.values())


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("strength", [0.02, 1.0, 50.0])
def test_the_channels_that_the_training_needs_stay(strength: float, alpha: float) -> None:
    """Chance would keep 20 to 50% of them."""
    widths = (8, 16, 32)
    needed = needed_channels(widths, alpha, seed=int(10 * alpha))
    rule = trained(needs(needed, strength), alpha, 150, widths=widths)
    assert faults(rule) == []
    assert survivors(rule, needed) > 0.9


def test_a_rule_that_does_not_listen_keeps_the_wrong_channels() -> None:
    """The broken case: by Adam at 0.1 every channel goes in the first steps, needed or not."""
    widths, alpha = (8, 16, 32), 0.5
    needed = needed_channels(widths, alpha, seed=0)
    assert survivors(trained(needs(needed, 0.02), alpha, 150, "paper-adam", widths), needed) < 0.6


# ------------------------------------------------------------ lambda of each layer


@pytest.mark.parametrize("rule_name", RULES)
def test_the_loss_is_eq_5_and_its_gradient_has_the_layers_lambdas(rule_name: str) -> None:
    rule = MaskRule(mask_layers((2, 5)), rule_name, 0.7, LAMBDA, 100)
    weights = {name: mask.weight.data.normal_(generator=torch.Generator().manual_seed(3)) for name, mask in
               rule.masks.items()}  # fmt: skip
    if rule_name == "scheduled":
        rule.lambdas["layer1"] = 3.0
    nothing_else = sum(0 * mask.weight.sum() for mask in rule.masks.values())
    nothing_else.backward()
    loss = rule.backward()
    terms = [l1_to_minus_one(weight.tolist()) for weight in weights.values()]
    assert loss.item() == pytest.approx(sum(terms) / 2, rel=1e-6)
    assert not loss.requires_grad
    for name, mask in rule.masks.items():
        expected = rule.lambdas[name] / 2 * (mask.weight.detach() + 1).sign()
        assert torch.allclose(mask.weight.grad, expected, rtol=1e-6)


# ------------------------------------------------------------ the paper's literal settings


@pytest.mark.parametrize("rule_name", ["paper-adam", "paper-sgd"])
def test_the_literal_learning_rate_drops_at_30_60_and_90_percent(rule_name: str) -> None:
    rule = MaskRule(mask_layers((4,)), rule_name, 0.99, LAMBDA, 100)
    assert isinstance(rule.optimizer, torch.optim.Adam if rule_name == "paper-adam" else torch.optim.SGD)
    rates = {}
    for iteration in range(100):
        go_on(rule, iteration, iteration + 1)
        rates[iteration] = rule.optimizer.param_groups[0]["lr"]
        assert rule.lambdas == {"layer0": LAMBDA}
    for period, rate in ((range(30), 0.1), (range(31, 60), 0.01), (range(61, 90), 1e-3), (range(91, 100), 1e-4)):
        assert {round(rates[iteration], 12) for iteration in period} == {rate}


def test_literal_sgd_is_a_plain_step_down_the_gradient_of_all_losses() -> None:
    """w - 0.1 (g + lambda / 2N sign(w + 1)), g not bounded; the broken case is the bounded one."""
    gradient = torch.tensor([300.0, -0.5, 0.0, 2.0])

    def after_one_step(rule_name: str) -> Tensor:
        rule = MaskRule(mask_layers((4, 2)), rule_name, 0.7, LAMBDA, 100)
        (rule.masks["layer0"].weight * gradient).sum().backward()
        rule.backward()
        rule.step(0)
        return rule.masks["layer0"].weight.detach()

    start = ChannelMask(1).start
    expected = start - 0.1 * (gradient + LAMBDA / 2)
    assert torch.allclose(after_one_step("paper-sgd"), expected, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(after_one_step("scheduled"), expected, atol=1e-3)


def test_an_unknown_rule_is_refused() -> None:
    with refused("unknown mask rule 'adam'", *RULES):
        MaskRule(mask_layers(), "adam", 0.7, LAMBDA, 100)
