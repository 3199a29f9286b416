"""Folders of class folders of images: what is in them, and their images decoded to one size."""

import hashlib
import itertools
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ppcd import paths
from ppcd.base import PpcdError, needs

log = logging.getLogger(__name__)

JUNK = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}  # of archives, file servers and desktops; hidden files too
NO_IMAGE = "add some that can, or remove the folder"
RECENT = 60  # seconds

ClassFiles = dict[str, list[str]]


@cache
def suffixes() -> set[str]:
    """Of the files that Pillow reads."""
    with needs("data"):
        from PIL import Image
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def class_names(folder: Path) -> list[str]:
    """The names of the class folders, sorted."""
    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and not _is_junk(each.name))
    if len(names) < 2:
        found = f"only {names[0]}" if names else "none"
        raise PpcdError(f"expected at least two folders of images, one per class, in {folder}; found {found}")
    return names


def class_files(folder: Path) -> ClassFiles:
    """Class name -> its images, as sorted paths relative to `folder`; strings, since a data set has many files.

    Raises:
        PpcdError: fewer than two class folders, one without images, or a name that is not UTF-8.
    """
    classes = {
        name: sorted(file for file in _files_below(folder / name, folder) if _suffix(file) in suffixes())
        for name in class_names(folder)
    }
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise PpcdError(f"no images in class folder {some(empty)} of {folder}; add some or remove the folder")
    return classes


def digest(folder: Path, classes: ClassFiles) -> str:
    """SHA-256 of the images' relative names and bytes: the same for the same images on every machine.

    The bytes are read once for as long as the files' names, sizes and times stay the same.
    """
    files = [name for names in classes.values() for name in names]
    seen = hashlib.sha256(f"{folder.resolve()} {listing(folder, classes, times=True)}".encode())
    known = paths.cache() / "data" / f"listing-{seen.hexdigest()[:32]}.txt"
    if known.is_file():
        return known.read_text().strip()
    content_hash = hashlib.sha256()
    for name in tqdm(files, desc=f"reading {len(files):,} files", unit="file", disable=None, leave=False):
        try:
            content = (folder / name).read_bytes()
        except OSError:
            content = b""  # `prepare` warns of it
        content_hash.update(f"{name}\0{len(content)}\0".encode() + content)
    paths.write_atomic(known, content_hash.hexdigest() + "\n")
    return content_hash.hexdigest()


def listing(folder: Path, classes: ClassFiles, times: bool = False) -> str:
    """SHA-256 of the images' relative names and sizes, for folders with too many files to read them all."""
    content_hash = hashlib.sha256()
    for name in itertools.chain.from_iterable(classes.values()):
        try:
            stat = os.stat(f"{folder}/{name}")
            about = f"{stat.st_size}\0{stat.st_mtime_ns}" if times else f"{stat.st_size}"
        except OSError:
            about = "-1"
        content_hash.update(f"{name}\0{about}\n".encode())
    return content_hash.hexdigest()


def remembered(naming: Callable[[Path, ClassFiles], str], folder: Path) -> tuple[str, dict[str, int]]:
    """`digest` or `listing` of the folder and the number of files of each class, remembered for up to a minute.

    Looking at the times of 50,000 files takes half a second, and tables and figures ask for hundreds of runs. A file
    that is added to a class folder, removed or renamed is noticed at once, one whose content changes a minute later.

    Raises:
        PpcdError: as class_files.
    """
    changed = tuple((folder / name).stat().st_mtime_ns for name in class_names(folder))
    return _name_of(naming, folder.resolve(), changed, int(time.monotonic() // RECENT))


@lru_cache(maxsize=4)
def _name_of(
    naming: Callable[[Path, ClassFiles], str], folder: Path, changed: tuple[int, ...], minute: int
) -> tuple[str, dict[str, int]]:
    classes = class_files(folder)
    return naming(folder, classes), {name: len(files) for name, files in classes.items()}


def prepare(folder: Path, resolution: int) -> dict[str, Any]:
    """Decode every image of the class folders; files that cannot be read are skipped with one warning line.

    Returns:
        images [n, 3, resolution, resolution] uint8, labels [n] int64, classes (names), note (text), as numpy.
    """
    classes = class_files(folder)
    files = [(label, name) for label, names in enumerate(classes.values()) for name in names]
    images = np.empty((len(files), 3, resolution, resolution), np.uint8)
    labels: list[int] = []
    unreadable: list[str] = []
    jpegs = 0
    for label, name in tqdm(files, desc=f"preparing {len(files):,} images", unit="image", disable=None):
        try:
            with warnings.catch_warnings(action="ignore"):  # of odd metadata, on which no pixel depends
                images[len(labels)], kind = decode(folder / name, resolution)
        except PpcdError:
            raise
        except Exception:  # decoders raise all sorts of things on damaged files
            unreadable.append(name)
        else:
            labels.append(label)
            jpegs += kind == "JPEG"
    lost = [name for label, name in enumerate(classes) if label not in set(labels)]
    if lost:
        raise PpcdError(f"no image can be read in class folder {some(lost)} of {folder}; {NO_IMAGE}")
    notes = ["JPEG source"] if jpegs > len(labels) / 2 else []
    files_below = (file for name in classes for file in _files_below(folder / name, folder))
    if others := sum(_suffix(file) not in suffixes() for file in files_below):
        notes.append(f"passed over {others} files that are no images")
    if unreadable:
        skipped = f"skipped {len(unreadable)} unreadable of {len(files)} images"
        log.warning("%s in %s: %s", skipped, folder, some(unreadable))
        notes.append(skipped)
    return {
        "images": images[: len(labels)],
        "labels": np.array(labels, np.int64),
        "classes": np.array(list(classes)),
        "note": np.array("; ".join(notes)),
    }


def decode(path: Path, resolution: int) -> tuple[np.ndarray, str | None]:
    """One image as uint8 [3, resolution, resolution], and the format of its file.

    Greyscale, palette and CMYK become RGB; another size is cropped around the centre to a square and resized
    by an antialiasing (Lanczos) filter.

    Raises:
        PpcdError: it is transparent in places, has floating-point pixels, or a side under resolution/4.
        Exception: of many kinds, where the file is damaged.
    """
    with needs("data"):
        from PIL import Image, ImageOps
    with Image.open(path) as opened:
        image, kind = ImageOps.exif_transpose(opened), opened.format
    if image.mode == "F":
        raise PpcdError(f"{path} has floating-point pixels; make it an 8-bit image or remove it")
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip instead of scale
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise PpcdError(f"{path} is transparent in places; put it on a background or remove it")
    if min(image.size) < resolution / 4:
        raise PpcdError(f"{path} is too small for {resolution} px ({image.width}x{image.height}); remove it")
    image = image.convert("RGB")
    if image.size != (resolution, resolution):
        image = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1), kind


def some(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _files_below(class_folder: Path, folder: Path) -> Iterator[str]:
    """Paths relative to `folder` of all files of a class but junk; links to directories are not followed."""
    for top, below, files in os.walk(class_folder):
        below[:] = [name for name in below if not _is_junk(name)]
        for link in (Path(top, name) for name in below if os.path.islink(f"{top}/{name}")):
            if not (target := link.resolve()).is_relative_to(class_folder.resolve()):  # else it is found where it is
                log.warning("%s leads out of its class folder, to %s, and is not followed", link, target)
        relative = os.path.relpath(top, folder).replace(os.sep, "/")
        for file in files:
            if _is_junk(file):
                continue
            try:
                f"{relative}/{file}".encode()
            except UnicodeEncodeError:
                name = ascii(f"{relative}/{file}")
                raise PpcdError(f"{name} has a name that is not UTF-8; rename it") from None
            yield f"{relative}/{file}"


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in JUNK


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
