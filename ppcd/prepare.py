"""Prepare ImageNet, or any folder of class folders, for training: `python -m ppcd.data.prepare FOLDER`.

Training does it by itself where it was not done. By hand it can be done beforehand, on another machine or with other
settings, and be checked and timed. PPCD_DATA may then point at the prepared images, and the originals can go.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import torch

from ppcd.base import PpcdError, seeded
from ppcd.data.batches import BatchSampler
from ppcd.data.filling import SKIPPED, get_store
from ppcd.data.images import ImageSet
from ppcd.data.sets import folders, source_folder
from ppcd.data.store import AGAIN, Store, is_store, open_store
from ppcd.errors import ArgumentParser, run_command

SECONDS = 10.0  # of each measurement
BATCH = 128
RESOLUTION = 128  # the paper's


def time_decoding(folder: Path, resolution: int, seconds: float) -> float:
    """Original images decoded and resized per second on one core, the files in random order."""
    names = [name for files in folders.class_files(folder).values() for name in files]
    order = torch.randperm(len(names), generator=seeded(0)).tolist()
    with _one_core():
        began, count = time.perf_counter(), 0
        for number in cycle(order):
            with suppress(Exception):  # of those that were skipped; they take their time as well
                folders.decode(folder / names[number], resolution)
            count += 1
            if time.perf_counter() - began > seconds:
                break
        return count / (time.perf_counter() - began)


def time_reading(store: Store, seconds: float) -> float:
    """Prepared images per second on one core, in random order, as training gets them: as numbers, in batches."""
    data = ImageSet(store.images, store.labels, store.classes, store.identity, store.sha256, store.note)
    with _one_core():
        sampler = BatchSampler(data, BATCH, seeded(0))
        next(sampler)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            next(sampler)
            count += BATCH
        return count / (time.perf_counter() - began)


@contextmanager
def _one_core() -> Iterator[None]:
    """All threads on one core, where the system can do that; torch with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if allowed:
        os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd.data.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of class folders, or with them in its `train`; default: PPCD_DATA")
    parser.add_argument("--resolution", type=int, help=f"height and width in pixels; default: {RESOLUTION}")
    parser.add_argument("--workers", type=int, help="processes that decode; default: one a core")
    parser.add_argument("--verify", action="store_true", help="read everything back and compare it with its hashes")
    parser.add_argument("--time", action="store_true", help="images per second on one core, originals and prepared")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    return run_command(lambda: _command(options), "the same command goes on where it was")


def _command(options: argparse.Namespace) -> None:
    resolution = options.resolution
    if resolution is not None and resolution < 1:
        raise PpcdError(f"the resolution must be positive; got {resolution}")
    folder = source_folder("imagenet", options.folder)
    if folder is None:
        raise ValueError("imagenet has no images of its own")
    if options.time and is_store(folder):
        raise PpcdError("--time compares with the original images, which prepared ones lack; give their folder")
    if resolution is None:
        resolution = open_store(folder).images.resolution if is_store(folder) else RESOLUTION
    store = get_store(folder, resolution, options.workers)
    print(f"prepared images: {store.directory} ({store.size / 1e9:.2f} GB)")
    print(f"images: {len(store.labels)} of {len(store.classes)} classes, {store.images.resolution} px")
    skipped = store.files - len(store.labels)
    print(f"skipped files: {skipped}" + (f" (see {store.directory / SKIPPED})" if skipped else ""))
    print(f"identity: {store.identity}\nsha256: {store.sha256}")
    if options.verify:
        damaged = store.verify()
        if damaged:
            places = folders.some([str(place) for place in damaged])
            raise PpcdError(f"{len(damaged)} images in {store.directory} are damaged (number {places}); {AGAIN}")
        print("verified: every image is what was written")
    if options.time:
        decoding, reading = time_decoding(folder, resolution, SECONDS), time_reading(store, SECONDS)
        print(f"decoding and resizing the originals: {decoding:.0f} images/s on one core")
        print(f"reading prepared images: {reading:.0f} images/s on one core, in random order, as batches of {BATCH}")
        print(f"ratio: {reading / decoding:.1f}")


if __name__ == "__main__":
    sys.exit(main())
