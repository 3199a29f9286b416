"""How a recipe prunes: how many channels stay, which rule closes the masks, and what decides which channels go."""

from typing import Any, cast

import torch

from ppcd.base import named_generator
from ppcd.method.earlier_rules import MaskRule
from ppcd.method.masks import channels_to_prune
from ppcd.method.schedule import GradualRule, GradualSchedule, Importance, l1_norms
from ppcd.networks.generators import CHANNELS, Generator
from ppcd.training.config import RunConfig


def pruned_widths(resolution: int, width: int, alpha: float) -> tuple[tuple[int, int], ...]:
    """The inner channels of each block that PPCD-GAN of this width has after pruning at `alpha`."""
    outputs = [multiple * width for multiple in CHANNELS[resolution][1:]]
    return tuple((left, left) for left in (channels - channels_to_prune(channels, alpha) for channels in outputs))


def switch_iteration(config: RunConfig, total: int) -> int:
    """Two phases: the iteration at which the second begins, with a smaller network.

    Two-step PPCD-GAN prunes at the times of PPCD-GAN: its second step begins when the last layer has frozen.
    """
    if config.recipe.two_step and config.mask_rule == "gradual":
        return GradualSchedule().last(total)
    return total // 2


def make_rule(config: RunConfig, generator: Generator, total: int) -> MaskRule | GradualRule | None:
    """The rule that closes the masks of a generator in a training of `total` iterations; None without masks."""
    recipe, masks = config.recipe, generator.masks()
    if not recipe.masked or recipe.alpha is None:
        return None
    if config.mask_rule == "gradual":
        return GradualRule(masks, recipe.alpha, total, _importance(config, generator))
    pruning = switch_iteration(config, total) if recipe.two_step else total
    return MaskRule(masks, config.mask_rule, recipe.alpha, recipe.lambda_pp, pruning)


def _importance(config: RunConfig, generator: Generator) -> Importance | None:
    """What decides which channels go, where the masks do not."""
    if config.recipe.select == "l1":
        return lambda name: l1_norms(cast(torch.nn.Conv2d, generator.get_submodule(name.replace("mask", "conv"))))
    if config.recipe.select == "random":
        masks = generator.masks()
        return lambda name: torch.randperm(
            masks[name].channels, generator=named_generator(config.seed, f"random channels {name}")
        ).to(masks[name].weight)
    return None


def report(rule: MaskRule | GradualRule) -> list[dict[str, Any]]:
    """What became of each mask layer: for run.json."""
    return [
        {
            "layer": name,
            "channels": mask.channels,
            "kept": int(mask.kept.sum()) if mask.frozen else mask.channels,
            "frozen_at": rule.frozen_at.get(name),
            "forced": rule.forced[name],
            "spared": rule.spared[name],
            "rescued": mask.rescued,
        }
        for name, mask in rule.masks.items()
    ]
