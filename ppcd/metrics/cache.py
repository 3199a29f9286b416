"""Tensors that take a while to compute and can be computed again at any time, stored under `paths.cache()`."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ppcd import locks, paths

Key = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Entry:
    """What is stored: named tensors (on the CPU) and short texts about them."""

    tensors: dict[str, Tensor]
    notes: dict[str, str]


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex) of names, types, shapes and bytes; the order of the names does not matter."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def cached(kind: str, key: Key, compute: Callable[[], Entry], brought: Path | None = None) -> Entry:
    """What `compute` returns, from the cache where it is there and whole.

    It is stored as `paths.cache()/<kind>/<hash of key>.safetensors`. One process at a time computes it, others
    wait. A file that is damaged, even by a single bit (it holds its content's hash), is computed again.

    Args:
        key: everything that decides what is computed.
        brought: a folder of such files that came with the repository; one that is whole is taken as it is.
    """
    name = f"{hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()}.safetensors"
    if brought is not None and (entry := read_entry(brought / name)) is not None:
        return entry
    path = paths.cache() / kind / name
    with locks.alone(path.with_suffix(".lock")):
        entry = read_entry(path)
        if entry is None:
            paths.remove_leftovers(path.parent, path.name)
            entry = compute()
            paths.write_atomic(path, pack(entry))
        return entry


def pack(entry: Entry) -> bytes:
    """A file of them that holds its content's hash."""
    notes = {**entry.notes, "content": tensors_hash(entry.tensors)}
    return save({name: tensor.cpu().contiguous() for name, tensor in entry.tensors.items()}, notes)


def read_entry(path: Path) -> Entry | None:
    """What such a file holds; None where it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except Exception:  # a damaged file, on which safetensors raises many things
        return None
    return Entry(tensors, notes) if notes.pop("content", None) == tensors_hash(tensors) else None
