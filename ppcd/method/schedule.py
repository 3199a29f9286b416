"""The default rule of the masks: channels close one after another, those that the training needs least first.

Eq. 8 gives the parameter w_i of a channel the gradient lambda_k / 2N - a_i: lambda_k / 2N is that of L_PP (eqs. 2 and
5, the derivative of |w_i + 1| being 1), and a_i is what the other losses say against closing it. Followed literally it
does not prune progressively (docs/deviations.md). This rule keeps its meaning and reads it so:

- a_i is the root of the mean square of dL/dm_i over tens of iterations, the Fisher information of the channel's scale
  (Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018; Molchanov et al., "Importance
  estimation for neural network pruning", CVPR 2019). The mean of dL/dm_i itself says nothing: where the weights of the
  next layer are near a stationary point it is zero, however important the channel is.
- When the schedule asks for a channel, lambda_k / 2N is placed between a_i of the least important open channel and
  that of the next one. The channel below it starts to close: w_i falls at a constant speed to below the pivot, and
  never rises again. Channels above lambda_k / 2N stay where they start.

So at any time as many channels of a layer are closed as its schedule asks for, and eq. 3 freezes the layer when the
last one has closed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppcd.method.losses import progressive_pruning
from ppcd.method.masks import ChannelMask, channels_to_prune

Importance = Callable[[str], Tensor]  # name of a mask -> [channels], larger for channels that should stay


def l1_norms(conv: nn.Conv2d) -> Tensor:
    """sum |F_i| of each filter i of a convolution, [out_channels] (Li et al. 2017). Spectral norm scales all alike."""
    return conv.weight.detach().abs().sum(dim=(1, 2, 3))


@dataclass(frozen=True)
class GradualSchedule:
    """How many channels are closed when. Times are fractions of the training.

    The closed fraction of a layer follows 1 - (1 - x)^power, x from 0 at `begin` to 1 at `end`. Zhu and Gupta ("To
    prune, or not to prune", 2018) take the power 3; at 1.5 at most 2% of a layer's channels close in 1% of the
    training, for alpha up to 0.7.
    """

    begin: float = 0.05
    end: float = 0.6
    power: float = 1.5
    closing: float = 0.03  # in which a channel goes from open to closed
    memory: int = 30  # iterations over which squared gradients are averaged

    def closed(self, goal: int, progress: float) -> int:
        """How many of `goal` channels are closed after this fraction of the training."""
        x = min(1.0, max(0.0, (progress - self.begin) / (self.end - self.begin)))
        return math.floor(goal * (1 - (1 - x) ** self.power) + 1e-9)

    def last(self, total: int) -> int:
        """The iteration after which every layer is frozen, in a training of `total` iterations."""
        return min(total, math.ceil(self.end * total))


class GradualRule:
    """Closes the masks; takes the place of an optimiser for them.

    In every iteration, after the backward pass of the other losses: `backward()`, then `step(iteration)`.

    Args:
        masks: the 2N mask layers by name, open.
        alpha: eq. 3's threshold.
        total: iterations of the training.
        importance: decides instead of the gradients which channel goes; None: the gradients.

    Attributes:
        lambdas: lambda_k of each layer (eq. 5) as it was placed last, in the units of dL/dm; 0 before.
        frozen_at: iteration after which each layer froze.
        closed_at: iteration after which each channel that goes has m at or below the pivot.
    """

    def __init__(
        self,
        masks: Mapping[str, ChannelMask],
        alpha: float,
        total: int,
        importance: Importance | None = None,
    ) -> None:
        self.masks, self.alpha, self.total, self.importance = dict(masks), alpha, total, importance
        self.schedule = GradualSchedule()
        self.goals = {name: channels_to_prune(mask.channels, alpha) for name, mask in self.masks.items()}
        self.steps = max(1, round(self.schedule.closing * total))  # in which a channel closes
        self.lambdas = dict.fromkeys(self.masks, 0.0)
        self.frozen_at: dict[str, int] = {}
        self.closed_at: dict[str, dict[int, int]] = {name: {} for name in self.masks}
        self.forced, self.spared = dict.fromkeys(self.masks, 0), dict.fromkeys(self.masks, 0)  # never any
        self.seen = 0  # gradients
        self.squares = {name: torch.zeros_like(mask.weight) for name, mask in self.masks.items()}
        self.going = {name: torch.zeros_like(mask.kept) for name, mask in self.masks.items()}

    @torch.no_grad()
    def backward(self) -> Tensor:
        """Take the gradients that the other losses have left in the masks; returns L_PP (eq. 5)."""
        self.seen += 1
        for name, mask in self.masks.items():
            if mask.frozen or mask.weight.grad is None:
                continue
            m = mask.values()
            slope = (mask.delta * m * (1 - m)).clamp_min(torch.finfo(m.dtype).tiny)  # dm/dw, eq. 1
            m_gradient = mask.weight.grad / slope  # dL/dm
            self.squares[name].lerp_(m_gradient.square(), 1 / min(self.seen, self.schedule.memory))
            mask.weight.grad = None
        return progressive_pruning(list(self.masks.values()))

    def step(self, iteration: int) -> None:
        """Choose the channels that the schedule asks for, move those that close, freeze complete layers (eq. 3)."""
        done = iteration + 1
        for name, mask in self.masks.items():
            if mask.frozen:
                continue
            arriving = self.schedule.closed(self.goals[name], (done + self.steps - 1) / self.total)
            if missing := arriving - len(self.closed_at[name]):
                self._choose(name, missing, done + self.steps - 1)
            self._close(mask, self.going[name])
            if self.schedule.closed(self.goals[name], done / self.total) == self.goals[name]:
                mask.freeze(mask.values() > mask.pivot)
                self.frozen_at[name] = done

    @torch.no_grad()
    def _choose(self, name: str, count: int, closed_at: int) -> None:
        """Place lambda_k above the importance a_i of `count` more channels: they start to close."""
        a = self.squares[name].sqrt() if self.importance is None else self.importance(name)
        still_open = (~self.going[name]).nonzero().squeeze(1)
        order = still_open[a[still_open].argsort(stable=True)]
        chosen, least_open = order[:count], order[count : count + 1]  # at least one stays
        self.going[name][chosen] = True
        self.closed_at[name] |= dict.fromkeys(chosen.tolist(), closed_at)
        self.lambdas[name] = len(self.masks) * (a[chosen].max() + a[least_open].max()).item() / 2

    @torch.no_grad()
    def _close(self, mask: ChannelMask, closing: Tensor) -> None:
        """One of the `steps` that bring closing channels from the start to below the pivot."""
        pivot = math.log(mask.pivot / (1 - mask.pivot)) / mask.delta  # w at m = pivot, eq. 1
        speed = (mask.start - 1.02 * pivot) / self.steps
        mask.weight.copy_(torch.where(closing, (mask.weight - speed).clamp_min(-mask.start), mask.weight))

    def state_dict(self) -> dict[str, Any]:
        names = ("lambdas", "frozen_at", "closed_at", "seen", "squares", "going")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("lambdas", "frozen_at", "closed_at", "seen"):
            setattr(self, name, state[name])
        for name, mask in self.masks.items():
            self.squares[name] = state["squares"][name].to(mask.weight)
            self.going[name] = state["going"][name].to(mask.kept.device)
