"""`make bench`: measure speed side by side and write `bench.json`, each part with its origin."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paper import measurements, sums
from paper.bench import latency, training
from paper.bench.runner import derived, take_turns
from ppcd import paths
from ppcd.base import PpcdError, cores
from ppcd.errors import ArgumentParser, run_command
from ppcd.runs import provenance

SCHEMA = 2
FILE = "bench.json"
PARTS = {"latency": latency.groups, "training": training.groups}
Content = dict[str, Any]  # name of a part -> groups, load (of the machine, before), provenance


def place(quick: bool = False) -> Path:
    """`bench.json` of one's own results; of tiny sizes, whose numbers say nothing, a file in the cache."""
    return paths.cache() / "bench-quick.json" if quick else paths.results(FILE)


def read(path: Path | None = None) -> Content:
    """The parts that were measured, with everything that follows from the seconds.

    Args:
        path: of the file; None: one's own, or else the reference's.

    Raises:
        PpcdError: nothing was measured, or the file is damaged or of another version.
    """
    parts = _stored(path or paths.kept(FILE))
    if not parts:
        raise PpcdError("speed was not measured; `make bench` does it")
    parts = {name: {**part, "groups": [derived(each) for each in part["groups"]]} for name, part in parts.items()}
    if "latency" in parts:
        parts["latency"]["groups"] = [latency.with_share(each) for each in parts["latency"]["groups"]]
    return {name: parts[name] for name in PARTS if name in parts}


def _stored(path: Path) -> Content:
    if not path.is_file():
        return {}
    parts = (measurements.read(path.parent, path.name, schema=SCHEMA) or {}).get("parts")
    if not isinstance(parts, dict) or not all(
        name in PARTS and {"groups", "provenance"} <= set(part) for name, part in parts.items()
    ):
        raise PpcdError(f"{path}: damaged or of another version; restore it, or delete it and measure again")
    return parts


def measure(names: list[str], quick: bool = False, say: Callable[[str], None] = lambda line: None) -> Path:
    """Measure parts and write each into the file as soon as it is complete, atomically; other parts stay.

    Args:
        names: of PARTS.
        quick: tiny sizes, for trying it out.
        say: gets a line for each group, before it starts.

    Returns:
        the file.

    Raises:
        PpcdError: an unknown part, a damaged file, or a case that failed; parts that are complete are kept.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        raise PpcdError(f"unknown part {(unknown or [''])[0]!r}; expected some of: {','.join(PARTS)}")
    _stored(place(quick))  # a damaged file is reported before minutes are spent
    for name in names:
        part = _measure_part(name, quick, say)
        content = {"schema": SCHEMA, "parts": {**_stored(place(quick)), name: part}}
        written = json.dumps(content, indent=1, allow_nan=False) + "\n"
        if quick:
            paths.write_atomic(place(quick), written)
        else:
            sums.write(place().parent, FILE, written)
    return place(quick)


def _measure_part(name: str, quick: bool, say: Callable[[str], None]) -> Content:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    began, measured, groups = provenance.collect("cpu") | {"threads": cores()}, [], PARTS[name](quick)
    for index, group in enumerate(groups, 1):
        about = ", ".join(f"{key} {group.about[key]}" for key in ("profile", "batch", "threads") if key in group.about)
        say(f"{name} {index} of {len(groups)}: {group.scene}, {about}, {len(group.cases)} cases")
        measured.append(take_turns(group))
    return {"load": load, "groups": measured, "provenance": provenance.finish(began)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(
        prog="python -m paper bench", description="Measure speed side by side, into bench.json of your own results."
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="to measure, separated by commas; others stay")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, a try: into .cache/bench-quick.json")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the parts that were measured are kept")


def _command(options: argparse.Namespace) -> None:
    names = [name.strip() for name in options.parts.split(",")]
    print(measure(names, options.quick, say=lambda line: print(line, file=sys.stderr, flush=True)))
