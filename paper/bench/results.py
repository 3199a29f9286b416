"""`results/bench.json`: every part with where it comes from, and the targets."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper import sums
from paper.bench import latency, training
from paper.bench.runner import derived, take_turns
from paper.bench.targets import TARGETS, judge
from ppcd import paths
from ppcd.base import PpcdError, cores
from ppcd.runs import provenance

SCHEMA = 2
FILE = "bench.json"
PARTS = {"latency": latency.groups, "training": training.groups}
Content = dict[str, Any]  # of the file


def place(quick: bool = False) -> Path:
    """`results/bench.json`; of tiny sizes, whose numbers say nothing, a file in the cache."""
    return paths.cache() / "bench-quick.json" if quick else paths.results(FILE)


def read(quick: bool = False) -> Content:
    """The file's content; without parts where there is no file.

    Raises:
        PpcdError: the file is damaged or of another version.
    """
    path = place(quick)
    if not path.is_file():
        return computed({})
    try:
        found = json.loads(path.read_text())
        problem = None if found["schema"] == SCHEMA else f"schema {found['schema']} is not {SCHEMA}"
        whole = all({"groups", "provenance"} <= set(part) for part in found["parts"].values())
        problem = problem or (None if whole and set(found["parts"]) <= set(PARTS) else "its parts are not whole")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it cannot be read ({type(error).__name__})"
    if problem:
        raise PpcdError(f"{path}: {problem}; restore it, or delete it and measure again")
    return dict(found)


def computed(parts: dict[str, Content]) -> Content:
    """The content of these parts, with everything that follows from the measured times computed again."""
    again = {name: {**part, "groups": [derived(each) for each in part["groups"]]} for name, part in parts.items()}
    if "latency" in again:
        again["latency"]["groups"] = [latency.with_share(each) for each in again["latency"]["groups"]]
    return {
        "schema": SCHEMA,
        "parts": {name: again[name] for name in PARTS if name in again},
        "targets": {name: judge(again, target) for name, target in TARGETS.items()},
    }


def text(content: Content) -> str:
    """As it is written."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


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
    read(quick)  # a damaged file is said before minutes are spent
    for name in names:
        part = _measure_part(name, quick, say)
        written = text(computed({**read(quick)["parts"], name: part}))
        if quick:
            paths.write_atomic(place(quick), written)
        else:
            sums.write(place().parent, FILE, written)
    return place(quick)


def _measure_part(name: str, quick: bool, say: Callable[[str], None]) -> Content:
    """All groups of a part: groups (of `take_turns`), load (of the machine, before), provenance."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    began, measured, groups = provenance.collect("cpu") | {"threads": cores()}, [], PARTS[name](quick)
    for index, group in enumerate(groups, 1):
        about = ", ".join(f"{key} {group.about[key]}" for key in ("profile", "batch", "threads") if key in group.about)
        say(f"{name} {index} of {len(groups)}: {group.scene}, {about}, {len(group.cases)} cases")
        measured.append(take_turns(group))
    return {"load": load, "groups": measured, "provenance": provenance.finish(began)}


def ensure(how: str, say: Callable[[str], None] = lambda line: None) -> Content:
    """The content of `results/bench.json`, with what it lacks measured first.

    Args:
        how: "missing", "again" (everything) or "never" (take what is there).
        say: as `measure`.

    Raises:
        PpcdError: nothing was measured and nothing shall be, a damaged file, or a measurement that failed.
    """
    there = read()["parts"]
    wanted = [] if how == "never" else [name for name in PARTS if how == "again" or name not in there]
    if wanted:
        measure(wanted, say=say)
    content = read()
    if not content["parts"]:
        raise PpcdError("speed was not measured yet; `make bench` does it, or measure = 'missing'")
    return content
