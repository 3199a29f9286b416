"""Folders of class folders of images: what is in them, and their images decoded to one size."""

import hashlib
import json
import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from ppcd import paths
from ppcd.base import PpcdError

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
RGB = "RGB"
COLOURS = {RGB: RGB, "RGBA": RGB, "1": "greyscale", "L": "greyscale", "LA": "greyscale", "P": "palette", "CMYK": "CMYK"}
COLOURS |= dict.fromkeys(("I", "I;16", "I;16B", "I;16L"), "greyscale")  # of 16 bits
NO_IMAGE = "add some that can, or remove the folder"
MOST_PIXELS = 2**30 // 12  # of an image: what Pillow warns of as a decompression bomb
RECENT = 60  # seconds
SETTLED = 2 * 10**9  # nanoseconds after which a directory's time shows a further change, on any file system


def class_names(folder: Path) -> list[str]:
    """The names of the class folders, sorted.

    Raises:
        PpcdError: fewer than two.
    """
    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if len(names) < 2:
        found = f"only {names[0]}" if names else "none"
        raise PpcdError(f"expected at least two folders of images, one per class, in {folder}; found {found}")
    return names


def class_files(folder: Path) -> dict[str, list[str]]:
    """Class name -> its images, as sorted paths relative to `folder`.

    Raises:
        PpcdError: fewer than two class folders, or one without images.
    """
    classes = {name: _images_below(folder / name, folder) for name in class_names(folder)}
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise PpcdError(f"no images in class folder {some(empty)} of {folder}; add some or remove the folder")
    return classes


def digest(folder: Path) -> str:
    """SHA-256 of the images' relative names and bytes: the same for the same images on every machine.

    The bytes are read once for as long as the files' names, sizes and times stay the same.

    Raises:
        PpcdError: as class_files.
    """
    files = [name for names in class_files(folder).values() for name in names]
    listing = hashlib.sha256(str(folder.resolve()).encode())
    for name in files:
        try:
            stat = os.stat(f"{folder}/{name}")
            listing.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError:
            listing.update(f"{name}\0unreadable\n".encode())
    known = paths.cache() / "data" / f"listing-{listing.hexdigest()[:32]}.txt"
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


@dataclass(frozen=True)
class _Seen:
    """A digest, when it was taken, and the directories' times then."""

    digest: str
    at: float
    directories: dict[str, int]


_seen: dict[Path, _Seen] = {}


def digest_lately(folder: Path) -> str:
    """`digest`, or what it was less than a minute ago in this process, if no file was added, removed or renamed since.

    To look at the times of 50,000 files takes half a second, and tables and figures ask for hundreds of runs. A file
    that is written anew in its place is noticed a minute later here.

    Raises:
        PpcdError: as class_files.
    """
    place = folder.resolve()
    known = _seen.get(place)
    if known is not None and time.monotonic() - known.at < RECENT and _unchanged(place, known.directories):
        return known.digest
    began = time.time_ns()
    directories = _directories(place)
    found = digest(folder)
    if max(directories.values()) < began - SETTLED:
        _seen[place] = _Seen(found, time.monotonic(), directories)
    return found


def _directories(folder: Path) -> dict[str, int]:
    """All directories, relative to `folder`, and when something was last added, removed or renamed in them."""
    tops = [top for top, _, _ in os.walk(folder, followlinks=True)]
    return {os.path.relpath(top, folder): os.stat(top).st_mtime_ns for top in tops}


def _unchanged(folder: Path, directories: dict[str, int]) -> bool:
    try:
        return all(os.stat(folder / name).st_mtime_ns == changed for name, changed in directories.items())
    except OSError:  # one is gone
        return False


def listing(folder: Path) -> str:
    """SHA-256 of the images' relative names and sizes, for folders with too many files to read them all.

    It is known again for as long as no file is added, removed or renamed (which the times of the directories tell); a
    file that is written anew in its place is not noticed.

    Raises:
        PpcdError: as class_files.
    """
    began = time.time_ns()
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    known = paths.cache() / "data" / f"directories-{place}.json"
    try:
        stored = json.loads(known.read_text())
        if _unchanged(folder, stored["directories"]):
            return str(stored["sizes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not known, or damaged
    directories = _directories(folder)
    sizes = hashlib.sha256()
    for names in class_files(folder).values():
        for name in names:
            try:
                size = os.stat(f"{folder}/{name}").st_size
            except OSError:
                size = -1
            sizes.update(f"{name}\0{size}\n".encode())
    if max(directories.values()) < began - SETTLED:
        stored = {"directories": directories, "sizes": sizes.hexdigest()}
        paths.write_atomic(known, json.dumps(stored))
    return sizes.hexdigest()


def prepare(folder: Path, resolution: int) -> dict[str, Any]:
    """Decode every image of the class folders; files that cannot be read are skipped with one warning line.

    Returns:
        images [n, 3, resolution, resolution] uint8, labels [n] int64, classes (names), note (text), as numpy.

    Raises:
        PpcdError: as class_files; a class of which nothing can be read; an image that cannot serve as it is.
    """
    classes = class_files(folder)
    files = [(label, name) for label, names in enumerate(classes.values()) for name in names]
    images = np.empty((len(files), 3, resolution, resolution), np.uint8)
    labels: list[int] = []
    formats: list[str | None] = []
    unreadable: list[str] = []
    converted: Counter[str] = Counter()
    for label, name in tqdm(files, desc=f"preparing {len(files):,} images", unit="image", disable=None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata, on which no pixel depends
                image, kind, colours = _read(folder / name)
                images[len(labels)] = _fit(folder / name, image, resolution)
        except PpcdError:
            raise
        except Exception:  # decoders raise all sorts of things on damaged files
            unreadable.append(name)
        else:
            labels.append(label)
            formats.append(kind)
            converted[colours] += 1
    lost = [name for label, name in enumerate(classes) if label not in set(labels)]
    if lost:
        raise PpcdError(f"no image can be read in class folder {some(lost)} of {folder}; {NO_IMAGE}")
    notes = ["JPEG source"] if formats.count("JPEG") > len(formats) / 2 else []
    others = [f"{count} {colours}" for colours, count in sorted(converted.items()) if colours != RGB]
    if others:
        log.info("made RGB of %s images in %s", ", ".join(others), folder)
        notes.append(f"{', '.join(others)} made RGB")
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
        PpcdError: it is transparent in places, has floating-point pixels, a side under resolution/4, or so many pixels
            that it may be a decompression bomb.
        Exception: of many kinds, where the file is damaged.
    """
    image, kind, _ = _read(path)
    return _fit(path, image, resolution), kind


def _read(path: Path) -> tuple[Image.Image, str | None, str]:
    """The image in RGB, the format of its file, and its colours as they were. Errors as `decode`."""
    try:
        opened = Image.open(path)
    except Image.DecompressionBombError:
        raise _bomb(path) from None
    with opened:
        if opened.width * opened.height > MOST_PIXELS:  # known from the header: nothing was decoded yet
            raise _bomb(path)
        colours = COLOURS.get(opened.mode, f"{opened.mode} mode")
        image, kind = ImageOps.exif_transpose(opened), opened.format
    if image.mode == "F":
        raise PpcdError(f"{path} has floating-point pixels; make it an 8-bit image or remove it")
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip instead of scale
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise PpcdError(f"{path} is transparent in places; put it on a background or remove it")
    return image.convert("RGB"), kind, colours


def _bomb(path: Path) -> PpcdError:
    return PpcdError(
        f"{path} has more than {MOST_PIXELS:,} pixels and may be a decompression bomb; make it smaller or remove it"
    )


def _fit(path: Path, image: Image.Image, resolution: int) -> np.ndarray:
    """Cropped and resized, as uint8 [3, resolution, resolution]. Errors as `decode`."""
    if min(image.size) < resolution / 4:
        raise PpcdError(f"{path} is too small for {resolution} px ({image.width}x{image.height}); remove it")
    if image.size != (resolution, resolution):
        image = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1)


def some(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _images_below(class_folder: Path, folder: Path) -> list[str]:
    """Paths relative to `folder`, sorted; as plain strings, since a data set has many files."""
    found = []
    for top, _, files in os.walk(class_folder, followlinks=True):
        below = os.path.relpath(top, folder).replace(os.sep, "/")
        for file in files:
            if os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith("."):
                found.append(f"{below}/{file}")
    return sorted(found)
