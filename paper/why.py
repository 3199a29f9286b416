"""Where a number comes from: `python -m paper why --cell table1.ppcd.fid` (`make why CELL=table1.ppcd.fid`)."""

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from paper import numbers
from paper.artifacts.sources import NOT_RUN, Record, Study, directory
from paper.lineage import Cell, find_cell, train_command
from ppcd.errors import ArgumentParser, run_command
from ppcd.records import file_hash, flatten
from ppcd.runs.config import runs_root
from ppcd.runs.provenance import processor
from ppcd.runs.train import GENERATOR
from ppcd.seeds import parse_seeds
from ppcd.training.profiles import PROFILES

WIDTH = 120
INDENT = 16
HEADER = 9

# A complete run is not trained again in its place, so the command has results of its own, the teacher's too.
APART = "PPCD_RESULTS=$(mktemp -d)"


def describe(cell: Cell) -> str:
    """The cell and, for every run behind it, all that decided its value and the command that makes it again."""
    lines = [f"{cell.name} = {cell.shown}"]
    lines += _line("what", cell.what, HEADER)
    lines += _line("runs", f"{Study(cell.profile, cell.seeds).line}: {_how_many(cell)}", HEADER)
    if cell.paper is not None:
        lines += _line("paper", f"{cell.paper} ({numbers.SETTING}; {numbers.RUNTIME_SETTING})", HEADER)
    lines += [f"  {'note':<{HEADER}}{note}" for note in cell.notes]  # with commands to be pasted: not wrapped
    for record in cell.records:
        lines += ["", *_describe_run(record, cell.values.get(record["id"]))]
    for config in cell.missing:
        command = train_command(cell.profile, config.recipe.name, config.seed)
        lines += ["", f"run {config.id}: {NOT_RUN}", "  made by", f"    {command}"]
    return "\n".join(lines)


def _how_many(cell: Cell) -> str:
    if not cell.records:
        return NOT_RUN
    return f"{len(cell.records)} complete" + (f", {len(cell.missing)} {NOT_RUN}" if cell.missing else "")


def _line(name: str, value: str, width: int) -> list[str]:
    """A named value, wrapped; commands are never given to it, since they are to be pasted."""
    margin = " " * (width + 2)
    first = f"  {name:<{width}}"
    return textwrap.wrap(value, WIDTH, initial_indent=first, subsequent_indent=margin, break_on_hyphens=False)


def _describe_run(record: Record, value: str | None) -> list[str]:
    made, data, protocol = record["provenance"], record["data"], record["metrics"]["protocol"]
    facts = [] if value is None else [("value", value)]
    facts += [
        ("recipe", f"{record['recipe']} ({record['title']}), profile {record['profile']}"),
        ("seed", str(record["seed"])),
        ("commit", _commit(record)),
        (
            "device",
            f"{made['device']} (processor {processor(made)}, {made['threads']} thread{'s' * (made['threads'] != 1)})",
        ),
        ("torch", str(made["libraries"]["torch"])),
        ("data", f"{data['identity']}, {data['images']} images, SHA-256 {data['sha256']}"),
        ("teacher", _teacher(record)),
        ("generator", f"SHA-256 {record['files'][GENERATOR]}, {_on_disk(record)}"),
        ("protocol", ", ".join(f"{name} {value}" for name, value in protocol.items())),
        ("configuration", f"SHA-256 {record['config_hash']}"),
    ]
    lines = [f"run {record['id']}"]
    for name, text in facts:
        lines += _line(name, text, INDENT)
    for name, setting in flatten(record["config"]).items():
        if setting is not None:
            lines.append(f"    {name} = {json.dumps(setting)}")
    return [*lines, "  made again by", *(f"    {command}" for command in commands(record))]


def commands(record: Record) -> list[str]:
    """What makes the run again, line by line to be pasted at the root of the repository."""
    commit = record["provenance"]["commit"]
    train = train_command(record["profile"], record["recipe"], record["seed"], record["provenance"]["device"])
    return ([f"git checkout {commit}"] if commit else []) + [f"{APART} {train}"]


def _commit(record: Record) -> str:
    made = record["provenance"]
    if made["commit"] is None:
        return "unknown: it was not made in a git repository"
    return f"{made['commit']} ({'dirty: its files had been changed' if made['dirty'] else 'clean'})"


def _on_disk(record: Record) -> str:
    """Whether the generator in the run's directory is still the one that the record is of."""
    return _compare(directory(record) / GENERATOR, record["files"][GENERATOR])


def _teacher(record: Record) -> str:
    teacher = record["teacher"]
    if teacher is None:
        return "none needed"
    expected = teacher["generator_sha256"]
    path = runs_root(record["profile"]) / teacher["id"] / GENERATOR
    return f"{teacher['id']}, generator SHA-256 {expected}, {_compare(path, expected)}"


def _compare(path: Path, expected: str) -> str:
    if not path.is_file():
        return "not on disk"
    return "the same on disk" if file_hash(path) == expected else "ANOTHER FILE ON DISK"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 (for a cell that was not run too), or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper why", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cell", required=True, help="table1.ppcd.fid, fig4.l1-biggan-a0.5.fid, claims.ID")
    parser.add_argument("--profile", default="mnist", help=", ".join(PROFILES))
    parser.add_argument("--seeds", default="0", help='how many ("3"), or which ("0 1 2", "7,")')
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    text = describe(find_cell(options.cell, options.profile, parse_seeds(options.seeds)))
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `make why ... | head` has read enough: write no more, not at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
