"""CSV files that grow while a run trains, and that survive being killed and resumed."""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ppcd import paths

HISTORY_COLUMNS = (
    "iteration", "phase", "seconds", "loss_d", "loss_adv", "loss_cd", "loss_pp",
    "images_per_second", "pruned", "loss_pixel", "loss_feature",
)  # fmt: skip
MASK_COLUMNS = (
    "iteration", "layer", "lambda", "ratio", "kept", "frozen", "w_min", "w_q25", "w_median", "w_q75", "w_max",
    "closed",
)  # fmt: skip
QUANTILES = {"w_min": 0.0, "w_q25": 0.25, "w_median": 0.5, "w_q75": 0.75, "w_max": 1.0}

Value = str | int | float | None


class HistoryWriter:
    """Appends rows to a CSV file, each call's rows in one write.

    Args:
        path: the file; an existing one is kept only where `resume_after` says so.
        columns: its columns; the first is the iteration.
        resume_after: the iteration of the checkpoint that training resumes from: later rows, and a last line
            that was cut off, are dropped. None: start anew.
    """

    def __init__(self, path: Path, columns: Sequence[str], resume_after: int | None = None) -> None:
        self.path = path
        self.columns = tuple(columns)
        kept: list[str] = []
        if resume_after is not None and path.is_file():
            kept = [line for line in self._whole_lines() if int(line.split(",", 1)[0]) <= resume_after]
        paths.write_atomic(path, "".join([_csv_line(self.columns), *kept]))

    def append(self, rows: Iterable[Mapping[str, Value]]) -> None:
        """Add rows; a column that a row lacks, None and NaN are left empty.

        Raises:
            ValueError: a row has something else than the columns.
            PpcdError: the disk is full, or the file cannot be written.
        """
        lines = []
        for row in rows:
            unknown = set(row) - set(self.columns)
            if unknown:
                raise ValueError(f"{self.path.name} has no column {', '.join(sorted(unknown))}")
            lines.append(_csv_line([_text(row.get(column)) for column in self.columns]))
        # One write, at the end of the file: a killed process leaves whole lines, or a last one cut off. A full disk
        # takes a part of it, and refuses the rest.
        rest = "".join(lines).encode()
        with paths.writing(self.path):
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                while rest:
                    rest = rest[os.write(handle, rest) :]
            finally:
                os.close(handle)

    def sync(self) -> None:
        """Have the rows on the disk, as a checkpoint is."""
        with paths.writing(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())

    def _whole_lines(self) -> list[str]:
        header, *lines = self.path.read_text().splitlines(keepends=True) or [""]
        if header != _csv_line(self.columns):
            return []  # another version's columns
        return [line for line in lines if line.endswith("\n")]


def thin_masks(path: Path, limit: int = 300) -> None:
    """Leave at most about `limit` rows in a masks.csv: those around every channel that closed, and of the others as
    many as there is room for, evenly.

    What happened when can be read as before, to the same iterations; only the curves of w have fewer points.
    """
    header, *lines = path.read_text().splitlines(keepends=True)
    names = header.strip().split(",")
    kept, frozen, layer = (names.index(name) for name in ("kept", "frozen", "layer"))
    layers: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        layers.setdefault(line.split(",")[layer], []).append(index)
    chosen: set[int] = set()
    for rows in layers.values():
        states = [(cells[kept], cells[frozen]) for cells in (lines[row].split(",") for row in rows)]
        changed = [i for i in range(1, len(rows)) if states[i] != states[i - 1]]
        needed = {0, len(rows) - 1, *changed, *(i - 1 for i in changed)}
        others = [i for i in range(len(rows)) if i not in needed]
        room = min(len(others), max(0, limit // len(layers) - len(needed)))
        chosen |= {rows[i] for i in needed} | {rows[others[i * len(others) // room]] for i in range(room)}
    paths.write_atomic(path, "".join([header, *(lines[index] for index in sorted(chosen))]))


def _csv_line(values: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _text(value: Value) -> str:
    """Six significant digits for floats; True and False as 1 and 0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
