"""`results/bench.json`: every part with where it comes from, and the bars."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from paper import sums
from paper.bench import evaluation, latency, quality, roofline, training
from paper.bench.bars import bars
from paper.bench.contestants import Group, Pace
from paper.bench.turns import again, take_turns
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data.filling import cores
from ppcd.runs.config import provenance

SCHEMA = 1
FILE = "bench.json"
PARTS = ("latency", "training", "evaluation", "roofline", "quality")
MEASURE = ("missing", "again", "never")
Content = dict[str, Any]  # of the file


def default_path() -> Path:
    """`results/bench.json`."""
    return paths.results(FILE)


def read(path: Path | None = None) -> Content:
    """The file's content; without parts where there is no file.

    Raises:
        PpcdError: the file is damaged or of another version.
    """
    path = path or default_path()
    if not path.is_file():
        return {"schema": SCHEMA, "quick": False, "parts": {}, "bars": bars({})}
    try:
        found = json.loads(path.read_text())
        problem = None if found["schema"] == SCHEMA else f"schema {found['schema']} is not {SCHEMA}"
        whole = all({"quick", "groups", "provenance"} <= set(part) for part in found["parts"].values())
        problem = problem or (None if whole and set(found["parts"]) <= set(PARTS) else "its parts are not whole")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it cannot be read ({type(error).__name__})"
    if problem:
        raise PpcdError(f"{path}: {problem}; restore it, or delete it and measure again")
    return dict(found)


def write_part(name: str, part: Content, path: Path | None = None) -> Content:
    """Put a part into the file, atomically; other parts stay.

    Returns:
        the whole content.

    Raises:
        PpcdError: as `read`, or the part is quick and others are not, or the other way round.
    """
    content = read(path)
    check_quick(content, part["quick"], path)
    parts = {each: part if each == name else content["parts"].get(each) for each in PARTS}
    parts = {each: found for each, found in parts.items() if found is not None}
    whole = {"schema": SCHEMA, "quick": part["quick"], "parts": parts, "bars": bars(parts)}
    text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    if path is None:
        sums.write(default_path().parent, FILE, text)
    else:
        paths.write_atomic(path, text)
    return whole


def check_quick(content: Content, quick: bool, path: Path | None = None) -> None:
    """One line where quick numbers, which say nothing, would stand beside real ones.

    Raises:
        PpcdError: they would.
    """
    if content["parts"] and content["quick"] != quick:
        there, given = ("quick", "real") if content["quick"] else ("real", "quick")
        raise PpcdError(
            f"{path or default_path()} has {there} measurements and takes no {given} ones; name another file "
            "(--out), or delete it"
        )


def check_parts(names: list[str]) -> None:
    """One line for a part that there is not.

    Raises:
        PpcdError: there is one.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        raise PpcdError(f"unknown part {(unknown or [''])[0]!r}; expected some of: {','.join(PARTS)}")


def computed(content: Content) -> Content:
    """The same content with everything that follows from the measured times and the runs computed again.

    Raises:
        PpcdError: a run that it compares is not there.
    """
    parts = {
        name: part | {"groups": [again(group) for group in part["groups"]]} for name, part in content["parts"].items()
    }
    for group in parts.get("latency", {"groups": []})["groups"]:
        latency.add_share(group)
    if "roofline" in parts:
        parts["roofline"] |= _floors(parts["roofline"]["groups"], content["quick"])
    if "quality" in parts:
        parts["quality"] |= quality.compare(content["quick"], train=False)
    return content | {"parts": parts, "bars": bars(parts)}


def groups_of(name: str, quick: bool, compiled: bool = True) -> list[Group]:
    """The groups of a part."""
    if name == "training":
        return training.groups(quick, compiled=compiled)
    if name == "quality":
        return []
    return {"latency": latency, "evaluation": evaluation, "roofline": roofline}[name].groups(quick)


def measure_part(
    name: str,
    quick: bool = False,
    rounds: int | None = None,
    compiled: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Content:
    """All groups of a part, one after the other.

    Args:
        name: one of PARTS.
        quick: tiny sizes and three rounds, for trying it out.
        rounds: of every group; None: as many as fit into its time.
        compiled: whether torch.compile takes part.
        say: gets a line for each group, before it starts.

    Returns:
        quick, provenance, load (of the machine, before), groups (of `take_turns`), and what the part adds.

    Raises:
        PpcdError: an unknown part, no rounds, or a contestant died or does not answer.
    """
    check_parts([name])
    if rounds is not None and rounds < 1:
        raise PpcdError(f"a bench needs at least one round; got {rounds}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    began, measured = provenance.collect("cpu") | {"threads": cores()}, []
    found = groups_of(name, quick, compiled)
    for index, group in enumerate(found, 1):
        about = ", ".join(f"{key} {group.about[key]}" for key in ("profile", "batch", "threads") if key in group.about)
        say(f"{name} {index} of {len(found)}: {group.scene}, {about}, {len(group.contestants)} contestants")
        measured.append(take_turns(replace(group, pace=_with_rounds(group.pace, rounds))))
    part: Content = {"quick": quick, "load": load, "groups": measured}
    if name == "latency":
        for group_measured in measured:
            latency.add_share(group_measured)
    elif name == "training":
        part["left_out"] = training.left_out(quick, compiled)
    elif name == "roofline":
        part |= _floors(measured, quick)
    elif name == "quality":
        part |= quality.compare(quick, say)
    return {**part, "provenance": provenance.finish(began)}


def _floors(measured: list[Content], quick: bool) -> Content:
    """`paper.bench.roofline.floors`, counted with all cores."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(cores())
        return roofline.floors(measured, quick)
    finally:
        torch.set_num_threads(before)


def _with_rounds(pace: Pace, rounds: int | None) -> Pace:
    return pace if rounds is None else replace(pace, fewest=rounds, most=rounds)


def measure(
    names: list[str],
    quick: bool = False,
    rounds: int | None = None,
    compiled: bool = True,
    path: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Content:
    """Measure parts and write each into the file as soon as it is complete; arguments as `measure_part`.

    Raises:
        PpcdError: as `measure_part` and `write_part`; parts that are complete are kept.
    """
    check_parts(names)
    check_quick(read(path), quick, path)
    for name in names:
        write_part(name, measure_part(name, quick, rounds, compiled, say), path)
    return read(path)


def ensure(how: str, quick: bool = False, say: Callable[[str], None] = lambda line: None) -> Content:
    """The content of `results/bench.json`, with what it lacks measured first.

    Args:
        how: "missing", "again" (everything) or "never" (take what is there).
        quick, say: as `measure_part`.

    Raises:
        PpcdError: an impossible argument, a damaged file, or a measurement that failed.
    """
    if how not in MEASURE:
        raise PpcdError(f"measure must be one of: {', '.join(MEASURE)}; got {how!r}")
    there = read()["parts"]
    wanted = [] if how == "never" else [name for name in PARTS if how == "again" or name not in there]
    if wanted:
        measure(wanted, quick, say=say)
    content = read()
    if not content["parts"]:
        raise PpcdError("speed was not measured yet; `make bench` does it, or measure = 'missing'")
    return content
