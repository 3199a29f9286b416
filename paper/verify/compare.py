"""A committed product against the same one made again: the first place where they differ."""

import io
import json
import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

ROUNDING = 1e-9  # relative: what the arithmetic of another machine may change in a mean or an interval
PLOTTED = 2e-5  # relative, for figures, whose numbers are written with six digits
IMAGE = 2e-3  # absolute, for the mean and the deviation of images, which a network makes again
BINARY = {".png", ".pdf"}  # other versions of matplotlib draw the same numbers differently; only their hash is checked
SHOWN = 60  # characters of a differing line


class Finding(NamedTuple):
    """A file that is not what its runs give."""

    file: str  # relative to the repository
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def file_difference(committed: Path, made: Path, rounding: float) -> str | None:
    """The first difference of two files of one name; None where there is none but rounding.

    Args:
        rounding: relative difference up to which two numbers of CSV or JSON are the same.
    """
    if committed.suffix in BINARY:
        return None
    ours, theirs = committed.read_text(), made.read_text()
    if ours == theirs:
        return None
    try:
        if committed.suffix == ".csv":
            return table_difference(ours, theirs, rounding)
        if committed.suffix == ".json":
            return value_difference(json.loads(ours), json.loads(theirs), rounding)
    except ValueError as error:  # JSON, and pandas' ParserError
        return f"cannot be read ({error})"
    return text_difference(ours, theirs)


def text_difference(ours: str, theirs: str) -> str | None:
    """The first line that differs, from shortly before the first character that does."""
    for number, (one, other) in enumerate(zip_longest(ours.splitlines(), theirs.splitlines(), fillvalue=""), 1):
        if one != other:
            at = next(place for place, pair in enumerate(zip_longest(one, other)) if pair[0] != pair[1])
            start = max(at - SHOWN // 2, 0)
            shown = (repr(line[start : start + SHOWN]) for line in (one, other))
            return "line {}: {} instead of {}".format(number, *shown)
    return None


def table_difference(ours: str, theirs: str, rounding: float) -> str | None:
    """The first column and row of two CSV texts that differ."""
    try:
        pd.testing.assert_frame_equal(
            _table(ours), _table(theirs), check_dtype=False, rtol=rounding, atol=rounding / 1e3, obj="table"
        )
    except AssertionError as error:  # "... (column name="fd") are different", lists, "At positional index 3, ..."
        lines = str(error).splitlines()
        return f"{lines[0]}: {lines[-1]}"
    return None


def _table(text: str) -> pd.DataFrame:
    """Numbers as numbers, also in columns that say `not run` somewhere."""
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).map(_number)


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def value_difference(ours: Any, theirs: Any, rounding: float) -> str | None:
    """The first place where two parsed JSON files differ by more than rounding."""
    first, second = dict(_places(ours)), dict(_places(theirs))
    for place in first | second:
        one, other = first.get(place, "nothing"), second.get(place, "nothing")
        if not close(one, other, rounding, IMAGE if ".images[" in place else rounding / 1e3):
            return f"{place.removeprefix('.')}: {one!r} instead of {other!r}"
    return None


def close(one: Any, other: Any, relative: float, absolute: float = 0.0) -> bool:
    """Whether two values are equal, or numbers that differ by no more than rounding."""
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return one == other or (numbers and math.isclose(one, other, rel_tol=relative, abs_tol=absolute))


def _places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value in nested ones with its place: `.parts[1].value`."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _places(each, f"{place}.{name}")
    elif isinstance(value, list):
        yield f"{place} (count)", len(value)
        for index, each in enumerate(value):
            yield from _places(each, f"{place}[{index}]")
    else:
        yield place, value
