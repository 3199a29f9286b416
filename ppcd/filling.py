"""Filling a store: every image of a folder of class folders, decoded once, by all cores, resumably.

The files are taken in the order of their names, in parts of some hundred. A part is one transaction of LMDB, on the
disk or not at all: a preparation that was killed goes on behind its last part, and every key and value is what it
would have been in one go, with any number of processes. It works under a temporary name, so a store that is there is
whole.
"""

import hashlib
import json
import logging
import mmap
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ppcd import locks, paths
from ppcd.base import PpcdError, seeded
from ppcd.data.sets import folders
from ppcd.data.store import (
    AGAIN,
    FORMAT,
    VERSION,
    DamagedError,
    Database,
    Store,
    content_hash,
    is_store,
    key,
    one_line,
    open_store,
)

log = logging.getLogger(__name__)

GROUP = 16  # files that a process decodes at a time
PART = 512  # files of a transaction, at most
PART_BYTES = 2**24  # of their images, at most, down to one group
SKIPPED = "skipped.txt"


class Decoded(NamedTuple):
    """What became of a group of files."""

    files: list[int]  # the numbers of those that could be read
    pixels: list[bytes]  # uint8 [3, resolution, resolution] of each
    digests: list[bytes]  # their SHA-256
    skipped: list[tuple[str, str]]  # the other files: name, reason


def store_identity(folder: Path) -> str:
    """ "imagenet-<12 hex>" of a folder of class folders, or of the one from which a store was made.

    Raises:
        PpcdError: as `folders.listing` and `open_store`.
    """
    return open_store(folder).identity if is_store(folder) else f"imagenet-{folders.listing(folder)[:12]}"


def get_store(folder: Path, resolution: int, workers: int | None = None) -> Store:
    """The prepared images of a folder of class folders: kept under `paths.cache()`, prepared where they are missing.

    Args:
        folder: the class folders; or a store itself, which may have been moved from where it was made.
        resolution: height and width in pixels.
        workers: processes that decode; None is one a core, 1 is this one.

    Raises:
        PpcdError: a folder that cannot serve, a store of another resolution, a full disk; nothing that was prepared
            is lost.
    """
    if workers is not None and workers < 1:
        raise PpcdError(f"at least one worker is needed; got {workers}")
    if is_store(folder):
        store = open_store(folder)
        if store.images.resolution != resolution:
            raise PpcdError(
                f"the images in {folder} were prepared at {store.images.resolution} px, not {resolution}; "
                "give the folder of the original images"
            )
        return store
    identity = store_identity(folder)
    path = paths.cache() / "data" / f"{identity}-{resolution}px-v{VERSION}.lmdb"
    if path.is_dir():
        try:
            return open_store(path)
        except DamagedError:
            pass  # looked at again by the one process that may replace it
    with locks.alone(path.with_suffix(".lock"), f"prepares the images of {folder}"):
        if path.is_dir():
            try:
                return open_store(path)
            except DamagedError as error:
                log.warning("%s; it is made again now", str(error).removesuffix(f"; {AGAIN}"))
        _fill(folder, path, identity, resolution, cores() if workers is None else workers)
    return open_store(path)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fill(folder: Path, path: Path, identity: str, resolution: int, workers: int) -> None:
    """Make the store at `path`, or go on making it; what is there is damaged."""
    partial = path.with_suffix(".partial")
    try:
        if path.is_dir():
            shutil.rmtree(path)
        with closing(_Filling(folder, partial, identity, resolution)) as filling:
            filling.check()
            filling.decode(workers)
            skipped = filling.finish()
        (partial / "lock.mdb").unlink(missing_ok=True)
        os.replace(partial, path)
    except (lmdb.Error, OSError) as error:
        raise PpcdError(
            f"the prepared images cannot be written to {path.parent} ({one_line(error)}); those that are there are "
            "kept: make room, and the same command goes on"
        ) from None
    if skipped:
        few = folders.some([name for name, _ in skipped])
        log.warning(
            "skipped %d of %d images in %s: %s; see %s", len(skipped), len(filling.names), folder, few, path / SKIPPED
        )


class _Filling:
    """A store that is being filled.

    Args:
        folder: the class folders.
        directory: where the store is made; what is there is kept where it is of the same images.
        identity, resolution: of the images.
    """

    def __init__(self, folder: Path, directory: Path, identity: str, resolution: int) -> None:
        self.folder, self.directory, self.resolution = folder, directory, resolution
        self.classes = folders.class_files(folder)
        self.names = [name for files in self.classes.values() for name in files]
        self.labels = np.repeat(
            np.arange(len(self.classes), dtype="<i8"), [len(files) for files in self.classes.values()]
        )
        image = 3 * resolution**2
        self.part = min(PART, max(GROUP, PART_BYTES // image // GROUP * GROUP))
        self.room = -(-(image + 16) // mmap.PAGESIZE) * mmap.PAGESIZE  # of an image: whole pages, with LMDB's header
        about = {
            "format": FORMAT, "version": VERSION, "identity": identity, "resolution": resolution,
            "classes": list(self.classes), "files": len(self.names),
        }  # fmt: skip
        self.database = self._open(about)
        self.done = min(len(self.database.parts("labels")) * self.part, len(self.names))  # files that were looked at

    def _open(self, about: dict[str, object]) -> Database:
        """The databases; what is there is deleted where it is damaged or of something else."""
        size = 2 * self.room * len(self.names) + 2**28  # of the address space; the file grows as it is filled
        self.directory.mkdir(exist_ok=True)
        try:
            database = Database(self.directory, size)
            if database.json("about") == about:
                return database
            database.close()
        except DamagedError:
            pass
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        database = Database(self.directory, size)
        with database.environment.begin(database.meta, write=True) as transaction:
            transaction.put(b"about", json.dumps(about).encode())
        return database

    def close(self) -> None:
        self.database.close()

    def check(self) -> None:
        """Find out at once, rather than in hours, what the preparation would fail of.

        Raises:
            PpcdError: a class of which nothing can be read, or too little room on the disk.
        """
        needed, free = self.room * (len(self.names) - self.done), shutil.disk_usage(self.directory).free
        if needed > free:
            raise PpcdError(
                f"the prepared images need {needed / 1e9:.1f} GB more in {self.directory.parent}, which has "
                f"{free / 1e9:.1f} GB; make room, or set PPCD_CACHE to a directory on a larger disk"
            )
        if self.done == 0:
            lost = [name for name, files in self.classes.items() if not any(map(self._can_serve, files))]
            if lost:
                raise PpcdError(
                    f"no image can be read in class folder {folders.some(lost)} of {self.folder}; {folders.NO_IMAGE}"
                )

    def _can_serve(self, name: str) -> bool:
        return not _decode([(0, name)], self.folder, self.resolution).skipped

    def decode(self, workers: int) -> None:
        """Decode the files that are left, and write them part by part.

        Raises:
            PpcdError: a process that decodes was ended.
        """
        groups = range(self.done, len(self.names), GROUP)
        workers = min(workers, len(groups))
        loader: DataLoader[Decoded] = DataLoader(
            _Groups(self.folder, self.names, self.resolution),
            batch_size=None,
            sampler=groups,
            num_workers=workers if workers > 1 else 0,
            collate_fn=_as_it_is,
            worker_init_fn=_end_with_parent,
            generator=seeded(0),  # else the global one, which is the user's
        )
        decoded = iter(loader)
        total = len(self.names)
        with tqdm(total=total, initial=self.done, desc="preparing", unit="image", disable=None) as bar:
            try:
                for start in range(self.done, total, self.part):
                    count = min(self.part, total - start)
                    self._write(start // self.part, islice(decoded, -(-count // GROUP)))
                    bar.update(count)
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker"):
                    raise
                raise PpcdError(
                    f"a process that decodes images was ended ({one_line(error)}); the images that were prepared are "
                    "kept, and the same command, with fewer workers if memory is short, goes on"
                ) from None

    def _write(self, part: int, groups: Iterable[Decoded]) -> None:
        """One transaction: the images of a part and what is to be known of them."""
        database, place = self.database, self.database.count()
        files: list[int] = []
        digests: list[bytes] = []
        skipped: list[tuple[str, str]] = []
        with database.environment.begin(write=True) as transaction:
            for group in groups:
                for pixels in group.pixels:
                    transaction.put(key(place), pixels, append=True, db=database.images)
                    place += 1
                files += group.files
                digests += group.digests
                skipped += group.skipped
            found = {
                "labels": self.labels[files].tobytes(),
                "digests": b"".join(digests),
                "skipped": json.dumps(skipped).encode(),
            }
            for name, value in found.items():
                transaction.put(f"{name}-{part:08d}".encode(), value, db=database.meta)

    def finish(self) -> list[tuple[str, str]]:
        """Write what is known of the whole. Returns the files that were skipped, with the reasons."""
        database = self.database
        labels = np.frombuffer(b"".join(database.parts("labels")), "<i8")
        skipped = [tuple(each) for part in database.parts("skipped") for each in json.loads(part)]
        if skipped:
            lines = [f"{name}\t{reason}\n" for name, reason in skipped]
            paths.write_atomic(self.directory / SKIPPED, "".join(lines))
        finished = {
            "images": len(labels),
            "sha256": content_hash(b"".join(database.parts("digests")), labels),
            "note": f"skipped {len(skipped)} of {len(self.names)} images" if skipped else "",
        }
        with database.environment.begin(database.meta, write=True) as transaction:
            transaction.put(b"finished", json.dumps(finished).encode())
        return skipped


class _Groups(Dataset[Decoded]):
    """Groups of files, decoded when they are asked for by their first file's number."""

    def __init__(self, folder: Path, names: list[str], resolution: int) -> None:
        self.folder, self.names, self.resolution = folder, names, resolution

    def __getitem__(self, start: int) -> Decoded:
        return _decode(list(enumerate(self.names[start : start + GROUP], start)), self.folder, self.resolution)


def _decode(group: list[tuple[int, str]], folder: Path, resolution: int) -> Decoded:
    decoded = Decoded([], [], [], [])
    for number, name in group:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata, on which no pixel depends
                pixels = folders.decode(folder / name, resolution)[0].tobytes()
        except Exception as error:  # decoders raise all sorts of things on damaged files
            decoded.skipped.append((name, one_line(error).replace(f"{folder}/", "")))
        else:
            decoded.files.append(number)
            decoded.pixels.append(pixels)
            decoded.digests.append(hashlib.sha256(pixels).digest())
    return decoded


def _as_it_is(decoded: Any) -> Any:
    return decoded


def _end_with_parent(_: int) -> None:
    """End this process when the one that started it is gone, which else it would hold up: it shares its lock."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
