"""Images prepared once, for data sets that do not fit into memory: the store that holds them, and how it is read.

A store is a directory with LMDB's `data.mdb`, and with `skipped.txt`, which lists the files that could not serve. Its
two databases (numbers are little-endian, keys are not, so that they sort):

    images   index, 8 bytes big-endian -> uint8 [3, resolution, resolution]
    meta     about                     -> JSON: format, version, identity, resolution, classes, files (how many)
             labels-<part>             -> int64 [k] of the images that this part of the files gave
             digests-<part>            -> SHA-256 of each of these images [k, 32]
             skipped-<part>            -> JSON: [file, reason] of every other file of the part
             finished                  -> JSON: images, sha256, note; the last thing that is written

`ppcd.data.filling` fills it. LMDB (Howard Chu) maps the file into memory, so reading an image is copying it; its pages
belong to the system's cache and not to the process.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from tqdm import tqdm

from ppcd.base import PpcdError

FORMAT = "ppcd images"
VERSION = 1  # raised when an image is prepared or kept differently: older stores are then not used


class StoredImages:
    """Images that are read when they are asked for: indexed like a tensor uint8 [n, 3, resolution, resolution].

    An index that torch takes for a tensor's first dimension (an int, a slice, int64 or bool tensors) gives a tensor on
    the CPU with the images in the order asked for. Objects can be pickled and deep-copied, used in forked and spawned
    processes, and read by several threads.

    Args:
        directory: the store.
        resolution: height and width of its images, in pixels.
        places: which of its images, and in which order.
    """

    dtype = torch.uint8

    def __init__(self, directory: Path, resolution: int, places: Int64[Tensor, "n"]) -> None:
        self.directory, self.resolution, self.places = directory, resolution, places
        self._reader = _reader(directory)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.places), 3, self.resolution, self.resolution))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int | slice | Tensor) -> UInt8[Tensor, "*some 3 h w"]:
        return self.read(self.places[index])

    def split(self, count: int) -> Iterator[UInt8[Tensor, "k 3 h w"]]:
        """All images in their order, at most `count` at a time."""
        return (self.read(places) for places in self.places.split(count))

    def select(self, index: Int64[Tensor, "k"]) -> "StoredImages":
        """Some of the images, without reading them."""
        return StoredImages(self.directory, self.resolution, self.places[index])

    def read(
        self, places: Int64[Tensor, "*some"], out: UInt8[Tensor, "*some 3 h w"] | None = None
    ) -> UInt8[Tensor, "*some 3 h w"]:
        """The images at these places of the store, in `out` where it is given.

        Raises:
            PpcdError: the store lacks one.
        """
        image = (3, self.resolution, self.resolution)
        out = torch.empty((*places.shape, *image), dtype=torch.uint8) if out is None else out
        self._reader.copy(places.flatten().tolist(), out.numpy().reshape(-1, *image))
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_reader"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reader = _reader(self.directory)


@dataclass(frozen=True)
class Store:
    """A finished store, open for reading."""

    directory: Path
    identity: str  # of the images that it was made from
    classes: tuple[str, ...]
    images: StoredImages
    labels: Int64[Tensor, "n"]
    sha256: str  # see `content_hash`
    note: str  # "skipped 2 unreadable of 900 images", or ""
    files: int  # how many it was made from

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return (self.directory / "data.mdb").stat().st_size

    def hash_of(self, index: Int64[Tensor, "k"]) -> str:
        """`content_hash` of some of the images."""
        digests = self._digests()[index.numpy()]
        return content_hash(digests.tobytes(), self.labels[index].numpy())

    def verify(self) -> list[int]:
        """Read everything back; the places of the images that are not what was written.

        Raises:
            PpcdError: an image is missing, or what is known of the images is not what was written.
        """
        digests, damaged = self._digests(), []
        if content_hash(digests.tobytes(), self.labels.numpy()) != self.sha256:
            raise PpcdError(f"the labels or hashes in {self.directory} are not those that were written; {AGAIN}")
        with tqdm(total=len(self.images), desc="verifying", unit="image", disable=None) as bar:
            for place in range(len(self.images)):
                if hashlib.sha256(self.images[place].numpy().data).digest() != digests[place].tobytes():
                    damaged.append(place)
                bar.update()
        return damaged

    def _digests(self) -> UInt8[np.ndarray, "n 32"]:
        found = b"".join(_reader(self.directory).parts("digests"))
        return np.frombuffer(found, np.uint8).reshape(-1, 32)


class DamagedError(PpcdError):
    """What is there is not what was written, or something else: only making it again helps."""


AGAIN = "delete it, and `python -m ppcd.data.prepare` makes it again from the original images"
FOREIGN = "holds an LMDB database, but not images prepared by `python -m ppcd.data.prepare`"


def is_store(folder: Path) -> bool:
    """Whether a folder holds prepared images rather than a folder of images per class."""
    return (folder / "data.mdb").is_file()


def open_store(directory: Path) -> Store:
    """Open a finished store. Nothing is written: it can lie on a disk that is read-only.

    Raises:
        DamagedError: it is damaged, or no store.
        PpcdError: it is not there, cannot be opened, is of another version, or its preparation was not finished.
    """
    directory = directory.resolve()
    reader = _reader(directory)
    about, finished = reader.json("about"), reader.json("finished")
    if about.get("format") != FORMAT:
        raise DamagedError(f"{directory} {FOREIGN}")
    if about["version"] != VERSION:
        raise PpcdError(f"{directory} was prepared by another version ({about['version']}, not {VERSION}); {AGAIN}")
    if not finished:
        raise PpcdError(
            f"the preparation of {directory} was not finished; `python -m ppcd.data.prepare` goes on with it"
        )
    labels = torch.frombuffer(bytearray(b"".join(reader.parts("labels"))), dtype=torch.int64)
    if not len(labels) == finished["images"] == reader.count():
        raise DamagedError(f"{directory} is damaged: it lacks some of its {finished['images']} images; {AGAIN}")
    images = StoredImages(directory, about["resolution"], torch.arange(len(labels)))
    return Store(
        directory, about["identity"], tuple(about["classes"]), images, labels,
        finished["sha256"], finished["note"], about["files"],
    )  # fmt: skip


def content_hash(digests: bytes, labels: np.ndarray) -> str:
    """SHA-256 (64 hex) of the images' own SHA-256 hashes in their order, followed by the labels as int64."""
    whole = hashlib.sha256(digests)
    whole.update(labels.astype("<i8").tobytes())
    return whole.hexdigest()


def key(place: int) -> bytes:
    """Of an image in the database `images`."""
    return place.to_bytes(8, "big")


class Database:
    """The two databases of a store, open.

    For reading it takes no locks, since nobody writes into a finished store: so it can lie on a read-only disk, and a
    forked process may go on using it.

    Args:
        directory: the store.
        map_size: the most bytes that it may grow to, for writing; None opens a store that is there for reading.

    Raises:
        DamagedError: it is damaged, or no store.
        PpcdError: the system does not let it be read.
        lmdb.Error: or written.
    """

    def __init__(self, directory: Path, map_size: int | None = None) -> None:
        self.directory, writing = directory, map_size is not None
        try:
            self.environment = lmdb.open(
                str(directory), map_size or 0, readonly=not writing, lock=writing, create=writing, max_dbs=2
            )
        except lmdb.InvalidError as error:
            raise DamagedError(f"{directory} is damaged ({one_line(error)}); {AGAIN}") from None
        except lmdb.Error as error:
            if writing:
                raise
            raise PpcdError(f"the prepared images in {directory} cannot be opened ({one_line(error)})") from None
        try:
            size = os.path.getsize(directory / "data.mdb")
            pages, page = self.environment.info()["last_pgno"] + 1, self.environment.stat()["psize"]
            if size < pages * page:  # reading behind the end would be a bus error
                raise DamagedError(f"{directory} is damaged: {size} of {pages * page} bytes are there; {AGAIN}")
            self.images = self.environment.open_db(b"images", create=writing)
            self.meta = self.environment.open_db(b"meta", create=writing)
        except BaseException as error:
            self.environment.close()
            if isinstance(error, lmdb.NotFoundError | lmdb.IncompatibleError):
                raise DamagedError(f"{directory} {FOREIGN}") from None
            raise

    def close(self) -> None:
        self.environment.close()

    def copy(self, places: list[int], out: UInt8[np.ndarray, "k 3 h w"]) -> None:
        """Copy the images at these places into `out`.

        Raises:
            PpcdError: there is none at one of them.
        """
        try:
            with self.environment.begin(self.images, buffers=True) as transaction:
                for image, place in zip(out, places, strict=True):
                    value = transaction.get(key(place))
                    if value is None or len(value) != image.nbytes:
                        raise PpcdError(f"{self.directory} is damaged: it has no image {place}; {AGAIN}")
                    image[...] = np.frombuffer(value, np.uint8).reshape(image.shape)
        except lmdb.Error as error:
            raise PpcdError(f"{self.directory} is damaged ({one_line(error)}); {AGAIN}") from None

    def json(self, name: str) -> dict[str, Any]:
        """A value of `meta`, {} where there is none."""
        with self.environment.begin(self.meta) as transaction:
            return json.loads(transaction.get(name.encode(), b"{}"))

    def parts(self, name: str) -> list[bytes]:
        """The values of `<name>-<part>` in `meta`, in the order of the parts."""
        prefix = f"{name}-".encode()
        with self.environment.begin(self.meta) as transaction, transaction.cursor() as cursor:
            rest = iter(cursor) if cursor.set_range(prefix) else iter(())
            return [value for _, value in takewhile(lambda item: item[0].startswith(prefix), rest)]

    def count(self) -> int:
        """How many images there are."""
        with self.environment.begin() as transaction:
            return transaction.stat(self.images)["entries"]


# LMDB must not open a file twice in one process.
_READERS: WeakValueDictionary[tuple[int, int], Database] = WeakValueDictionary()
_OPENING = threading.Lock()


def _reader(directory: Path) -> Database:
    """The process's reader of this store.

    Raises:
        DamagedError, PpcdError: as Database, or there is no store.
    """
    try:
        about = os.stat(directory / "data.mdb")
    except OSError:
        raise PpcdError(f"there are no prepared images at {directory}; was the folder moved?") from None
    if about.st_size == 0:
        raise DamagedError(f"{directory} is damaged: data.mdb is empty; {AGAIN}")
    with _OPENING:
        reader = _READERS.get((about.st_dev, about.st_ino))
        if reader is None:
            reader = _READERS[about.st_dev, about.st_ino] = Database(directory)
        return reader


def one_line(error: Exception) -> str:
    """What an error says, or its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
