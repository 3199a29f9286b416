"""Batches of real images, in an order that can be resumed; and random draws that reach a GPU many at a time."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ppcd.base import moved
from ppcd.data.images import ImageSet, to_float

AHEAD = 128  # draws at a time for a GPU


class Ahead:
    """What a function draws, call by call the same; on a GPU many calls at once, in one copy that is not waited for.

    Args:
        draw: gives tensors on the CPU, of the same shapes in every call.
        state: what the next call of `draw` depends on.
        count: calls at a time; None: one on a CPU, where nothing is copied.

    Attributes:
        state: as after the last draw that was given out; what was drawn beyond it is drawn again on resuming.
    """

    def __init__(
        self,
        draw: Callable[[], tuple[Tensor, ...]],
        state: Callable[[], Any],
        device: torch.device,
        count: int | None = None,
    ) -> None:
        self._draw, self._state, self._device = draw, state, device
        self._count = count or (AHEAD if device.type == "cuda" else 1)
        self.reset()

    def reset(self) -> None:
        """Forget what was drawn: the state that draws depend on is another one now."""
        self._drawn: deque[tuple[tuple[Tensor, ...], tuple[Tensor, ...], Any]] = deque()
        self.state = self._state()

    def __next__(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The tensors of one call, on the CPU and on the device."""
        if not self._drawn:
            drawn, states = zip(*((self._draw(), self._state()) for _ in range(self._count)), strict=True)
            stacked = [torch.stack(each) for each in zip(*drawn, strict=True)]
            placed = [moved(each, self._device) for each in stacked]
            both = (zip(*(each.unbind() for each in tensors), strict=True) for tensors in (stacked, placed))
            self._drawn.extend(zip(*both, states, strict=True))
        here, there, self.state = self._drawn.popleft()
        return here, there


class BatchSampler:
    """Endless batches, reshuffled each epoch; every image is seen once an epoch, across the ends of batches.

    Args:
        data: what to draw from; its images are kept on `device`, unless they are mapped.
        batch_size: images per batch, of all processes together.
        generator: a CPU generator that gives each epoch's order and nothing else.
        flip_generator: another one; where it is given, each image is mirrored with probability 1/2.
        share: (index, count): this sampler gives the part `index` of `count` equal parts of every batch. Order and
            flips are drawn for the whole batch, so samplers with equal generators give the parts of the same batches.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        generator: torch.Generator,
        flip_generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        index, count = share
        self.batch_size = batch_size
        self.generator = generator
        self.flip_generator = flip_generator
        self.device = torch.device(device)
        self._share = slice(index * batch_size // count, (index + 1) * batch_size // count)
        self._images = data.images if data.mapped else data.images.to(self.device)
        self._labels = data.labels.to(self.device)
        self._order = torch.empty(0, dtype=torch.int64)  # what is left of this epoch
        self._ahead = Ahead(self._draw, self._state, self.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Float[Tensor, "share 3 h w"], Int64[Tensor, "share"]]:
        """One batch, or this share of it: images in [-1, 1] and labels."""
        (places, _), (there, flip) = next(self._ahead)
        images = moved(self._images[places if self._images.is_cpu else there], self.device)
        if self.flip_generator is not None:
            images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
        return to_float(images), self._labels[there]

    def _draw(self) -> tuple[Int64[Tensor, "share"], Bool[Tensor, "share"]]:
        """The next images, and which of them are mirrored."""
        while len(self._order) < self.batch_size:
            epoch = torch.randperm(len(self._labels), generator=self.generator)
            self._order = torch.cat([self._order, epoch])
        drawn, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        flip = torch.zeros(self.batch_size)
        if self.flip_generator is not None:
            flip = torch.rand(self.batch_size, generator=self.flip_generator)
        return drawn[self._share], flip[self._share] < 0.5

    def _state(self) -> dict[str, Any]:
        flips = None if self.flip_generator is None else self.flip_generator.get_state()
        return {"order": self._order, "generator": self.generator.get_state(), "flip_generator": flips}

    def state_dict(self) -> dict[str, Any]:
        """What a sampler needs to draw the same batches from here on, its generators included."""
        return {**self._ahead.state, "order": self._ahead.state["order"].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of another sampler of the same data and kind."""
        self._order = state["order"].cpu().clone()
        self.generator.set_state(state["generator"].cpu())
        if self.flip_generator is not None:
            self.flip_generator.set_state(state["flip_generator"].cpu())
        self._ahead.reset()
