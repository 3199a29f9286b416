"""Rules of earlier runs for closing the masks: "scheduled", and the paper's literal readings.

The paper trains everything with Adam at 0.1 and lambda = 0.01 ("paper-adam", "paper-sgd"). On the masks neither
reading works (docs/deviations.md). "scheduled" keeps eqs. 1-5 and 8 and gives each layer its own lambda_k, which
follows a schedule of the layer's pruned fraction; the channels of a layer cross the pivot together.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppcd.base import PpcdError
from ppcd.method.losses import progressive_pruning
from ppcd.method.masks import ChannelMask, channels_to_prune

RULES = ("scheduled", "paper-adam", "paper-sgd")


@dataclass(frozen=True)
class Schedule:
    """Constants of the "scheduled" rule; times are fractions of the training."""

    clip: float = 20.0  # bound of a channel's gradient from L_ADV and L_CD
    speed: float = 1.0  # how far that moves w in a whole training at most; the slope of eq. 1 is 0.01 wide
    warm_up: float = 0.05  # no channel is asked for before
    target: float = 0.4  # the schedule reaches alpha here
    deadline: float = 0.5  # a layer still open is frozen here by rank of w, and counted as forced
    e_fold: float = 0.01  # time in which lambda_k grows e-fold while its layer is late
    retreat: float = 6.0  # how many times faster it falls while the layer is not
    push: float = 0.5  # bound of lambda_k / 2N, as a multiple of `clip`
    push_late: float = 2.0  # the same after `target`: stronger than any other gradient

    def learning_rate(self, total: int) -> float:
        """Of the masks, by plain SGD, in a training of `total` iterations."""
        return self.speed / (self.clip * total)


class MaskRule:
    """Owns the masks' optimiser and the lambda_k.

    In every iteration, after the backward pass of the other losses: `backward()`, then `step(iteration)`.

    Attributes:
        lambdas: lambda_k of each layer (eq. 5).
        frozen_at: iteration after which each layer froze.
        forced: channels of each layer that were removed by rank at the deadline.
        spared: channels of each layer that crossed the pivot in its last step but were more than alpha asks for.
    """

    def __init__(self, masks: dict[str, ChannelMask], rule: str, alpha: float, lambda_pp: float, total: int) -> None:
        if rule not in RULES:
            raise PpcdError(f"unknown mask rule {rule!r}; expected one of: {', '.join(RULES)}")
        self.masks, self.rule, self.alpha, self.base, self.total = masks, rule, alpha, lambda_pp, total
        self.schedule = Schedule()
        self.lambdas = dict.fromkeys(masks, lambda_pp)
        self.frozen_at: dict[str, int] = {}
        self.forced, self.spared = dict.fromkeys(masks, 0), dict.fromkeys(masks, 0)
        weights = [mask.weight for mask in masks.values()]
        if rule == "paper-adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(weights, lr=0.1)
        else:
            rate = 0.1 if rule == "paper-sgd" else self.schedule.learning_rate(total)
            self.optimizer = torch.optim.SGD(weights, lr=rate)

    def backward(self) -> Tensor:
        """Add the gradient of L_PP (eq. 5, each l_PP_k times its lambda_k) to the masks; returns eq. 5 itself.

        The masks hold the gradient of the other losses by then. At the crossing, eq. 1 multiplies it by up to
        delta / 4 = 250, and one batch could close a channel or hold it open for good; the "scheduled" rule
        clips it first.
        """
        masks = list(self.masks.values())
        weights = [mask.weight for mask in masks if not mask.frozen]
        given = [weight for weight in weights if weight.grad is not None]
        if given and self.rule == "scheduled":
            torch.nn.utils.clip_grad_value_(given, self.schedule.clip)
        if weights:
            progressive_pruning(masks, list(self.lambdas.values())).backward()
        with torch.no_grad():
            return progressive_pruning(masks)

    def step(self, iteration: int) -> None:
        """A step of the masks' optimiser; then freeze what eq. 3 says, and move the lambda_k."""
        done = iteration + 1
        if self.rule != "scheduled":
            for group in self.optimizer.param_groups:
                group["lr"] = 0.1 * 0.1 ** sum(done / self.total > drop for drop in (0.3, 0.6, 0.9))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for name, mask in self.masks.items():
            if mask.frozen:
                continue
            if self.rule == "scheduled":
                self._follow(name, mask, done)
            else:
                mask.binarize(self.alpha)
            if mask.frozen:
                self.frozen_at[name] = done

    def _follow(self, name: str, mask: ChannelMask, done: int) -> None:
        s, progress = self.schedule, done / self.total
        goal = channels_to_prune(mask.channels, self.alpha)
        pruned = int(mask.pruned())

        # Eq. 3, and the deadline. The w say which channels go; how many is the same for every seed and method.
        late = done >= max(1, min(math.ceil(s.deadline * self.total), 2 * self.total // 3))
        if pruned >= goal or late:
            self.forced[name], self.spared[name] = max(0, goal - pruned), max(0, pruned - goal)
            kept = torch.zeros(mask.channels, dtype=torch.bool)
            kept[mask.weight.detach().argsort(descending=True, stable=True)[: mask.channels - goal]] = True
            mask.freeze(kept)
            return

        # lambda_k of eq. 5 follows the schedule
        wanted = goal * min(1.0, max(0.0, (progress - s.warm_up) / (s.target - s.warm_up)))
        e_folds = 1 / (s.e_fold * self.total)
        highest = len(self.masks) * s.clip * (s.push_late if progress >= s.target else s.push)
        if pruned < wanted:
            self.lambdas[name] = min(self.lambdas[name] * math.exp(e_folds), highest)
        else:
            self.lambdas[name] = max(self.lambdas[name] * math.exp(-s.retreat * e_folds), self.base)

    def state_dict(self) -> dict[str, Any]:
        state = {name: dict(getattr(self, name)) for name in ("lambdas", "frozen_at", "forced", "spared")}
        return {"optimizer": self.optimizer.state_dict(), **state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("lambdas", "frozen_at", "forced", "spared"):
            setattr(self, name, state[name])
