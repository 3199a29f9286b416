"""CSV files that grow while a run trains, and that survive being killed and resumed."""

import csv
import io
import itertools
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
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of w: w_min to w_max

Value = str | int | float | None


class HistoryWriter:
    """Appends rows to a CSV file.

    Args:
        path: an existing file is replaced unless `resume_after` is given.
        columns: the first is the iteration.
        resume_after: the iteration of the checkpoint that training resumes from: later rows, and a last line that was
            cut off when the process was killed, are dropped.
    """

    def __init__(self, path: Path, columns: Sequence[str], resume_after: int | None = None) -> None:
        self.path, self.columns = path, columns
        header, rows = ",".join(columns) + "\n", list[str]()
        if resume_after is not None and path.is_file():
            first, *lines = path.read_text().splitlines(keepends=True) or [""]
            if first == header:  # else the file is another version's
                rows = [each for each in lines if each.endswith("\n") and int(each.split(",", 1)[0]) <= resume_after]
        paths.write_atomic(path, header + "".join(rows))

    def append(self, rows: Iterable[Mapping[str, Value]]) -> None:
        """Add rows; a column that a row lacks, None and NaN are left empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
        with paths.writing(self.path), self.path.open("a") as file:
            file.write(text.getvalue())

    def sync(self) -> None:
        """Have the rows on the disk, as a checkpoint is."""
        with paths.writing(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())


def thin_masks(path: Path, limit: int = 300) -> None:
    """Leave at most about `limit` rows in a masks.csv: those around every channel that closed, and of the others as
    many as there is room for, evenly.

    What happened when can be read as before, to the same iterations; only the curves of w have fewer points.
    """
    header, *lines = path.read_text().splitlines(keepends=True)
    layers: dict[str, list[int]] = {}  # numbers of the lines
    states = []
    for index, row in enumerate(csv.DictReader([header, *lines])):
        layers.setdefault(row["layer"], []).append(index)
        states.append((row["kept"], row["frozen"]))
    chosen: set[int] = set()
    for rows in layers.values():
        needed = {rows[0], rows[-1]}
        for before, after in itertools.pairwise(rows):
            if states[before] != states[after]:
                needed |= {before, after}
        others = [row for row in rows if row not in needed]
        room = min(len(others), max(0, limit // len(layers) - len(needed)))
        chosen |= needed | {others[i * len(others) // room] for i in range(room)}
    paths.write_atomic(path, "".join([header, *(lines[index] for index in sorted(chosen))]))


def _text(value: Value) -> str:
    """Six significant digits for floats; True and False as 1 and 0."""
    if value is None or value != value:  # NaN
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)
