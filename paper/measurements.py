"""Measurements kept as JSON in results/<profile>: read where they are whole, written with their provenance."""

import json
from collections.abc import Mapping
from typing import Any

from paper import sums
from ppcd import paths
from ppcd.records import GENERATOR
from ppcd.runs import provenance

Content = dict[str, Any]  # of such a file
Record = dict[str, Any]  # a run.json

SCHEMA = 1  # of every file of measurements


def read(profile: str, name: str, **expected: Any) -> Content | None:
    """The content of `results/<profile>/<name>`; None where it is missing or damaged, or has not what is expected.

    Args:
        expected: values that the content must have, besides its schema.
    """
    try:
        content: Content = json.loads((paths.results(profile) / name).read_text())
        return content if {"schema": SCHEMA, **expected}.items() <= content.items() else None
    except (OSError, ValueError, AttributeError):
        return None


def write(profile: str, name: str, content: Mapping[str, Any], began: Mapping[str, Any] | None = None) -> Content:
    """Write `results/<profile>/<name>` atomically and return what was written.

    Args:
        content: without schema and provenance.
        began: what `provenance.collect` said before the measuring; None where the parts have their own.
    """
    whole = {"schema": SCHEMA, **content}
    if began is not None:
        whole["provenance"] = provenance.finish(dict(began))
    sums.write(paths.results(profile), name, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return whole


def of_run(entries: Mapping[str, Content], record: Record) -> Content | None:
    """The entry of a run among those by run id; None where it has none, or one of other weights."""
    entry = entries.get(record["id"])
    return entry if entry is not None and entry["generator_sha256"] == record["files"][GENERATOR] else None
