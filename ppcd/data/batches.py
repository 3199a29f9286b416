"""Batches of real images, in an order that can be resumed."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ppcd.base import moved
from ppcd.data.images import ImageSet, to_float


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

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Float[Tensor, "share 3 h w"], Int64[Tensor, "share"]]:
        """One batch, or this share of it: images in [-1, 1] and labels."""
        while len(self._order) < self.batch_size:
            epoch = torch.randperm(len(self._labels), generator=self.generator)
            self._order = torch.cat([self._order, epoch])
        drawn, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        places = drawn[self._share]
        there = moved(places, self.device)
        images = moved(self._images[places if self._images.is_cpu else there], self.device)
        labels = self._labels[there]
        if self.flip_generator is not None:
            flip = torch.rand(self.batch_size, generator=self.flip_generator)[self._share] < 0.5
            images = torch.where(moved(flip, self.device).view(-1, 1, 1, 1), images.flip(3), images)
        return to_float(images), labels

    def state_dict(self) -> dict[str, Any]:
        """What a sampler needs to draw the same batches from here on, its generators included."""
        return {
            "order": self._order.clone(),
            "generator": self.generator.get_state(),
            "flip_generator": None if self.flip_generator is None else self.flip_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of another sampler of the same data and kind."""
        self._order = state["order"].cpu().clone()
        self.generator.set_state(state["generator"].cpu())
        if self.flip_generator is not None:
            self.flip_generator.set_state(state["flip_generator"].cpu())
