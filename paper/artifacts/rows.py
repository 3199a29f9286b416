"""What the paper's tables have in common: a row of means over seeds, the paper's numbers, the caption, the files."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paper import numbers as paper
from paper import sums
from paper.artifacts import render
from paper.artifacts.render import Column
from paper.artifacts.sources import NO_MODEL, NOT_RUN, Context, Record, common_protocol, data_note, listed, own_networks
from paper.real_images import comparable, read_real_images
from ppcd import paths

SCORES = ("is", "fd", "precision", "recall", "accuracy", "diversity")
SIZES = ("params", "macs")
REAL = "Real images"
LEAST_RECALL = 0.02  # images that are all alike may lie where the real ones do: precision alone says little then
PRECISION = Column("precision", "precision ↑", "high", ranked_from=("recall", LEAST_RECALL))
PRECISION_LINE = f" Precision is ranked where recall is at least {LEAST_RECALL:g}."
PAPER_COLUMNS = {"is": "IS", "fd": "FID", "diversity": "LPIPS", "params": "#Par.", "macs": "MACs"}
PAPER_COLUMNS |= {"gpu": "GPU", "cpu": "CPU"}


def kept_channels(record: Record) -> tuple[int, int]:
    """Channels kept in all masked layers of a run, and those there were."""
    return sum(mask["kept"] for mask in record["masks"]), sum(mask["channels"] for mask in record["masks"])


def value_of(record: Record, key: str) -> float:
    """A score of the EMA generator or a size, NaN where the record has none.

    Args:
        record: of a complete run.
        key: of SCORES or SIZES.
    """
    return number((record["metrics"]["ema"] if key in SCORES else record["complexity"])[key])


def number(value: Any) -> float:
    """A value of a record as a float; None is NaN."""
    return math.nan if value is None else float(value)


def statistics(key: str, values: Sequence[float]) -> dict[str, float]:
    """Mean over seeds and the standard deviation between them (n - 1; NaN for one seed)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return {key: float(np.mean(values)) if len(values) else math.nan, f"{key} sd": spread}


def _kept(records: Sequence[Record]) -> str:
    pairs = [kept_channels(record) for record in records if record["masks"]]
    return f"{np.mean([kept for kept, _ in pairs]):g}/{pairs[0][1]}" if pairs else "all"


def _kept_per_layer(records: Sequence[Record]) -> str:
    per_seed = []
    for record in records:
        per_seed.append(" ".join(f"{mask['kept']}/{mask['channels']}" for mask in record["masks"]))
    return "; ".join(filter(None, per_seed)) or "all"


def model_row(
    model: str, recipe: str, records: Sequence[Record], seeds: Sequence[int], reference: bool = False
) -> dict[str, Any]:
    """One row of a table: means and spreads of the EMA generator's scores over the seeds that there are."""
    status = "complete" if len(records) == len(seeds) else f"{len(records)} of {len(seeds)} seeds"
    row: dict[str, Any] = {
        "model": model,
        "recipe": recipe,
        "reference": reference,
        "status": status if records else NOT_RUN,
        "seeds": listed([record["seed"] for record in records]),
    }
    for key in (*SCORES, *SIZES):
        row |= statistics(key, [value_of(record, key) for record in records])
    row["kept"] = _kept(records) if records else NOT_RUN
    row["kept per layer"] = _kept_per_layer(records) if records else NOT_RUN
    row["runs"] = "; ".join(record["id"] for record in records) or NOT_RUN
    return row


def floor_rows(table: int, context: Context, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The row of real images measured as a generator's; none where they were not, or not as these runs were.

    Args:
        table: number of the paper's table, which has no such row.
        context: of the table.
        records: behind its other rows.
    """
    floor, protocol = read_real_images(context.profile), common_protocol(records)
    if floor is None or not protocol or not comparable(floor["protocol"], protocol):
        return []
    numbers = {key: number(floor["scores"][key]) if key in SCORES else math.nan for key in (*SCORES, *SIZES)}
    row: dict[str, Any] = {"model": REAL, "recipe": NO_MODEL, "reference": True, "status": NO_MODEL}
    row |= {"seeds": NO_MODEL, **numbers, "kept": NO_MODEL, "kept per layer": NO_MODEL, "runs": NO_MODEL}
    row |= {"paper table": table, "paper row": NO_MODEL}
    counts = [floor["protocol"][key] for key in ("samples", "reference_images")]
    return [row | dict(zip(("real images", "other real images"), counts, strict=True))]


def floor_line(frame: pd.DataFrame) -> str:
    """What the row of real images is, where there is one."""
    if "real images" not in frame:
        return ""
    counts = [f"{frame[key].dropna().iloc[0]:.0f}" for key in ("real images", "other real images")]
    return " {}: {} of them measured as a generator's are, against the {} others.".format(REAL, *counts)


def paper_numbers(table: int, row: str, keys: Iterable[str]) -> dict[str, Any]:
    """The paper's numbers of a row in full, and their place."""
    numbers: dict[str, Any] = {f"paper {key}": paper.published(table, row, PAPER_COLUMNS[key]).value for key in keys}
    return {"paper table": table, "paper row": row} | numbers


def assemble(rows: Sequence[dict[str, Any]], context: Context, records: Sequence[Record]) -> pd.DataFrame:
    """The rows as a frame that says of every row what it was measured with.

    Raises:
        PpcdError: the records were measured in different ways.
    """
    protocol = common_protocol(records)
    frame = pd.DataFrame(rows)
    frame["profile"], frame["asked seeds"] = context.profile, listed(context.seeds)
    frame["backbone"], frame["alpha"] = context.backbone, context.alpha
    frame["weights"], frame["samples"] = "EMA", protocol.get("samples", math.nan)
    frame["diversity distance"] = protocol.get("diversity", context.backbone)
    frame["copies of the backbone"] = own_networks(records)
    if note := data_note(records):
        frame["data note"] = note
    return frame


def score_names(backbone: str) -> dict[str, str]:
    """What a score is called: plainly IS and FID only with the paper's network, else with the backbone."""
    if backbone == "inception":
        return {"is": "IS", "fd": "FID"}
    return {"is": f"IS ({backbone})", "fd": f"FD ({backbone})"}


def settings_line(frame: pd.DataFrame, spread: bool = True) -> str:
    """Profile, seeds, backbone, samples, alpha and weights: what a caption says of our numbers.

    Args:
        frame: of `assemble`.
        spread: say of several seeds what is shown of them.
    """
    first = frame.iloc[0]
    seeds = first["asked seeds"]
    shown = " (mean ± standard deviation over seeds)" if spread and "," in seeds else ""
    samples = "" if pd.isna(first["samples"]) else f", {first['samples']:.0f} samples"
    data = f", data: {first['data note']}" if "data note" in frame else ""
    return (
        f"profile {first['profile']}, seed{'s' * (',' in seeds)} {seeds}{shown}, "
        f"backbone {first['backbone']}{samples}, alpha {first['alpha']:g}, EMA weights{data}"
    )


def mixed_line(frame: pd.DataFrame) -> str:
    """A warning where several copies of the backbone measured the scores, else nothing."""
    copies = int(frame["copies of the backbone"].iloc[0])
    return f" Scores come from {copies} separately trained copies of the backbone." if copies > 1 else ""


def write(frame: pd.DataFrame, name: str, columns: Sequence[Column], caption: str) -> list[Path]:
    """Write `results/<profile>/tables/<name>.{csv,md,tex}`."""
    contents = {
        "csv": render.csv(frame, columns),
        "md": render.markdown(frame, columns, caption),
        "tex": render.latex(frame, columns, caption, f"tab:{name}"),
    }
    written = []
    for extension, content in contents.items():
        folder = paths.results(frame["profile"].iloc[0])
        written.append(sums.write(folder, f"tables/{name}.{extension}", content))
    return written
