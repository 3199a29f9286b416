"""SHA256SUMS: the hash of every table, figure and measurement as it was written, so that a changed byte shows.

One file for each folder of products, in the format of sha256sum: `cd results/mnist && sha256sum --check SHA256SUMS`.
Complete runs are sealed by their own run.json and are not in it.
"""

import hashlib
import re
from pathlib import Path

from ppcd import locks, paths
from ppcd.base import PpcdError
from ppcd.records import file_hash

FILE = "SHA256SUMS"
LOCK = f".{FILE}.lock"
# Below a folder of products
LISTED = ("*.json", "*.md", "*.safetensors", "*.png", "*.pdf", "tables/*", "runs/*/generations.json")


def write(folder: Path, name: str, content: bytes | str) -> Path:
    """Write `folder/name` atomically, and its hash into the folder's SHA256SUMS.

    Raises:
        PpcdError: the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with locks.alone(folder / LOCK):
        for path in (folder / name, folder / FILE):  # no other process writes them while this one holds the lock
            paths.remove_leftovers(path.parent, path.name)
        paths.write_atomic(folder / name, data)
        try:
            known = read(folder)
        except PpcdError:  # damaged: start again; `make verify` reports the files that it no longer lists
            known = {}
        known[name] = hashlib.sha256(data).hexdigest()
        # Files that were deleted are dropped: a run that is trained again takes its generations with it.
        lines = [f"{digest}  {each}\n" for each, digest in sorted(known.items()) if (folder / each).is_file()]
        paths.write_atomic(folder / FILE, "".join(lines))
    return folder / name


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


def differing(folder: Path) -> dict[str, str]:
    """Name -> what is wrong with the file: missing, not the bytes that were written, or not listed.

    Raises:
        PpcdError: as `read`.
    """
    known = read(folder)
    there = {str(path.relative_to(folder)) for pattern in LISTED for path in folder.glob(pattern) if path.is_file()}
    wrong = {name: f"not in {FILE}, which is written with it" for name in there - known.keys()}
    for name, digest in known.items():
        if not (folder / name).is_file():
            wrong[name] = "missing"
        elif file_hash(folder / name) != digest:
            wrong[name] = f"not the bytes that were written ({FILE})"
    return dict(sorted(wrong.items()))
