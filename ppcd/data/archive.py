"""Images decoded once and kept on disk as one memory-mapped array, for data sets that do not fit into memory.

An archive is a directory of two files; ImageNet's 1.28 million images take 63 GB at 128 px:

    images.bin     uint8 [n, 3, resolution, resolution] without a header, in the order of classes and file names
    archive.json   source, resolution, number of images per class, skipped files, SHA-256 of each part of the images

It is made under a temporary name, part by part. `parts.jsonl` records a part once its pixels are on disk, so a
preparation that was killed continues after its last part.
"""

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ppcd import locks, paths
from ppcd.base import PpcdError, cores
from ppcd.data import folders
from ppcd.data.images import ImageSet

log = logging.getLogger(__name__)

FORMAT = "ppcd archive"
VERSION = 2  # raised when an image is prepared or kept differently: older archives are then not used
PART = 256  # files
IMAGES, ABOUT, PARTS = "images.bin", "archive.json", "parts.jsonl"
AGAIN = "delete the folder, and `python -m ppcd prepare` makes it again from the original images"


@dataclass(frozen=True, kw_only=True)
class Archive(ImageSet):
    """The images of a complete archive, open for reading; their sha256 is of the hashes of all parts."""

    directory: Path
    skipped: dict[str, str]  # file -> why it could not serve
    parts: list[list[Any]]  # number of images, their SHA-256

    def damaged(self) -> list[str]:
        """Read everything and compare it with the recorded hashes; the damaged parts, as "first-last" image."""
        found, start = [], 0
        for count, digest in tqdm(self.parts, desc="verifying", unit="part", disable=None):
            if hashlib.sha256(self.images[start : start + count].numpy().tobytes()).hexdigest() != digest:
                found.append(f"{start}-{start + count - 1}")
            start += count
        return found


def is_archive(folder: Path) -> bool:
    """Whether a folder holds prepared images rather than a folder of images per class."""
    return (folder / ABOUT).is_file()


def archive_identity(folder: Path) -> str:
    """ "imagenet-<12 hex>" of a folder of class folders, or of the one from which an archive was made."""
    if is_archive(folder):
        return open_archive(folder).identity
    return f"imagenet-{folders.remembered(folders.listing, folder)[0][:12]}"


def open_archive(directory: Path, resolution: int | None = None) -> Archive:
    """Open an archive, which may lie on a read-only disk. Its sizes are checked here, its pixels by `damaged`.

    Raises:
        PpcdError: it is not there, is damaged, or is of another version or resolution.
    """
    try:
        about = json.loads((directory / ABOUT).read_text())
        size = (directory / IMAGES).stat().st_size
    except OSError as error:
        raise PpcdError(f"the prepared images in {directory} cannot be opened ({_one_line(error)})") from None
    except ValueError:
        about, size = None, 0
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise PpcdError(f"{directory / ABOUT} is damaged, or not of `python -m ppcd prepare`; {AGAIN}")
    if about.get("version") != VERSION:
        raise PpcdError(f"{directory} was prepared by another version ({about.get('version')}, not {VERSION}); {AGAIN}")
    if about.get("sha256") != _content_hash(about):
        raise PpcdError(f"{directory / ABOUT} is damaged: its hash is another; {AGAIN}")

    counts, size_of_each, skipped = list(about["classes"].values()), about["resolution"], about["skipped"]
    if resolution not in (None, size_of_each):
        raise PpcdError(
            f"the images in {directory} were prepared at {size_of_each} px, not {resolution}; "
            "give the folder of the original images"
        )
    shape = (sum(counts), 3, size_of_each, size_of_each)
    if size != np.prod(shape):
        raise PpcdError(f"{directory / IMAGES} is damaged: it has {size} of {np.prod(shape)} bytes; {AGAIN}")
    with warnings.catch_warnings(action="ignore"):  # torch's tensors cannot be read-only, and it says so
        images = torch.from_numpy(np.memmap(directory / IMAGES, np.uint8, "r", shape=shape))
    return Archive(
        images=images,
        labels=torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        classes=tuple(about["classes"]),
        identity=about["identity"],
        sha256=about["sha256"],
        note=f"skipped {len(skipped)} of {len(images) + len(skipped)} images" if skipped else "",
        mapped=True,
        directory=directory,
        skipped=skipped,
        parts=about["parts"],
    )


def get_archive(folder: Path, resolution: int) -> Archive:
    """The prepared images of a folder of class folders: kept under `paths.cache()`, prepared where they are missing.

    The folder may also be an archive itself, which may have been moved from where it was made.

    Raises:
        PpcdError: a folder that cannot serve, an archive of another resolution, a full disk; nothing that was prepared
            is lost.
    """
    if is_archive(folder):
        return open_archive(folder, resolution)
    identity = archive_identity(folder)
    path = paths.cache() / "data" / f"{identity}-{resolution}px-v{VERSION}"
    with locks.alone(path.with_suffix(".lock"), f"prepares the images of {folder}"), paths.writing(path.parent):
        if not path.is_dir():
            _make(folder, path, identity, resolution)
    return open_archive(path)


def _make(folder: Path, path: Path, identity: str, resolution: int) -> None:
    """Make the archive at `path`, or go on making it."""
    classes = folders.class_files(folder)
    names = [name for files in classes.values() for name in files]
    about: dict[str, Any] = {
        "format": FORMAT, "version": VERSION, "identity": identity, "resolution": resolution, "files": len(names)
    }  # fmt: skip
    unfinished = path.with_suffix(".partial")
    parts = _resume(unfinished, about)
    start = len(parts) * PART
    _check_room(unfinished, 3 * resolution**2 * (len(names) - start))

    def decode(name: str) -> bytes | str:
        """The pixels of an image, or why there are none."""
        try:
            return folders.decode(folder / name, resolution)[0].tobytes()
        except Exception as error:  # decoders raise all sorts of things on damaged files
            return _one_line(error).replace(f"{folder}/", "")

    if not parts:  # find a class without a readable image at once, rather than in hours
        lost = [name for name, files in classes.items() if not any(isinstance(decode(file), bytes) for file in files)]
        if lost:
            raise PpcdError(
                f"no image can be read in class folder {folders.some(lost)} of {folder}; {folders.NO_IMAGE}"
            )
    with (
        (unfinished / IMAGES).open("ab") as images,
        (unfinished / PARTS).open("a") as record,
        ThreadPoolExecutor(cores()) as pool,
        warnings.catch_warnings(action="ignore"),  # of odd metadata, on which no pixel depends
        tqdm(total=len(names), initial=start, desc="preparing", unit="image", disable=None) as bar,
    ):
        for first in range(start, len(names), PART):
            some = names[first : first + PART]
            decoded = dict(zip(some, pool.map(decode, some), strict=True))
            readable = [each for each in decoded.values() if isinstance(each, bytes)]
            skipped = {name: each for name, each in decoded.items() if isinstance(each, str)}
            pixels = b"".join(readable)
            images.write(pixels)
            images.flush()
            os.fsync(images.fileno())
            part = {"images": len(readable), "sha256": hashlib.sha256(pixels).hexdigest(), "skipped": skipped}
            record.write(json.dumps(part) + "\n")
            record.flush()
            parts.append(part)
            bar.update(len(some))

    skipped = {name: why for part in parts for name, why in part["skipped"].items()}
    lost_of = Counter(name for name, files in classes.items() for file in files if file in skipped)
    about["classes"] = {name: len(files) - lost_of[name] for name, files in classes.items()}
    about["parts"] = [(part["images"], part["sha256"]) for part in parts]
    about["skipped"] = skipped
    about["sha256"] = _content_hash(about)
    paths.write_atomic(unfinished / ABOUT, json.dumps(about, indent=1))
    (unfinished / PARTS).unlink()
    os.replace(unfinished, path)
    if skipped:
        log.warning(
            "skipped %d of %d images in %s: %s; see %s",
            len(skipped), len(names), folder, folders.some(list(skipped)), path / ABOUT,
        )  # fmt: skip


def _resume(unfinished: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts that are on disk. What was written after them, or of other images, is removed."""
    unfinished.mkdir(parents=True, exist_ok=True)
    images, record = unfinished / IMAGES, unfinished / PARTS
    try:
        lines = record.read_text().splitlines(keepends=True)
        found, *parts = [json.loads(line) for line in lines if line.endswith("\n")]
        size = 3 * about["resolution"] ** 2 * sum(part["images"] for part in parts)
        if found == about and images.stat().st_size >= size:
            os.truncate(images, size)
            paths.write_atomic(record, "".join(line for line in lines if line.endswith("\n")))
            return parts
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # nothing is there yet, or it is damaged
    paths.write_atomic(record, json.dumps(about) + "\n")
    images.write_bytes(b"")
    return []


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise PpcdError(
            f"the prepared images need {needed / 1e9:.1f} GB more in {directory.parent}, which has "
            f"{free / 1e9:.1f} GB; make room, or set PPCD_CACHE to a directory on a larger disk"
        )


def _content_hash(about: dict[str, Any]) -> str:
    content = json.dumps([about.get(key) for key in ("resolution", "classes", "parts")])
    return hashlib.sha256(content.encode()).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
