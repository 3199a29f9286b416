"""Did I reproduce it? One's own runs next to the reference, the runs that the repository brings (`make compare`)."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from paper.artifacts import headline, tables
from paper.artifacts.render import write_number
from paper.artifacts.rows import value_of
from paper.claims import check_claims
from paper.study import NOT_RUN, Record, Study, asked_study, common_protocol, listed, study_parser
from ppcd.base import PpcdError
from ppcd.errors import run_command
from ppcd.records import GENERATOR
from ppcd.training.recipes import get_recipe

# Every system of Tables 1 to 3 and of the README's first table, by the full name of its recipe
SYSTEMS = tuple(dict.fromkeys([
    *(get_recipe(name, table.alpha).name for table in tables.TABLES.values() for name in table.models),
    *headline.SYSTEMS,
]))  # fmt: skip
# What the paper's tables have but the seconds, which are of the machine; and the accuracy. Key -> name, style
COLUMNS = {
    "fd": ("FD", "number"),
    "accuracy": ("accuracy", "percent"),
    "is": ("IS", "number"),
    "diversity": ("diversity", "number"),
    "params": ("#Par.", "count"),
    "macs": ("MACs", "count"),
}
ROUNDING = 1e-9  # relative: a mean of equal numbers may differ from them in the last bit
EXPECTED = (
    "What to expect: the same bits on the same kind of machine, and then every cell within. Elsewhere, without AVX-512 "
    "for example, other bits, alike only statistically: by chance a score of one seed then lies outside the range of "
    "{} in about 2 of {} cells, a mean over several in fewer, and at one seed close methods may change places."
)
Runs = Mapping[str, Sequence[Record]]  # by SYSTEMS


@dataclass(frozen=True)
class Cell:
    """A mean of one's own runs, and the same of each of the reference's."""

    system: str
    key: str
    own: float | None  # None: not run
    reference: Sequence[float]  # a value a seed

    @property
    def within(self) -> bool | None:
        """Whether it lies from the least to the most of the reference; None of a cell that was not run."""
        if self.own is None:
            return None
        slack = ROUNDING * max(map(abs, self.reference))
        return min(self.reference) - slack <= self.own <= max(self.reference) + slack

    @property
    def row(self) -> dict[str, str]:
        """As the table shows it."""
        heading, style = COLUMNS[self.key]
        least, most = min(self.reference), max(self.reference)
        mean = write_number(float(np.mean(self.reference)), style)
        spread = "" if least == most else f" ({write_number(least, style)} to {write_number(most, style)})"
        return {
            "system": self.system,
            "cell": heading,
            "yours": NOT_RUN if self.own is None else write_number(self.own, style),
            "reference": mean + spread,
            "": {True: "", False: "outside", None: ""}[self.within],
        }


def find_runs(study: Study) -> Runs:
    """The complete runs of every headline system, of the study's seeds."""
    return {system: study.records(system) for system in SYSTEMS}


def reference_of(profile: str) -> Study:
    """The reference, of the seeds with which every headline system that it has is complete."""
    study = Study.reference(profile)
    seeds = sorted({int(record["seed"]) for record in study.unsealed()})
    found = find_runs(replace(study, seeds=tuple(seeds)))
    common = [{record["seed"] for record in records} for records in found.values() if records]
    return replace(study, seeds=tuple(sorted(set.intersection(*common))) if common else ())


def find_cells(own: Runs, reference: Runs) -> list[Cell]:
    """A cell for each system and column that the reference has."""
    cells = []
    for system, records in reference.items():
        for key in COLUMNS if records else ():
            theirs = [value_of(record, key) for record in records]
            ours = [value_of(record, key) for record in own[system]]
            if not np.isnan([*theirs, *ours]).any():
                cells.append(Cell(system, key, float(np.mean(ours)) if ours else None, theirs))
    return cells


def same_weights(study: Study, reference: Study) -> str:
    """How many of the runs have the weights of the reference's run of the same name, bit for bit."""
    theirs = {record["id"]: record["files"][GENERATOR] for record in reference.runs()}
    ours = [record for record in study.runs() if record["seed"] in study.seeds and record["id"] in theirs]
    same = [record for record in ours if record["files"][GENERATOR] == theirs[record["id"]]]
    copies = sum(not record.trained_here for record in same)
    line = f"{len(same)} of {len(ours)} runs have the same weights as the reference's, bit for bit"
    return f"{line}; {copies} of them are copies of it." if copies else f"{line}."


def compare_claims(study: Study, reference: Study) -> list[str]:
    """Each claim's verdict next to the reference's, and how many are the same."""
    asked = [study, reference]
    if study.seeds != reference.seeds and set(study.seeds) <= set(reference.seeds):
        asked.append(replace(reference, seeds=study.seeds))
    ours, theirs, *paired = ({each.claim.id: each.status for each in check_claims(one)} for one in asked)
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, verdict in ours.items():
        grouped.setdefault((verdict, theirs[name]), []).append(name)
    lines = ["claims, yours / the reference's:"]
    for (ours_is, theirs_is), names in sorted(grouped.items()):
        lines.append(f"  {ours_is} / {theirs_is}, {len(names)}: {', '.join(names)}")
    line = f"{_equal(ours, theirs)} of {len(ours)} claims have the reference's verdict"
    line += "".join(f"; {_equal(ours, each)} have that of its seeds {listed(study.seeds)} alone" for each in paired)
    return [*lines, "", f"{line}."]


def _equal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> int:
    return sum(verdict == theirs[name] for name, verdict in ours.items())


def compare(study: Study) -> str:
    """The comparison as text; a study without runs of its own is the reference compared with itself.

    Raises:
        PpcdError: a run that was changed.
    """
    reference = reference_of(study.name)
    if not reference.seeds:
        return f"The repository brings no runs of profile {study.name}: there is nothing to compare with."
    lines, itself = [], study.source == reference.results
    if itself:
        said = f"There are no runs of yours in {study.results}: the reference"
        said = "The reference" if study.results == reference.results else said
        study, lines = reference, [f"{said} is compared with itself.", ""]
    own = find_runs(study)
    theirs = own if itself else find_runs(reference)
    try:
        common_protocol([record for runs in (own, theirs) for records in runs.values() for record in records])
    except PpcdError as error:
        return f"Your runs cannot be compared with the reference: {error}."
    cells = find_cells(own, theirs)
    frame = pd.DataFrame([cell.row for cell in cells])
    frame["system"] = frame["system"].mask(frame["system"].duplicated(), "")
    left = {name: f"{{:<{frame[name].str.len().max()}}}".format for name in ("system", "cell", "reference")}
    lines += [
        f"profile {study.name}, yours: seeds {listed(study.seeds)}, mean; "
        f"reference: seeds {listed(reference.seeds)}, mean (least to most)",
        frame.to_string(index=False, formatters=left), "",
        *compare_claims(study, reference),
        *([] if itself else [same_weights(study, reference)]),
        EXPECTED.format(len(reference.seeds), len(reference.seeds) + 1),
        _verdict(cells),
    ]  # fmt: skip
    return "\n".join(lines)


def _verdict(cells: Sequence[Cell]) -> str:
    """`38 of 40 cells within the reference's range; not: sagan FD, ppcd accuracy.`"""
    run = [cell for cell in cells if cell.within is not None]
    outside = [f"{cell.system} {COLUMNS[cell.key][0]}" for cell in run if not cell.within]
    line = f"{len(run) - len(outside)} of {len(run)} cells within the reference's range"
    line += f"; not: {', '.join(outside)}" if outside else ": all agree"
    lacking = dict.fromkeys(cell.system for cell in cells if cell.within is None)
    return f"{line}; {NOT_RUN}: {', '.join(lacking)}." if lacking else f"{line}."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 whatever it comes to, 2 with one line on standard error for a mistake of use."""
    options = study_parser("compare", (__doc__ or "").splitlines()[0]).parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    print(compare(asked_study(options)))
