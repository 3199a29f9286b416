"""Where a number comes from: `python -m paper why --cell table1.ppcd.fid` (`make why CELL=table1.ppcd.fid`)."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from paper import numbers
from paper.artifacts import render, rows, tables
from paper.artifacts.rows import DEVICES, TOGETHER, run_times
from paper.generations import read_generations
from paper.study import NOT_RUN, Study, asked_study, study_parser
from ppcd.base import PpcdError
from ppcd.errors import run_command
from ppcd.records import GENERATOR, Record, file_hash, flatten, read_run
from ppcd.runs.provenance import processor
from ppcd.seeds import write_seeds
from ppcd.training.config import RunConfig
from ppcd.training.profiles import typed
from ppcd.training.recipes import get_recipe

ALIASES = {"fid": "fd", "lpips": "diversity"}  # what a cell's column may be called -> its key in the frame
NAMES = {key: name for name, key in ALIASES.items()}
FULL = ".10g"
CLAIM = {"id", "sentence", "where", "status", "measured", "runs", "recipes", "seeds"}  # of claims.json
PYTHON = ".venv/bin/python -m"
# A complete run is not trained again in its place, so the command has separate results, the teacher's too. Where runs
# have a folder already, none are copied from the reference.
APART = "R=$(mktemp -d) && mkdir -p $R/{}/runs && PPCD_RESULTS=$R"
LINE = "  {:<16}{}"


MAKERS = {"table1": tables.table1, "table2": tables.table2, "table3": tables.table3}
COLUMNS = {
    f"table{number}": tuple(NAMES.get(key, key) for key in table.columns if key != tables.OTHERS)
    for number, table in tables.TABLES.items()
} | {"fig4": ("fid",)}
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
    study: Study
    records: Sequence[Record] = ()
    missing: Sequence[RunConfig] = ()  # runs that belong to it and are not complete
    values: dict[str, str] = field(default_factory=dict)  # run id -> its value, in full
    paper: str | None = None  # the paper's number, as printed
    notes: Sequence[str] = ()


# ------------------------------------------------------------ from a name to its runs


def rows_of(table: str) -> dict[str, str]:
    """What a row may be called -> its recipe; `ppcd-a0.5` is row `ppcd` of a table at alpha 0.5."""
    if table == "fig4":
        return {f"{method}-a{alpha:g}": name for name, (method, alpha) in FIGURE4.items()} | {x: x for x in FIGURE4}
    spec = tables.TABLES[int(table.removeprefix("table"))]
    return {get_recipe(name, spec.alpha).name: name for name in spec.models} | {name: name for name in spec.models}


def find_cell(name: str, study: Study) -> Cell:
    """The cell of that name: `table1.ppcd.fid`, `fig4.l1-biggan-a0.5.fid`, `claims.<id>`.

    Args:
        name: table, row (a recipe) and column with dots between them; of a claim its id alone.
        study: which runs.

    Raises:
        PpcdError: there is no such cell (the line says what there is), or a run was changed since it was written.
    """
    table, _, rest = name.strip().partition(".")
    if table == "claims":
        return _claim(rest, study)
    if table not in COLUMNS:
        there = ", ".join(COLUMNS)
        raise PpcdError(f"no cell {name!r}; write TABLE.ROW.COLUMN, TABLE one of {there}, or claims.ID")
    row, _, column = rest.rpartition(".")
    known, column = rows_of(table), NAMES.get(column, column)
    if row not in known or column not in COLUMNS[table]:
        expected = list(dict.fromkeys(known.values()))
        raise PpcdError(
            f"no cell {name!r}; {table} has rows {', '.join(expected)} and columns {', '.join(COLUMNS[table])}, "
            f"as in CELL={table}.{expected[0]}.{COLUMNS[table][0]}"
        )
    if table == "fig4":
        return _figure4(known[row], study)
    return _table_cell(table, known[row], column, study)


def _missing(study: Study, recipe: str) -> list[RunConfig]:
    return [config for config in study.configs([recipe]) if not study.complete([config])]


def _table_cell(table: str, row: str, column: str, study: Study) -> Cell:
    number, key, frame = int(table.removeprefix("table")), ALIASES.get(column, column), MAKERS[table](study)
    notes, pruned = list[str](), study.with_alpha(tables.TABLES[number].alpha)
    shown_as = next(each for each in tables.columns(frame) if each.key == key)
    line = frame[frame["recipe"] == row].iloc[0]
    records = pruned.records(row)
    if key in DEVICES:
        values, notes = _seconds(number, key, records, pruned)
    elif key == "kept":
        channels = {record["id"]: rows.kept_channels(record) for record in records}
        values = {run: f"{kept}/{dense}" if dense else "all" for run, (kept, dense) in channels.items()}
    else:
        values = {record["id"]: format(rows.value_of(record, key), FULL) for record in records}
    return Cell(
        name=f"{table}.{row}.{column}",
        what=f"{shown_as.heading.rstrip(' ↑↓')} of {line['model']}, Table {number}",
        shown=render.cell(line, shown_as),
        study=study,
        records=records,
        missing=_missing(pruned, row),
        values=values,
        paper=render.paper_cell(line, shown_as) if shown_as.paper else None,
        notes=notes,
    )


def _seconds(table: int, device: str, records: Sequence[Record], study: Study) -> tuple[dict[str, str], list[str]]:
    """Every run's own time, and where it was taken; times of one table come from one measurement."""
    command = f'{PYTHON} paper timing --profile {study.name} --seeds "{write_seeds(study.seeds)}"'
    together = tables.find_all(table, study)
    times = run_times([record for found in together.values() for record in found], device)
    values = {record["id"]: times.seconds[record["id"]] for record in records}
    shown = {run: NOT_RUN if np.isnan(seconds) else f"{seconds:{FULL}} s" for run, seconds in values.items()}
    if times.source == NOT_RUN:
        return shown, [f"nothing was timed on a {device.upper()}: {command}"]
    again = [f"timed again by: {command}"] if times.source == TOGETHER else []
    return shown, [f"{times.source}: {times.device}", *again]


def _figure4(row: str, study: Study) -> Cell:
    """The mean over seeds and their ten generations each, of the runs whose generations were measured."""
    method, alpha = FIGURE4[row]
    records, published = study.records(row), numbers.FIGURE4_PRINTED.get((method, alpha))
    measured = {record["id"]: read_generations(record) for record in records}
    distances = {run: [one["fd"] for one in found["generations"]] for run, found in measured.items() if found}
    values = {
        run: f"{np.mean(each):{FULL}}, the mean of " + " ".join(f"{one:.6g}" for one in each)
        for run, each in distances.items()
    }
    command = f'make reproduce PROFILE={typed(study.name)} SEEDS="{write_seeds(study.seeds)}" REUSE=1'
    return Cell(
        name=f"fig4.{row}.fid",
        what=f"{rows.score_names(study.profile.backbone)['fd']} of {numbers.FIGURE4_ROWS[method]} at alpha "
        f"{alpha:g}, Figure 4: the mean over seeds and generations",
        shown=render.write_number(float(np.mean(list(distances.values()))), "number") if distances else NOT_RUN,
        study=study,
        records=records,
        missing=_missing(study, row),
        values=dict.fromkeys(measured, NOT_RUN) | values,
        paper=numbers.published(*published, "FID").text if published else None,
        notes=[] if all(measured.values()) else [f"generations were not measured; {command} does it"],
    )


def _claim(name: str, study: Study) -> Cell:
    """A claim as `make claims` left it in `claims.json`."""
    path, again = study.results / "claims.json", f"make claims PROFILE={typed(study.name)}"
    if not path.is_file():
        path = study.source / "claims.json"
    if not path.is_file():
        raise PpcdError(f"profile {study.name} has no claims.json yet; {again} writes it")
    try:
        claims: dict[str, dict[str, Any]] = {claim["id"]: claim for claim in json.loads(path.read_text())}
        whole = all(set(claim) >= CLAIM for claim in claims.values())
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise PpcdError(f"{path} is not what was written; {again} writes it again")
    if name not in claims:
        raise PpcdError(f"no claim {name!r}; expected claims.ID, ID one of: {', '.join(claims)}")
    claim = claims[name]
    judged = replace(study, seeds=tuple(claim["seeds"]))
    note = f'judged for other seeds than were asked for; {again} SEEDS="{" ".join(map(str, study.seeds))}"'
    return Cell(
        name=f"claims.{name}",
        what=f"{claim['where']}: {claim['sentence']}",
        shown=claim["status"] + (f": {claim['measured']}" if claim["measured"] else ""),
        study=judged,
        records=[read_run(study.source / "runs" / run) for run in claim["runs"]],
        missing=[each for recipe in claim["recipes"] for each in _missing(judged, recipe)],
        notes=[] if judged == study else [note],
    )


# ------------------------------------------------------------ as text


def describe(cell: Cell) -> str:
    """The cell and, for each of its runs, all that decided its value and the command that makes it again."""
    count = f"{len(cell.records)} complete" if cell.records else NOT_RUN
    if cell.records and cell.missing:
        count += f", {len(cell.missing)} {NOT_RUN}"
    facts = [("what", cell.what), ("runs", f"{cell.study.line}: {count}")]
    if cell.paper is not None:
        facts.append(("paper", f"{cell.paper} ({numbers.SETTING}; {numbers.RUNTIME_SETTING})"))
    facts += [("note", note) for note in cell.notes]
    lines = [f"{cell.name} = {cell.shown}", *(LINE.format(*fact) for fact in facts)]
    for record in cell.records:
        lines += ["", *_describe_run(record, cell.values.get(record["id"]))]
    for config in cell.missing:
        command = train_command(cell.study.name, config.recipe.name, config.seed)
        lines += ["", f"run {config.id}: {NOT_RUN}", "  made by", f"    {command}"]
    return "\n".join(lines)


def _describe_run(record: Record, value: str | None) -> list[str]:
    made, data, teacher = record["provenance"], record["data"], record["teacher"]
    threads = f"{made['threads']} thread{'s' * (made['threads'] != 1)}"
    dirty = "dirty: its files had been changed" if made["dirty"] else "clean"
    teachers = "none needed"
    if teacher is not None:
        file = _generator(record.directory.with_name(teacher["id"]), teacher["generator_sha256"])
        teachers = f"{teacher['id']}, generator {file}"
    facts = {
        "value": value,
        "recipe": f"{record['recipe']} ({record['title']}), profile {record['profile']}",
        "seed": record["seed"],
        "commit": f"{made['commit']} ({dirty})" if made["commit"] else "unknown: it was not made in a git repository",
        "device": f"{made['device']} (processor {processor(made)}, {threads})",
        "torch": made["libraries"]["torch"],
        "data": f"{data['identity']}, {data['images']} images, SHA-256 {data['sha256']}",
        "teacher": teachers,
        "generator": _generator(record.directory, record["files"][GENERATOR]),
        "protocol": _pairs(record["metrics"]["protocol"]),
        "configuration": f"SHA-256 {record['config_hash']}",
    }
    lines = [f"run {record['id']}"]
    lines += [LINE.format(name, fact) for name, fact in facts.items() if fact is not None]
    settings = flatten(record["config"]).items()
    lines += [f"    {name} = {json.dumps(setting)}" for name, setting in settings if setting is not None]
    return [*lines, "  made again by", *(f"    {command}" for command in commands(record))]


def commands(record: Record) -> list[str]:
    """What makes the run again, line by line to be pasted at the root of the repository."""
    commit = record["provenance"]["commit"]
    train = train_command(record["profile"], record["recipe"], record["seed"], record["provenance"]["device"])
    return ([f"git checkout {commit}"] if commit else []) + [f"{APART.format(record['profile'])} {train}"]


def train_command(profile: str, recipe: str, seed: int, device: str | None = None) -> str:
    """What trains a run, with the teacher it needs; `device` as the record has it."""
    flag = {None: "", "cpu": " --device cpu", "mps": " --device mps"}.get(device, " --device cuda")
    return f"{PYTHON} ppcd train --profile {typed(profile)} --recipe {recipe} --seed {seed}{flag}"


def _generator(folder: Path, expected: str) -> str:
    """The hash of a generator, and whether the file in the run's directory is still that one."""
    path = folder / GENERATOR
    there = "not on disk"
    if path.is_file():
        there = "the same on disk" if file_hash(path) == expected else "ANOTHER FILE ON DISK"
    return f"SHA-256 {expected}, {there}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if not isinstance(value, list))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 (for a cell that was not run too), or 2 with one line on standard error."""
    parser = study_parser("why", (__doc__ or "").splitlines()[0])
    parser.add_argument("--cell", required=True, help="table1.ppcd.fid, fig4.l1-biggan-a0.5.fid, claims.ID")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    print(describe(find_cell(options.cell, asked_study(options))))
