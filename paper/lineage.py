"""From a number back to the runs that made it: `table1.ppcd.fid` -> records, configurations, commands."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from paper import numbers
from paper.artifacts import render, rows, tables
from paper.artifacts.render import Column
from paper.artifacts.runtimes import DEVICES, TOGETHER, run_times
from paper.artifacts.sources import NOT_RUN, Record, Study, find_records
from paper.generations import read_generations
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.records import read_run
from ppcd.runs.config import RunConfig, run_config, runs_root
from ppcd.runs.directory import Run
from ppcd.seeds import write_seeds
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import TEACHER, get_recipe

ALIASES = {"fid": "fd", "lpips": "diversity"}  # what a cell's column may be called -> its key in the frame
NAMES = {key: name for name, key in ALIASES.items()}
FULL = ".10g"
CLAIM = {"id", "sentence", "where", "status", "measured", "runs", "recipes", "seeds"}  # of claims.json


@dataclass(frozen=True)
class Table:
    """A table whose cells have a lineage."""

    rows: tuple[str, ...]  # recipes
    alpha: float  # of the rows that prune
    frame: Callable[[str, Sequence[int]], pd.DataFrame]
    columns: Callable[[pd.DataFrame], list[Column]]


TABLES = {
    "table1": Table(tuple(numbers.TABLE1_ROWS), numbers.TABLE1_ALPHA, tables.table1, tables.columns),
    "table2": Table(tuple(numbers.TABLE2_ROWS), numbers.TABLE2_ALPHA, tables.table2, tables.columns),
    "table3": Table((*numbers.TABLE3_ROWS, TEACHER), numbers.TABLE3_ALPHA, tables.table3, tables.columns),
}
COLUMNS = {
    "table1": ("is", "fid", "precision", "recall", "accuracy", "lpips", "params", "macs", "gpu", "cpu"),
    "table2": ("is", "fid", "precision", "recall", "accuracy", "lpips", "params", "gpu", "cpu"),
    "table3": ("is", "fid", "params", "precision", "recall", "accuracy", "lpips", "kept"),
    "fig4": ("fid",),
}
FIGURE4 = {  # l1-biggan-a0.5 -> (l1-biggan, 0.5)
    get_recipe(method, alpha).name: (method, alpha)
    for method in numbers.FIGURE4_ROWS
    for alpha in numbers.FIGURE4_ALPHAS
}


@dataclass(frozen=True)
class Cell:
    """A number as it is shown, and the runs it was made of."""

    name: str
    what: str  # FD (classifier) of PPCD-GAN (alpha=0.7), Table 1
    shown: str  # as the table has it, or `not run`
    profile: str
    seeds: tuple[int, ...]
    records: tuple[Record, ...] = ()
    missing: tuple[RunConfig, ...] = ()  # runs that belong to it and are not complete
    values: dict[str, str] = field(default_factory=dict)  # run id -> its own value, in full
    paper: str | None = None  # the paper's number, as printed
    notes: tuple[str, ...] = ()


def find_cell(name: str, profile: str, seeds: Sequence[int]) -> Cell:
    """The cell of that name: `table1.ppcd.fid`, `fig4.l1-biggan-a0.5.fid`, `claims.<id>`.

    Args:
        name: table, row (a recipe) and column with dots between them; of a claim its id alone.
        profile, seeds: which runs.

    Raises:
        PpcdError: there is no such cell (the line says what there is), or a run was changed since it was written.
    """
    profile, seeds = get_profile(profile).name, tuple(seeds)
    table, _, rest = name.strip().partition(".")
    if table == "claims":
        return _claim(rest, profile, seeds)
    if table not in COLUMNS:
        there = ", ".join(COLUMNS)
        raise PpcdError(f"no cell {name!r}; write TABLE.ROW.COLUMN, TABLE one of {there}, or claims.ID")
    row, _, column = rest.rpartition(".")
    known = tuple(FIGURE4) if table == "fig4" else TABLES[table].rows
    row = _canonical(row) if table == "fig4" else _without_alpha(row, TABLES[table])
    column = NAMES.get(column, column)
    if row not in known or column not in COLUMNS[table]:
        raise PpcdError(
            f"no cell {name!r}; {table} has rows {', '.join(known)} and columns {', '.join(COLUMNS[table])}, "
            f"as in CELL={table}.{known[0]}.{COLUMNS[table][0]}"
        )
    make = _figure4 if table == "fig4" else _table_cell
    return make(table, row, column, profile, seeds)


def _canonical(row: str) -> str:
    """A recipe's name with alpha where that is not its default; as it was where there is no such recipe."""
    try:
        return get_recipe(row).name
    except PpcdError:
        return row


def _without_alpha(row: str, table: Table) -> str:
    """`ppcd-a0.5` is row `ppcd` of a table at alpha 0.5."""
    matching = [recipe for recipe in table.rows if get_recipe(recipe, table.alpha).name == row]
    return matching[0] if matching else row


def _missing(profile: str, recipe: str, seeds: Sequence[int], alpha: float | None = None) -> tuple[RunConfig, ...]:
    configs = (run_config(profile, recipe, seed, alpha) for seed in seeds)
    return tuple(config for config in configs if Run(config).state != "complete")


def _table_cell(table: str, row: str, column: str, profile: str, seeds: tuple[int, ...]) -> Cell:
    spec, key = TABLES[table], ALIASES.get(column, column)
    frame = spec.frame(profile, seeds)
    shown_as = next(each for each in spec.columns(frame) if each.key == key)
    line = frame[frame["recipe"] == row].iloc[0]
    records = find_records(profile, row, seeds, spec.alpha)
    values, notes = _values(table, key, records, profile, seeds)
    return Cell(
        name=f"{table}.{row}.{column}",
        what=f"{shown_as.heading.rstrip(' ↑↓')} of {line['model']}, Table {table.removeprefix('table')}",
        shown=render.cell(line, shown_as),
        profile=profile,
        seeds=seeds,
        records=tuple(records),
        missing=_missing(profile, row, seeds, spec.alpha),
        values=values,
        paper=render.paper_cell(line, shown_as) if shown_as.paper else None,
        notes=notes,
    )


def _values(
    table: str, key: str, records: Sequence[Record], profile: str, seeds: Sequence[int]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Every run's own value in full, and what there is to say of where they come from."""
    if key == "kept":
        kept = {record["id"]: rows.kept_channels(record) for record in records}
        return {run: "{}/{}".format(*pair) if pair[1] else "all" for run, pair in kept.items()}, ()
    if key not in DEVICES:
        return {record["id"]: format(rows.value_of(record, key), FULL) for record in records}, ()
    together = tables.find_all(int(table.removeprefix("table")), Study(profile, seeds, TABLES[table].alpha))
    times = run_times([record for found in together.values() for record in found], key)
    values = {record["id"]: times.seconds[record["id"]] for record in records}
    shown = {run: NOT_RUN if np.isnan(seconds) else f"{seconds:{FULL}} s" for run, seconds in values.items()}
    if times.source == NOT_RUN:
        return shown, (f"nothing was timed on a {key.upper()}: {timing_command(profile, seeds)}",)
    notes = [f"{times.source}: {times.device}"]
    if times.source == TOGETHER:
        notes.append(f"timed again by: {timing_command(profile, seeds)}")
    return shown, tuple(notes)


def _figure4(table: str, row: str, column: str, profile: str, seeds: tuple[int, ...]) -> Cell:
    """The mean over seeds and their ten generations each, of the runs whose generations were measured."""
    records = find_records(profile, row, seeds)
    measured = {record["id"]: read_generations(record) for record in records}
    distances = {run: [one["fd"] for one in found["generations"]] for run, found in measured.items() if found}
    values = {
        run: f"{np.mean(each):{FULL}}, the mean of " + " ".join(f"{one:.6g}" for one in each)
        for run, each in distances.items()
    }
    unmeasured = [run for run, found in measured.items() if found is None]
    notes = ["protocol of the generations: " + _pairs(found["protocol"]) for found in measured.values() if found][:1]
    if unmeasured:
        notes.append(f"generations were not measured: {generations_command(profile, unmeasured)}")
    method, alpha = FIGURE4[row]
    published = numbers.FIGURE4_PRINTED.get((method, alpha))
    return Cell(
        name=f"{table}.{row}.{column}",
        what=f"{rows.score_names(get_profile(profile).backbone)['fd']} of {numbers.FIGURE4_ROWS[method]} at alpha "
        f"{alpha:g}, Figure 4: the mean over seeds and generations",
        shown=render.write_number(float(np.mean(list(distances.values()))), "number") if distances else NOT_RUN,
        profile=profile,
        seeds=seeds,
        records=tuple(records),
        missing=_missing(profile, row, seeds),
        values=values | dict.fromkeys(unmeasured, NOT_RUN),
        paper=numbers.published(*published, "FID").text if published else None,
        notes=tuple(notes),
    )


def _claim(name: str, profile: str, seeds: tuple[int, ...]) -> Cell:
    """A claim as `make claims` left it in `claims.json`."""
    path = paths.results(profile) / "claims.json"
    if not path.is_file():
        raise PpcdError(f"profile {profile} has no claims.json yet; make claims PROFILE={profile} writes it")
    try:
        claims: dict[str, dict[str, Any]] = {claim["id"]: claim for claim in json.loads(path.read_text())}
    except (ValueError, KeyError, TypeError):
        raise PpcdError(f"{path} cannot be read; make claims PROFILE={profile} writes it anew") from None
    if name not in claims:
        raise PpcdError(f"no claim {name!r}; expected claims.ID, ID one of: {', '.join(claims)}")
    claim = claims[name]
    if CLAIM - set(claim):
        raise PpcdError(f"{path} is not what was written; make claims PROFILE={profile} writes it anew")
    judged = tuple(claim["seeds"])
    again = f'make claims PROFILE={profile} SEEDS="{" ".join(map(str, seeds))}"'
    return Cell(
        name=f"claims.{name}",
        what=f"{claim['where']}: {claim['sentence']}",
        shown=claim["status"] + (f": {claim['measured']}" if claim["measured"] else ""),
        profile=profile,
        seeds=judged,
        records=tuple(read_run(runs_root(profile) / run) for run in claim["runs"]),
        missing=tuple(each for recipe in claim["recipes"] for each in _missing(profile, recipe, judged)),
        notes=() if judged == seeds else (f"judged for other seeds than were asked for; {again}",),
    )


def timing_command(profile: str, seeds: Sequence[int]) -> str:
    """What times all the networks of a profile in turns."""
    return f'.venv/bin/python -m paper timing --profile {profile} --seeds "{write_seeds(seeds)}"'


def generations_command(profile: str, runs: Sequence[str]) -> str:
    """What measures ten generations of runs."""
    return f".venv/bin/python -m paper generations --profile {profile} --run {' '.join(runs)}"


def train_command(profile: str, recipe: str, seed: int, device: str | None = None) -> str:
    """What trains a run, with the teacher it needs; `device` as the record has it."""
    flag = {None: "", "cpu": " --device cpu", "mps": " --device mps"}.get(device, " --device cuda")
    return f".venv/bin/python -m ppcd train --profile {profile} --recipe {recipe} --seed {seed}{flag}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if not isinstance(value, list))
