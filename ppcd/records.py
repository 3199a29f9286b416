"""run.json, the record of a complete run: sealed with hashes when it is written, checked when it is read."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppcd import paths
from ppcd.base import PpcdError

SCHEMA = 1
GENERATOR = "generator.safetensors"  # of a run, slim and averaged
TRAINED_HERE = ".local"  # marks the directory of a run that was trained here, rather than copied
# Files of a run that the repository does not bring: made again from the generator, or by training.
NOT_BROUGHT = (
    "samples.png", "best.safetensors", "generator-last.safetensors", "discriminator.safetensors", "moments.safetensors",
)  # fmt: skip


class Record(dict[str, Any]):
    """A run.json (schema 1), and the directory that it was read from."""

    def __init__(self, values: Mapping[str, Any], directory: Path) -> None:
        super().__init__(values)
        self.directory = directory

    @property
    def source(self) -> Path:
        """The folder that holds its profile's runs, and what was measured of them."""
        return self.directory.parents[1]

    @property
    def trained_here(self) -> bool:
        """Whether it was trained here, rather than copied from the reference."""
        return (self.directory / TRAINED_HERE).is_file()


def write_record(directory: Path, record: dict[str, Any], files: Iterable[str]) -> Record:
    """Write run.json atomically over files that are there already, and return what was written.

    Args:
        record: what the run says of itself, without `schema`, `files` and `sha256`, which are added here.
        files: names of the run's files, whose SHA-256 is recorded.
    """
    hashes = {name: file_hash(directory / name) for name in files}
    whole = seal({"schema": SCHEMA, **_plain(record), "files": hashes})
    paths.write_atomic(directory / "run.json", as_text(whole))
    return Record(whole, directory)


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose `sha256` is the hash of all else in it."""
    unsealed = {name: value for name, value in values.items() if name != "sha256"}
    return unsealed | {"sha256": canonical_hash(unsealed)}


def as_text(sealed: Mapping[str, Any]) -> str:
    """What `seal` gives, as the text of a file."""
    return json.dumps(sealed, indent=1, allow_nan=False) + "\n"


def read_run(directory: Path) -> Record:
    """run.json of any run directory; its schema, id and all its hashes are checked."""
    path = directory / "run.json"
    try:
        record = json.loads(path.read_text())
        problem = _problem(record, directory)
    except FileNotFoundError:
        raise PpcdError(f"there is no complete run in {directory}; train it first") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it cannot be read ({type(error).__name__})"
    if problem:
        raise PpcdError(f"{path}: {problem}; restore the run, or delete its directory and train it again")
    return Record(record, directory)


def read_unsealed(directory: Path) -> dict[str, Any] | None:
    """run.json as it stands, unchecked; None where it is not there or not even JSON."""
    try:
        found = json.loads((directory / "run.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read_stop(directory: Path) -> dict[str, Any] | None:
    """The last of the warnings of a run that ended before its end, which is why; None for any other run."""
    record = read_unsealed(directory) or {}
    try:
        return record["warnings"][-1] if record["status"] == "stopped" else None
    except (LookupError, TypeError):
        return None


def _problem(record: dict[str, Any], directory: Path) -> str | None:
    """What is wrong with a record, None if nothing is."""
    if record["schema"] != SCHEMA:
        return f"schema {record['schema']} is not {SCHEMA}, the one this version reads"
    if record["sha256"] != seal(record)["sha256"]:
        return "it was changed after the run wrote it"
    if record["status"] == "stopped":
        return f"the run is not complete: {record['warnings'][-1]['text']}"
    if record["config_hash"] != canonical_hash(record["config"]) or record["status"] != "complete":
        return "its configuration and its hash disagree"
    expected = f"{record['recipe']}-s{record['seed']}-{record['config_hash'][:8]}"
    if not record["id"] == expected == directory.name:
        return f"run {record['id']} does not belong into directory {directory.name}"
    for name, digest in record["files"].items():
        if not (directory / name).is_file():
            if name in NOT_BROUGHT:
                continue
            return f"{name} is missing"
        if file_hash(directory / name) != digest:
            return f"{name} was changed after the run wrote it"
    return None


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; lists are left out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            flat[prefix + name] = value
    return flat


def _plain(value: Any) -> Any:
    """Values for JSON: numbers of numpy and torch become Python's, those that are not finite None."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def canonical_hash(values: dict[str, Any]) -> str:
    """SHA-256 (64 hex) of the values as canonical JSON: sorted names, no spaces."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 (64 hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
