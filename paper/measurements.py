"""Measurements kept as JSON next to the runs: read where they are whole, written with their provenance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper import sums
from ppcd.records import GENERATOR, Record
from ppcd.runs import provenance

Content = dict[str, Any]  # of such a file

SCHEMA = 1  # of every file of measurements


def read(folder: Path, name: str, **expected: Any) -> Content | None:
    """The content of a file; None where it is missing or damaged, or lacks the expected values."""
    try:
        content: Content = json.loads((folder / name).read_text())
        return content if {"schema": SCHEMA, **expected}.items() <= content.items() else None
    except (OSError, ValueError, AttributeError):
        return None


def write(folder: Path, name: str, content: Mapping[str, Any], began: Mapping[str, Any] | None = None) -> Content:
    """Write a file atomically and return what was written.

    Args:
        folder: with the sums of its files (`paper.sums`), of which `name` is one.
        content: without schema and provenance.
        began: what `provenance.collect` said before the measuring; None where the parts have their own.
    """
    whole = {"schema": SCHEMA, **content}
    if began is not None:
        whole["provenance"] = provenance.finish(dict(began))
    sums.write(folder, name, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return whole


def of_run(entries: Mapping[str, Content], record: Record) -> Content | None:
    """The entry of a run among those by run id; None where it has none, or one of other weights."""
    entry = entries.get(record["id"])
    return entry if entry is not None and entry["generator_sha256"] == record["files"][GENERATOR] else None
