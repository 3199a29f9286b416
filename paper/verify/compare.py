"""Two texts of one product, the committed one and the one made anew, cell by cell."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePath
from typing import Any

ROUNDING = 1e-9  # relative: what the arithmetic of another machine may change in a mean, and in an interval
PLOTTED = 2e-5  # of a number that is kept with six digits
NOTHING = "nothing"
NAMED_BY = ("id", "model", "method", "system", "name", "layer")  # what a row is called by, where it has it


@dataclass(frozen=True)
class Finding:
    """Something that is not as the runs say."""

    file: str  # relative to the repository
    cell: str  # where in it; "" for all of it
    says: str
    expected: str = ""  # by the runs; "" where `says` is the whole story

    def __str__(self) -> str:
        where = f"{self.file}: {self.cell}" if self.cell else self.file
        return f"{where}: says {self.says}, the runs say {self.expected}" if self.expected else f"{where}: {self.says}"


Difference = tuple[str, str, str]  # cell, what the committed one says, what the runs say


def differences(name: str, committed: str, made: str, rounding: float) -> Iterator[Difference]:
    """Where two texts of one kind of file differ.

    Args:
        name: of the file; its ending says how to read it.
        committed, made: the texts.
        rounding: numbers whose relative difference is not larger are the same.
    """
    readers: dict[str, Callable[[str], Iterator[tuple[str, Any]]]] = {
        ".csv": _csv_cells,
        ".json": _json_cells,
        ".md": lambda text: _table_cells(text, "|"),
        ".tex": lambda text: _table_cells(text, "&"),
    }
    if committed == made:
        return
    read = readers[PurePath(name).suffix]
    try:
        ours = dict(read(committed))
    except (ValueError, csv.Error) as error:
        yield "", f"what cannot be read ({error})", "otherwise"
        return
    yield from _differing(ours, dict(read(made)), rounding)


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any], rounding: float) -> Iterator[Difference]:
    for cell in dict.fromkeys((*ours, *theirs)):
        says, expected = ours.get(cell, NOTHING), theirs.get(cell, NOTHING)
        if not same(says, expected, rounding):
            yield cell, str(says), str(expected)


def same(one: Any, other: Any, rounding: float) -> bool:
    """Equal, or numbers (texts of numbers too) that differ by no more than rounding."""
    if str(one) == str(other) or not rounding:
        return str(one) == str(other)
    try:
        first, second = float(one), float(other)
    except (TypeError, ValueError):
        return False
    return math.isclose(first, second, rel_tol=rounding, abs_tol=rounding * 1e-3)


def _csv_cells(text: str) -> Iterator[tuple[str, str]]:
    """`row 2 (SA-GAN), column fd`."""
    head, *body = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    yield "columns", ", ".join(head)
    for number, row in enumerate(body, 1):
        named = [value for name, value in zip(head, row, strict=False) if name in NAMED_BY]
        yield from _row_cells(number, named[0] if named else "", head, row)


def _row_cells(number: int, called: str, head: list[str], row: list[str]) -> Iterator[tuple[str, str]]:
    where = f"row {number}" + (f" ({called})" if called else "")
    for place, (heading, value) in enumerate(zip_longest(head, row, fillvalue=""), 1):
        yield f"{where}, column {heading or place}", value


def _table_cells(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """The cells of a table in Markdown or LaTeX, and every other line as it is."""
    head: list[str] | None = None
    number = 0
    for line_number, line in enumerate(text.splitlines(), 1):
        inner = line.strip().removesuffix(r"\\").removeprefix("|").removesuffix("|")
        cells = [cell.strip() for cell in inner.split(separator)]
        if separator not in line or len(cells) < 2 or (head is None and separator == "|" and line[:1] != "|"):
            yield f"line {line_number}", line
        elif head is None:
            head = cells
            yield "headings", line
        else:
            number += 1
            yield from _row_cells(number, cells[0], head, cells)


def _json_cells(text: str) -> Iterator[tuple[str, Any]]:
    yield from json_cells(json.loads(text, parse_float=str))  # as they are written, to the last digit


def json_cells(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of nested ones, each with its place: `[far-worse].parts[1].value`."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from json_cells(each, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        yield f"{place} (how many)", len(value)
        for index, each in enumerate(value):
            called = each.get("id", index) if isinstance(each, dict) else index
            yield from json_cells(each, f"{place}[{called}]")
    else:
        yield place, value
