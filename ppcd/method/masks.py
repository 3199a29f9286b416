"""The learnable mask layer of PP-Res (section 3.2, eqs. 1-3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ppcd.base import PpcdError


class ChannelMask(nn.Module):
    """Multiplies every channel of a feature map with m_i = sigmoid(delta * w_i) (eq. 1).

    Once more than alpha of the channels are at or below the pivot, the mask is frozen (eq. 3): its values are exactly
    0 or 1, and its parameters get no more gradient.

    Args:
        channels: n, the number of channels.
        delta: steepness of the sigmoid (section 4.2: 1e3).
        pivot: a channel with m_i <= pivot counts as pruned (section 3.2: 5e-3).
        start: initial w_i of every channel. The paper gives none; at 0.012 the mask starts open (m = 0.999994).

    Attributes:
        weight: w, [channels].
        kept: which channels a frozen mask keeps, [channels].
        frozen: whether eq. 3 has set the values to 0 and 1 for good.
        rescued: 1 if freezing would have removed every channel, so that the one with the largest w was kept.

    Raises:
        PpcdError: no channels, delta <= 0, or a pivot outside (0, 1).
    """

    kept: Tensor

    def __init__(self, channels: int, delta: float = 1e3, pivot: float = 5e-3, start: float = 0.012) -> None:
        super().__init__()
        if channels < 1:
            raise PpcdError(f"a channel mask needs at least one channel; got {channels}")
        if delta <= 0 or not 0 < pivot < 1:
            raise PpcdError(f"a channel mask needs delta > 0 and a pivot in (0, 1); got {delta} and {pivot}")
        self.channels, self.delta, self.pivot, self.start = channels, delta, pivot, start
        self.weight = nn.Parameter(torch.full((channels,), start))
        self.register_buffer("kept", torch.ones(channels, dtype=torch.bool))
        self.frozen, self.rescued = False, 0
        self._indices: Tensor | None = None  # found once, since a GPU would be waited for

    @property
    def indices(self) -> Tensor | None:
        """Indices of the channels that a frozen mask keeps, ascending; None before."""
        if self.frozen and (self._indices is None or self._indices.device != self.kept.device):
            self._indices = self.kept.nonzero().squeeze(1)
        return self._indices

    def values(self) -> Float[Tensor, " channel"]:
        """m (eq. 1), in [0, 1]; exactly 0 or 1 once frozen."""
        if self.frozen:
            return self.kept.to(self.weight.dtype)
        return torch.sigmoid(self.delta * self.weight)  # eq. 1

    def pruned(self) -> Int[Tensor, ""]:
        """c, the number of channels with m_i <= pivot (section 3.2)."""
        return (self.values() <= self.pivot).sum()

    def pruned_ratio(self) -> float:
        """c / n, n being the number of channels (section 3.2)."""
        with torch.no_grad():
            return int(self.pruned()) / self.channels

    def sparsity(self) -> Float[Tensor, ""]:
        """sum_i |w_i + 1| (eq. 2)."""
        return (self.weight + 1).abs().sum()  # eq. 2

    def binarize(self, alpha: float) -> bool:
        """Eq. 3: freeze the mask if c / n > alpha (strictly). True on the call that froze it.

        Raises:
            PpcdError: alpha is not in (0, 1).
        """
        if not 0 < alpha < 1:
            raise PpcdError(f"alpha must be a number in (0, 1), for example 0.7; got {alpha!r}")
        if self.frozen or not self.pruned_ratio() > alpha:  # eq. 3
            return False
        self.freeze(self.values().detach() > self.pivot)
        return True

    def freeze(self, kept: Tensor) -> None:
        """Fix the values to `kept` ([channels], bool); the parameters stop learning.

        A layer never loses its last channel: if `kept` has none, the one with the largest w stays (`rescued`).

        Raises:
            PpcdError: `kept` has another shape, or the mask is frozen already.
        """
        if self.frozen:
            raise PpcdError("this mask is frozen for good")
        if kept.shape != self.kept.shape:
            raise PpcdError(f"freezing a mask of {self.channels} channels needs as many flags; got {list(kept.shape)}")
        self.kept.copy_(kept)
        if not bool(kept.any()):
            self.kept[self.weight.detach().argmax()] = True
            self.rescued = 1
        self.frozen = True
        self.weight.requires_grad_(False)
        self.weight.grad = None

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
        return x * self.values().to(x.dtype).view(1, -1, 1, 1)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([int(self.frozen), self.rescued])

    def set_extra_state(self, state: Tensor) -> None:
        frozen, self.rescued = (int(value) for value in state)
        self.frozen, self._indices = bool(frozen), None
        self.weight.requires_grad_(not self.frozen)


def masks_of(network: nn.Module) -> dict[str, ChannelMask]:
    """The mask layers of a network by name, first to last; empty if there are none."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ChannelMask)}


def channels_to_prune(channels: int, alpha: float) -> int:
    """The smallest c with c / channels > alpha (eq. 3 is strict), but never all of them."""
    return next((c for c in range(1, channels) if c / channels > alpha), channels - 1)
