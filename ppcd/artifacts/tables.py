"""Table 3 of the paper from our runs, the paper's numbers beside them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppcd import paper, paths
from ppcd.artifacts import render
from ppcd.artifacts.render import Column
from ppcd.artifacts.sources import (
    NOT_RUN,
    Context,
    Record,
    alpha_suffix,
    common_protocol,
    find_records,
    listed,
    own_networks,
)
from ppcd.profiles import get_profile
from ppcd.recipes import RECIPES, TEACHER, check_alpha

SCORES = ("is", "fd", "accuracy", "diversity")


def kept_channels(record: Record) -> tuple[int, int]:
    """Channels kept in all masked layers of a run, and those there were."""
    return sum(mask["kept"] for mask in record["masks"]), sum(mask["channels"] for mask in record["masks"])


def _kept(records: Sequence[Record]) -> str:
    pairs = [kept_channels(record) for record in records if record["masks"]]
    return f"{np.mean([kept for kept, _ in pairs]):g}/{pairs[0][1]}" if pairs else "all"


def _kept_per_layer(records: Sequence[Record]) -> str:
    per_seed = []
    for record in records:
        per_seed.append(" ".join(f"{mask['kept']}/{mask['channels']}" for mask in record["masks"]))
    return "; ".join(filter(None, per_seed)) or "all"


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _statistics(key: str, values: Sequence[float]) -> dict[str, float]:
    """Mean over seeds and the standard deviation between them (n - 1; NaN for one seed)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return {key: float(np.mean(values)) if len(values) else math.nan, f"{key} sd": spread}


def model_row(
    model: str, recipe: str, records: Sequence[Record], seeds: Sequence[int], reference: bool
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
    for key in SCORES:
        row |= _statistics(key, [_number(record["metrics"]["ema"][key]) for record in records])
    for key in ("params", "macs"):
        row |= _statistics(key, [_number(record["complexity"][key]) for record in records])
    row["kept"] = _kept(records) if records else NOT_RUN
    row["kept per layer"] = _kept_per_layer(records) if records else NOT_RUN
    row["runs"] = "; ".join(record["id"] for record in records) or NOT_RUN
    return row


def _paper_numbers(table: int, row: str) -> dict[str, Any]:
    columns = {"is": "IS", "fd": "FID", "params": "#Par."}
    numbers: dict[str, Any] = {
        f"paper {key}": paper.published(table, row, column).value for key, column in columns.items()
    }
    return {"paper table": table, "paper row": row} | numbers


def table3(profile: str, seeds: Sequence[int], alpha: float = paper.TABLE3_ALPHA) -> pd.DataFrame:
    """Table 3: the ablation, four rows in the paper's order, then the teacher as a reference.

    A build product of the run directories. Every number is the mean over the seeds that are complete; a row
    without runs has status `not run`. Columns `paper ...` are the paper's (the teacher's from its Table 1).

    Args:
        profile: name of a profile.
        seeds: which seeds to average over.
        alpha: compression ratio threshold of the pruned rows (eq. 3); the paper's table has 0.5.

    Raises:
        PpcdError: unknown profile, impossible alpha, or runs that were measured in different ways.
    """
    context = Context(get_profile(profile).name, tuple(seeds), check_alpha(alpha))
    found = {recipe: find_records(profile, recipe, seeds, alpha) for recipe in (*paper.TABLE3_ROWS, TEACHER)}
    everything = [record for records in found.values() for record in records]
    protocol = common_protocol(everything)
    rows = [
        model_row(model, recipe, found[recipe], seeds, reference=False) | _paper_numbers(3, model)
        for recipe, model in paper.TABLE3_ROWS.items()
    ]
    teacher = RECIPES[TEACHER].title
    rows.append(model_row(teacher, TEACHER, found[TEACHER], seeds, True) | _paper_numbers(1, "Big-GAN"))
    frame = pd.DataFrame(rows)
    frame["profile"], frame["asked seeds"] = context.profile, listed(context.seeds)
    frame["backbone"], frame["alpha"] = context.backbone, context.alpha
    frame["weights"], frame["samples"] = "EMA", protocol.get("samples", math.nan)
    frame["diversity distance"] = protocol.get("diversity", context.backbone)
    frame["copies of the backbone"] = own_networks(everything)
    return frame


def score_names(backbone: str) -> dict[str, str]:
    """What a score is called: plainly IS and FID only with the paper's network, else with the backbone."""
    if backbone == "inception":
        return {"is": "IS", "fd": "FID"}
    return {"is": f"IS ({backbone})", "fd": f"FD ({backbone})"}


def table3_columns(frame: pd.DataFrame) -> list[Column]:
    """The columns of Table 3 as they are shown."""
    names = score_names(frame["backbone"].iloc[0])
    return [
        Column("is", f"{names['is']} ↑", "high", paper="IS"),
        Column("fd", f"{names['fd']} ↓", "low", paper="FID"),
        Column("params", "#Par. ↓", "low", "count", paper="#Par."),
        Column("accuracy", "conditional accuracy ↑", "high", "percent"),
        Column("diversity", f"diversity ({frame['diversity distance'].iloc[0]}) ↑", "high"),
        Column("kept", "kept channels", style="text"),
    ]


def table3_caption(frame: pd.DataFrame) -> str:
    """Profile, seeds, backbone and alpha, and what the paper's numbers beside ours are of."""
    first = frame.iloc[0]
    seeds = first["asked seeds"]
    spread = " (mean ± standard deviation over seeds)" if "," in seeds else ""
    copies = int(first["copies of the backbone"])
    mixed = f" Scores come from {copies} separately trained copies of the backbone." if copies > 1 else ""
    samples = "" if pd.isna(first["samples"]) else f", {first['samples']:.0f} samples"
    return (
        f"Table 3, comparison of ablation models: profile {first['profile']}, "
        f"seed{'s' * (',' in seeds)} {seeds}{spread}, "
        f"backbone {first['backbone']}{samples}, alpha {first['alpha']:g}, EMA weights. Best in bold, second "
        f"underlined; the reference is not ranked. Paper's numbers: {paper.SETTING}, alpha "
        f"{paper.TABLE3_ALPHA:g}.{mixed}"
    )


def markdown(frame: pd.DataFrame) -> str:
    """Table 3 in Markdown, caption first."""
    return render.markdown(frame, table3_columns(frame), table3_caption(frame))


def html(frame: pd.DataFrame) -> render.Html:
    """Table 3 for `notebook.show`."""
    return render.table_html(frame, table3_columns(frame), table3_caption(frame))


def write_table3(frame: pd.DataFrame) -> list[Path]:
    """Write `results/<profile>/tables/table3.{csv,md,tex}`; `table3-a0.6` where alpha is not the paper's."""
    first = frame.iloc[0]
    name = "table3" + alpha_suffix(float(first["alpha"]), paper.TABLE3_ALPHA)
    columns, caption = table3_columns(frame), table3_caption(frame)
    contents = {
        "csv": render.csv(frame),
        "md": render.markdown(frame, columns, caption),
        "tex": render.latex(frame, columns, caption, f"tab:{name}"),
    }
    written = []
    for extension, content in contents.items():
        path = paths.results(first["profile"]) / "tables" / f"{name}.{extension}"
        paths.write_atomic(path, content)
        written.append(path)
    return written
