"""SHA256SUMS: the hash of every table, figure and measurement as it was written, so that a changed digit shows.

One file for each folder of products, in the format of sha256sum: `cd results/mnist && sha256sum --check SHA256SUMS`.
Complete runs are sealed by their own run.json and are not in it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ppcd import locks, paths
from ppcd.base import PpcdError
from ppcd.records import file_hash

FILE = "SHA256SUMS"
LOCK = f".{FILE}.lock"


def write(folder: Path, name: str, content: bytes | str) -> Path:
    """Write `folder/name` atomically, and its hash into the folder's SHA256SUMS.

    Args:
        folder: `paths.results(profile)` or `paths.figures(profile)`.
        name: of the file below it.
        content: of the file.

    Raises:
        PpcdError: the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with locks.alone(folder / LOCK):
        for path in (folder / name, folder / FILE):  # under the lock nobody else writes them
            paths.remove_leftovers(path.parent, path.name)
        paths.write_atomic(folder / name, data)
        _write_sums(folder, _known(folder) | {name: hashlib.sha256(data).hexdigest()})
    return folder / name


def adopt(folder: Path, names: Iterable[str]) -> None:
    """Take files as they are that were written before there was a SHA256SUMS; those that are in it stay."""
    with locks.alone(folder / LOCK):
        _write_sums(folder, {name: file_hash(folder / name) for name in names} | _known(folder))


def _write_sums(folder: Path, known: Mapping[str, str]) -> None:
    # What has been deleted since is forgotten: runs that are trained anew take their generations with them.
    lines = [f"{digest}  {name}\n" for name, digest in sorted(known.items()) if (folder / name).is_file()]
    paths.write_atomic(folder / FILE, "".join(lines))


def read(folder: Path) -> dict[str, str]:
    """Name below the folder -> SHA-256 (64 hex); {} where there is no SHA256SUMS.

    Raises:
        PpcdError: it is not in the format of sha256sum.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None:
            raise PpcdError(f"{path}: line {number} is no line of sha256sum; restore the file")
        found[match[2]] = match[1]
    return found


def _known(folder: Path) -> dict[str, str]:
    """What SHA256SUMS says so far; nothing where it was damaged, which `make verify` reports for what it lacks."""
    try:
        return read(folder)
    except PpcdError:
        return {}


def differing(folder: Path) -> dict[str, str]:
    """Name -> what is wrong with the file: missing, or not what was written.

    Raises:
        PpcdError: as `read`.
    """
    wrong = {}
    for name, digest in read(folder).items():
        if not (folder / name).is_file():
            wrong[name] = "missing"
        elif file_hash(folder / name) != digest:
            wrong[name] = "not the bytes that were written"
    return wrong
