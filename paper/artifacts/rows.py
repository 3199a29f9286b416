"""What the paper's tables have in common: a row of means over seeds, the paper's numbers, the files."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paper import numbers, sums, timing
from paper.artifacts import render
from paper.artifacts.render import Column
from paper.real_images import comparable, read_real_images
from paper.study import NO_MODEL, NOT_RUN, Record, Study, common_protocol, data_note, listed, own_networks
from ppcd.runs.provenance import processor

SCORES = ("is", "fd", "precision", "recall", "accuracy", "diversity")
SIZES = ("params", "macs")
REAL = "Real images"
PAPER_COLUMNS = {"is": "IS", "fd": "FID", "diversity": "LPIPS", "params": "#Par.", "macs": "MACs"}
PAPER_COLUMNS |= {"gpu": "GPU", "cpu": "CPU"}
DEVICES = ("gpu", "cpu")
TOGETHER = "all networks timed in turns on one machine"
ALONE = "each network timed behind its training"


def kept_channels(record: Record) -> tuple[int, int]:
    """Channels kept in all masked layers of a run, and those there were."""
    return sum(mask["kept"] for mask in record["masks"]), sum(mask["channels"] for mask in record["masks"])


def value_of(record: Record, key: str) -> float:
    """A score of the EMA generator (of SCORES) or a size (of SIZES); NaN where the record has none."""
    return number((record["metrics"]["ema"] if key in SCORES else record["complexity"])[key])


def number(value: Any) -> float:
    """A value of a record as a float; None is NaN."""
    return math.nan if value is None else float(value)


def statistics(values: pd.DataFrame) -> dict[str, float]:
    """Of every column the mean over seeds and the standard deviation between them (n - 1; NaN for one seed)."""
    found: dict[str, float] = {}
    for key, column in values.items():
        found |= {str(key): column.mean(skipna=False), f"{key} sd": column.std(skipna=False)}
    return found


def model_row(
    model: str, recipe: str, records: Sequence[Record], seeds: Sequence[int], reference: bool = False
) -> dict[str, Any]:
    """One row of a table: means and spreads of the EMA generator's scores over the seeds that there are."""
    status = "complete" if len(records) == len(seeds) else f"{len(records)} of {len(seeds)} seeds"
    keys = (*SCORES, *SIZES)
    values = [[value_of(record, key) for key in keys] for record in records]
    masked = [record for record in records if record["masks"]]
    kept, kept_per_layer = "all", "all"
    if masked:
        kept = f"{np.mean([kept_channels(record)[0] for record in masked]):g}/{kept_channels(masked[0])[1]}"
        kept_per_layer = "; ".join(
            " ".join(f"{mask['kept']}/{mask['channels']}" for mask in record["masks"]) for record in masked
        )
    return {
        "model": model,
        "recipe": recipe,
        "reference": reference,
        "status": status if records else NOT_RUN,
        "seeds": listed([record["seed"] for record in records]),
        **statistics(pd.DataFrame(values, columns=keys, dtype=float)),
        "kept": kept if records else NOT_RUN,
        "kept per layer": kept_per_layer if records else NOT_RUN,
        "runs": "; ".join(record["id"] for record in records) or NOT_RUN,
    }


def paper_numbers(table: int, row: str, keys: Iterable[str]) -> dict[str, Any]:
    """The paper's numbers of a row in full, and their place."""
    printed: dict[str, Any] = {f"paper {key}": numbers.published(table, row, PAPER_COLUMNS[key]).value for key in keys}
    return {"paper table": table, "paper row": row} | printed


def assemble(table: int, rows: Sequence[dict[str, Any]], study: Study, records: Sequence[Record]) -> pd.DataFrame:
    """The rows, and one of real images, as a frame that says of every row what it was measured with.

    Raises:
        PpcdError: the records were measured in different ways.
    """
    protocol, note = common_protocol(records), data_note(records)
    settings = {
        "profile": study.name,
        "asked seeds": listed(study.seeds),
        "backbone": study.profile.backbone,
        "alpha": study.alpha,
        "weights": "EMA",
        "samples": protocol.get("samples", math.nan),
        "diversity distance": protocol.get("diversity", study.profile.backbone),
        "copies of the backbone": own_networks(records),
        **({"data note": note} if note else {}),
    }
    return pd.DataFrame([*rows, *_real_images(table, study, protocol)]).assign(**settings)


def _real_images(table: int, study: Study, protocol: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of real images measured as a generator's; none where they were not, or not as these runs were."""
    measured = read_real_images(study.source)
    if measured is None or not protocol or not comparable(measured["protocol"], protocol):
        return []
    texts = ("recipe", "status", "seeds", "kept", "kept per layer", "runs", "paper row")
    row = {"model": REAL, "reference": True, "paper table": table, **dict.fromkeys(texts, NO_MODEL)}
    row |= {key: number(measured["scores"][key]) for key in SCORES}
    row["real images"] = measured["protocol"]["samples"]
    return [row | {"other real images": measured["protocol"]["reference_images"]}]


@dataclass(frozen=True)
class Times:
    """Seconds per batch of 64 images of several runs on one kind of device."""

    seconds: dict[str, float] = field(default_factory=dict)  # run id -> seconds, NaN where it was not timed
    source: str = NOT_RUN  # TOGETHER, ALONE or not run
    device: str = NOT_RUN  # what it was timed on


def run_times(records: Sequence[Record], device: str) -> Times:
    """Run times that may stand in one column: of `runtime.json` where it has all these runs, else of the records.

    A machine at rest does in less time what a busy one does: the two are never mixed.
    """
    together = {record["id"]: number((timing.read_runtime(record) or {}).get(device)) for record in records}
    if together and not any(map(math.isnan, together.values())):
        content = timing.read(records[0].source)
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


def score_names(backbone: str) -> dict[str, str]:
    """What a score is called: plainly IS and FID only with the paper's network, else with the backbone."""
    if backbone == "inception":
        return {"is": "IS", "fd": "FID"}
    return {"is": f"IS ({backbone})", "fd": f"FD ({backbone})"}


def write(study: Study, frame: pd.DataFrame, name: str, columns: Sequence[Column], caption: str) -> list[Path]:
    """Write `tables/<name>.{csv,md,tex}`."""
    contents = {
        "csv": render.csv(frame, columns),
        "md": render.markdown(frame, columns, caption),
        "tex": render.latex(frame, columns, caption, f"tab:{name}"),
    }
    return [sums.write(study.results, f"tables/{name}.{extension}", content) for extension, content in contents.items()]
