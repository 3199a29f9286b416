"""Batches of real images: their order, and how they get to where the networks are."""

from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ppcd.base import PpcdError
from ppcd.data.images import ImageSet, to_float
from ppcd.data.store import StoredImages


class BatchSampler:
    """Endless batches, reshuffled each epoch; every image is seen once an epoch, across the ends of batches.

    Images of a store are read on the CPU, and those of the next batch while the present one is worked on.

    Args:
        data: what to draw from; images in memory are kept on `device`.
        batch_size: images per batch, of all processes together.
        generator: a CPU generator that gives each epoch's order and nothing else.
        flip_generator: a CPU generator; where it is given, each image is mirrored with probability 1/2. It is
            another one, so that the order of the images does not depend on whether they are mirrored.
        device: where batches are.
        share: (index, count): this sampler gives the part `index` of `count` equal parts of every batch. Order and
            flips are drawn for the whole batch: samplers of the same generators give its parts, side by side.

    Raises:
        PpcdError: batch_size is not positive, or cannot be shared.
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
        if batch_size < 1:
            raise PpcdError(f"the batch size must be positive; got {batch_size}")
        index, count = share
        if not 0 <= index < count:
            raise PpcdError(f"a share is an index from 0 and a larger count; got {index} of {count}")
        if batch_size % count:
            raise PpcdError(f"a batch of {batch_size} images cannot be shared equally by {count}; change one of them")
        self.batch_size = batch_size
        self.generator = generator
        self.flip_generator = flip_generator
        self.device = torch.device(device)
        self.epoch = 0  # epochs begun
        self._share = slice(index * batch_size // count, (index + 1) * batch_size // count)
        images = data.images
        self._images: Tensor | ReadAhead
        self._images = images.to(self.device) if isinstance(images, Tensor) else ReadAhead(images, self.device)
        self._labels = data.labels.to(self.device)
        self._order = torch.empty(0, dtype=torch.int64)  # what is left of this epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Float[Tensor, "share 3 h w"], Int64[Tensor, "share"]]:
        """One batch, or this share of it: images in [-1, 1] and labels."""
        while len(self._order) < self.batch_size:
            epoch = torch.randperm(len(self._labels), generator=self.generator)
            self._order = torch.cat([self._order, epoch])
            self.epoch += 1
        drawn, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        images, labels = self._take(drawn[self._share])
        if self.flip_generator is not None:
            flip = torch.rand(self.batch_size, generator=self.flip_generator)[self._share] < 0.5
            flip = flip.to(self.device, non_blocking=True).view(-1, 1, 1, 1)
            images = torch.where(flip, images.flip(3), images)
        return images, labels

    def _take(self, drawn: Int64[Tensor, "share"]) -> tuple[Float[Tensor, "share 3 h w"], Int64[Tensor, "share"]]:
        places = drawn.to(self.device, non_blocking=True)
        if isinstance(self._images, Tensor):
            return to_float(self._images[places]), self._labels[places]
        images = self._images.take(drawn)
        if len(self._order) >= self.batch_size:  # else the next batch needs an epoch that is not drawn yet
            self._images.start(self._order[: self.batch_size][self._share])
        return to_float(images.to(self.device, non_blocking=True)), self._labels[places]

    def state_dict(self) -> dict[str, Any]:
        """Where the sampler stands, its generators included: a sampler given it draws the same batches."""
        return {
            "images": len(self._labels),
            "order": self._order.clone(),
            "epoch": self.epoch,
            "generator": self.generator.get_state(),
            "flip_generator": None if self.flip_generator is None else self.flip_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another sampler of the same data stood.

        Raises:
            PpcdError: the state is of another number of images, or of a sampler with other flips.
        """
        if state["images"] != len(self._labels):
            raise PpcdError(f"a sampler of {state['images']} images cannot go on with {len(self._labels)}")
        if (state["flip_generator"] is None) != (self.flip_generator is None):
            raise PpcdError("a sampler with random flips and one without them cannot continue each other")
        self._order, self.epoch = state["order"].cpu().clone(), state["epoch"]
        self.generator.set_state(state["generator"].cpu())
        if self.flip_generator is not None:
            self.flip_generator.set_state(state["flip_generator"].cpu())


class ReadAhead:
    """Reads images of a store in a thread of its own, before they are asked for.

    Args:
        images: where from.
        device: where they go next; for a GPU they are read into pinned memory.
    """

    def __init__(self, images: StoredImages, device: torch.device) -> None:
        self.images, self.pinned = images, device.type == "cuda"
        self._ahead: _Reading | None = None

    def start(self, index: Int64[Tensor, "k"]) -> None:
        """Begin to read these images."""
        self._ahead = _Reading(self.images, index, self._room(index))

    def take(self, index: Int64[Tensor, "k"]) -> UInt8[Tensor, "k 3 h w"]:
        """These images, which are there already if they were begun.

        Raises:
            PpcdError: an image could not be read, now or before.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None and torch.equal(ahead.index, index):
            found = ahead.result()
            if found is not None:
                return found
        return self.images.read(self.images.places[index], self._room(index))

    def _room(self, index: Int64[Tensor, "k"]) -> UInt8[Tensor, "k 3 h w"]:
        shape = (len(index), *self.images.shape[1:])
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.pinned)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None}  # a thread is of its process


class _Reading:
    """A thread that reads some images, once."""

    def __init__(self, images: StoredImages, index: Tensor, out: Tensor) -> None:
        self.index = index
        self._future: Future[Tensor] = Future()
        self._thread = Thread(target=_read, args=(images, index, out, self._future), name="ppcd read-ahead")
        self._thread.start()

    def result(self) -> Tensor | None:
        """The images; None in a process that was forked meanwhile, where the thread is not."""
        self._thread.join()
        return self._future.result() if self._future.done() else None


def _read(images: StoredImages, index: Tensor, out: Tensor, future: Future[Tensor]) -> None:
    try:
        future.set_result(images.read(images.places[index], out))
    except BaseException as error:
        future.set_exception(error)
