"""Which run times a table shows: those of networks timed in turns, or else those of each run's record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from paper import timing
from paper.artifacts.rows import number
from paper.study import NOT_RUN, Record
from ppcd.runs.provenance import processor

DEVICES = ("gpu", "cpu")
TOGETHER = "all networks timed in turns on one machine"
ALONE = "each network timed behind its training"


@dataclass(frozen=True)
class Times:
    """Seconds per batch of 64 images of several runs on one kind of device."""

    seconds: dict[str, float] = field(default_factory=dict)  # run id -> seconds, NaN where it was not timed
    source: str = NOT_RUN  # TOGETHER, ALONE or not run
    device: str = NOT_RUN  # what it was timed on


def run_times(records: Sequence[Record], device: str) -> Times:
    """Run times that may stand in one column: of `runtime.json` where it has all the runs, else of the records.

    A machine at rest does in less time what a busy one does: the two are never mixed.

    Args:
        records: all the runs of a table.
        device: "gpu" or "cpu".
    """
    together = {record["id"]: number((timing.read_runtime(record) or {}).get(device)) for record in records}
    if together and not any(map(math.isnan, together.values())):
        content = timing.read(records[0].directory.parents[1])
        return Times(together, TOGETHER, _machine({str(content[device])}, {content["threads"]}, device))
    own = {record["id"]: record["runtime"][device] for record in records}
    alone = {run: number(timed and timed["seconds_per_batch"]) for run, timed in own.items()}
    timed = [record for record in records if not math.isnan(alone[record["id"]])]
    if not timed:
        return Times(alone)
    made = [record["provenance"] for record in timed]
    names = {processor(each) if device == "cpu" else str(each["device"]) for each in made}
    return Times(alone, ALONE, _machine(names, {own[record["id"]]["threads"] for record in timed}, device))


def _machine(names: set[str], threads: set[int], device: str) -> str:
    said = " or ".join(sorted(names))
    if device == "gpu":
        return said
    return f"{said}, {' or '.join(map(str, sorted(threads)))} thread{'s' * (threads != {1})}"
