"""Exponential moving averages of a generator's weights, and the slim generator that an average becomes."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppcd.base import named_generator
from ppcd.method.masks import masks_of
from ppcd.method.slim import slim

Network = TypeVar("Network", bound=nn.Module)

DECLARED = "ema"  # name of the average that is the run's result
AGES = (0.01, 0.025, 0.05, 0.1)  # mean ages that are compared, as fractions of the training's iterations


class Ema:
    """A copy of the generator whose weights follow the original's slowly.

    Masks and buffers are copied, not averaged. Eq. 1 is so steep that averaged mask weights would be a mask that the
    trained network never had; the average of two vectors of a spectral norm means nothing; and batch statistics are
    measured again at the end (`recompute_batch_statistics`). A mask that froze is frozen in the copy too.

    Args:
        generator: the original, as it is when the average begins.
        decay: of the average; 0 is a copy of the weights.
        start: the first iteration that is averaged; before it the copy equals the original.
        warm_up: the decay grows as (1 + t) / (10 + t), t counted from `start`, until it reaches `decay`, as with
            `num_updates` in TensorFlow's ExponentialMovingAverage. Until then the mean age of the average is about a
            tenth of the iterations since `start`, and the weight of the initial values falls as t^-9.
    """

    def __init__(self, generator: nn.Module, decay: float, start: int, warm_up: bool = False) -> None:
        self.generator: Any = copy.deepcopy(generator).requires_grad_(False)
        self.decay, self.start, self.warm_up = decay, start, warm_up

    def decay_at(self, iteration: int) -> float:
        """The decay of this iteration's update."""
        passed = iteration - self.start
        if passed < 0:
            return 0.0
        return min(self.decay, (1 + passed) / (10 + passed)) if self.warm_up else self.decay

    @torch.no_grad()
    def update(self, generator: nn.Module, iteration: int) -> None:
        """Take over the original as it is after this iteration."""
        self.follow_masks(generator)
        averaged, copied = _tensors(self.generator)
        new, exact = _tensors(generator)
        torch._foreach_lerp_(averaged, new, 1 - self.decay_at(iteration))
        torch._foreach_copy_(copied, exact)

    def follow_masks(self, generator: nn.Module) -> None:
        """Freeze what froze in the original."""
        for mask, source in zip(masks_of(self.generator).values(), masks_of(generator).values(), strict=True):
            if source.frozen and not mask.frozen:
                mask.freeze(source.kept)

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start, "generator": self.generator.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["start"]
        self.generator.load_state_dict(state["generator"])
        self.generator.requires_grad_(False)


def _tensors(generator: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The weights, which are averaged; and masks and buffers, which are copied."""
    masks = [mask.weight for mask in masks_of(generator).values()]
    known = {id(weight) for weight in masks}
    weights = [parameter.detach() for parameter in generator.parameters() if id(parameter) not in known]
    return weights, [*(weight.detach() for weight in masks), *generator.buffers()]


def make_averages(generator: nn.Module, age: float, total: int, start: int, others: bool) -> dict[str, Ema]:
    """Averages with a warm-up by name: the declared one as "ema", with `others` those of the other AGES ("1%").

    An average of decay d has the mean age d / (1 - d), so that of mean age a has the decay a / (1 + a).

    Args:
        age: mean age of the declared average, as a fraction of `total`.
        total: iterations of the whole training, also where `start` is in the middle of it.
        start: iteration at which they begin.
    """
    ages = {DECLARED: age}
    if others:
        ages |= {f"{100 * other:g}%": other for other in AGES if other != age}
    return {name: Ema(generator, each * total / (1 + each * total), start, warm_up=True) for name, each in ages.items()}


@torch.no_grad()
def recompute_batch_statistics(generator: Any, noise: torch.Generator, batches: int = 32, batch_size: int = 64) -> None:
    """Measure the batch norms' running mean and variance again, as plain averages over `batches` batches.

    Averaged weights have other statistics than the original, above all when channels have just gone. Leaves the
    generator in evaluation mode.
    """
    norms: list[Any] = [module for module in generator.modules() if hasattr(module, "running_mean")]
    momenta = [norm.momentum for norm in norms]
    device = next(generator.parameters()).device
    generator.train()
    for index in range(batches):
        for norm in norms:
            norm.momentum = 1 / (index + 1)  # a cumulative average
        z = torch.randn(batch_size, generator.dim_z, generator=noise)
        y = torch.randint(generator.num_classes, (batch_size,), generator=noise)
        generator(z.to(device), y.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()


def decide_masks(generator: Network) -> Network:
    """Freeze the masks that never reached alpha as they stand: m > pivot stays (eq. 3 without its condition).

    Only the paper's literal settings get here; in run.json such a layer has no `frozen_at`.
    """
    for mask in masks_of(generator).values():
        if not mask.frozen:
            mask.freeze(mask.values().detach() > mask.pivot)
    return generator


def finish_generator(generator: Network, seed: int) -> Network:
    """The averaged generator as a slim one: masks decided, batch statistics recomputed."""
    decide_masks(generator)
    recompute_batch_statistics(generator, named_generator(seed, "batch statistics"))
    return slim(generator)
