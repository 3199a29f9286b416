"""How fast the masks close: the rule that decides lambda of every layer (eqs. 2, 3, 5, 8).

The paper trains everything with Adam at 0.1 and lambda = 0.01. On the masks that reading does not work
(README, "Deviations and readings"). The default here, "scheduled", keeps eqs. 1-5 and 8 and gives each layer a
lambda_k of its own that follows a schedule of its pruned fraction.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppcd.base import PpcdError
from ppcd.method.losses import progressive_pruning
from ppcd.method.masks import ChannelMask

RULES = ("scheduled", "paper-adam", "paper-sgd")


@dataclass(frozen=True)
class Schedule:
    """Constants of the "scheduled" rule, as fractions of the training where they are times."""

    clip: float = 20.0  # bound of a channel's gradient from L_ADV and L_CD
    speed: float = 1.0  # how far that moves w in a whole training at most; the slope of eq. 1 is 0.01 wide
    warm_up: float = 0.05  # no channel is asked for before
    target: float = 0.4  # the schedule reaches alpha here
    deadline: float = 0.5  # a layer still open is frozen here by rank of w, and counted as forced
    e_fold: float = 0.01  # of the training, in which lambda_k grows e-fold while its layer is behind its schedule
    retreat: float = 6.0  # how many times faster it falls while the layer is not
    push: float = 0.5  # bound of lambda_k / 2N, as a multiple of `clip`
    push_late: float = 2.0  # the same behind `target`: stronger than any other gradient

    def learning_rate(self, total: int) -> float:
        """Of the masks, by plain SGD, in a training of `total` iterations."""
        return self.speed / (self.clip * total)


def channels_to_prune(channels: int, alpha: float) -> int:
    """The smallest c with c / channels > alpha (eq. 3 is strict), but never all of them."""
    return next((c for c in range(1, channels) if c / channels > alpha), channels - 1)


class MaskRule:
    """Owns the masks' optimiser and the lambda_k.

    In every iteration, behind the backward pass of the other losses: `backward()`, then `step(iteration)`.
    """

    def __init__(
        self,
        masks: dict[str, ChannelMask],
        rule: str,
        alpha: float,
        lambda_pp: float,
        total: int,
        schedule: Schedule | None = None,
    ) -> None:
        if rule not in RULES:
            raise PpcdError(f"unknown mask rule {rule!r}; expected one of: {', '.join(RULES)}")
        self.masks, self.rule, self.alpha, self.base, self.total = masks, rule, alpha, lambda_pp, total
        self.schedule = schedule or Schedule()
        self.lambdas = dict.fromkeys(masks, lambda_pp)
        self.frozen_at: dict[str, int] = {}
        self.forced: dict[str, int] = dict.fromkeys(masks, 0)  # channels removed by rank at the deadline
        self.spared: dict[str, int] = dict.fromkeys(masks, 0)  # channels that closed in the last step, beyond the goal
        weights = [mask.weight for mask in masks.values()]
        if rule == "scheduled":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(weights, lr=self.schedule.learning_rate(total))
        elif rule == "paper-sgd":
            self.optimizer = torch.optim.SGD(weights, lr=0.1)
        else:
            self.optimizer = torch.optim.Adam(weights, lr=0.1)

    def backward(self) -> Tensor:
        """Add the gradient of L_PP (eq. 5, each l_PP_k times its lambda_k) to the masks; returns eq. 5 itself.

        The masks hold the gradient of the other losses by then. At the crossing, eq. 1 multiplies it by up to
        delta / 4 = 250, and one batch could throw a channel out or lock it in for good; the "scheduled" rule
        bounds it first.
        """
        weights = [mask.weight for mask in self.masks.values() if not mask.frozen]
        given = [weight for weight in weights if weight.grad is not None]
        if given and self.rule == "scheduled":
            torch.nn.utils.clip_grad_value_(given, self.schedule.clip)
        masks = list(self.masks.values())
        if weights:
            progressive_pruning(masks, list(self.lambdas.values())).backward()
        with torch.no_grad():
            return progressive_pruning(masks)

    def step(self, iteration: int) -> None:
        progress = (iteration + 1) / self.total
        if self.rule != "scheduled":
            for group in self.optimizer.param_groups:
                group["lr"] = 0.1 * 0.1 ** sum(progress > drop for drop in (0.3, 0.6, 0.9))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        pruned = self._pruned() if self.rule == "scheduled" else {}
        for name, mask in self.masks.items():
            if mask.frozen:
                continue
            if self.rule == "scheduled":
                self._follow(name, mask, pruned[name], iteration + 1)
            else:
                mask.binarize(self.alpha)
            if mask.frozen:
                self.frozen_at[name] = iteration + 1

    def _pruned(self) -> dict[str, int]:
        """The channels that have closed, of each mask that is open; a GPU is waited for once, and not without any."""
        masks = {name: mask for name, mask in self.masks.items() if not mask.frozen}
        if not masks:
            return {}
        with torch.no_grad():
            counts = [mask.pruned() for mask in masks.values()]
            return dict(zip(masks, torch.stack(counts).tolist(), strict=True))

    def _follow(self, name: str, mask: ChannelMask, pruned: int, done: int) -> None:
        s, progress = self.schedule, done / self.total
        goal = channels_to_prune(mask.channels, self.alpha)

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
        return {
            "optimizer": self.optimizer.state_dict(),
            "lambdas": dict(self.lambdas),
            "frozen_at": dict(self.frozen_at),
            "forced": dict(self.forced),
            "spared": dict(self.spared),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.lambdas, self.frozen_at = state["lambdas"], state["frozen_at"]
        self.forced, self.spared = state["forced"], state["spared"]
