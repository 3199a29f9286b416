"""Figure 4: the Fréchet distance over the compression ratio threshold, four methods, ten generations each."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import numbers, sums
from paper.artifacts import figures
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.render import write_number
from paper.artifacts.rows import score_names
from paper.artifacts.sources import NOT_RUN, Record, Study, common_protocol, data_note, find_records, listed
from paper.generations import read_generations
from paper.intervals import LEVEL, t_interval
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.runs.config import RunConfig, run_config
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import check_alpha, get_recipe

NOT_MEASURED = "no generations"  # a complete run whose ten generations are not there
LOG_FROM = 5.0  # ratio of the largest to the smallest mean from which the axis is logarithmic
MARKERS = ("o", "s", "^", "D")
SIZES = {"params": "#Par.", "macs": "MACs"}


def recipe_names(alphas: Sequence[float] = numbers.FIGURE4_ALPHAS) -> list[str]:
    """The runs of Figure 4 by their full names: `ppcd-a0.5`, `ppcd-a0.6`, `ppcd` ..."""
    return [get_recipe(method, check_alpha(alpha)).name for method in numbers.FIGURE4_ROWS for alpha in alphas]


def run_configs(
    profile: str, seeds: Sequence[int] = (0,), alphas: Sequence[float] = numbers.FIGURE4_ALPHAS
) -> list[RunConfig]:
    """The same with their seeds, for `paper.generations.ensure_generations`."""
    return [run_config(profile, name, seed) for seed in seeds for name in recipe_names(alphas)]


def generations_fd(records: Sequence[Record]) -> tuple[list[Record], list[list[float]], int | None]:
    """The runs whose generations are there, their Fréchet distances [seed][generation], and samples of each.

    Raises:
        PpcdError: generations that were measured in different ways.
    """
    measured = [(record, found) for record in records if (found := read_generations(record)) is not None]
    protocols = [{**found["protocol"]} for _, found in measured]
    ways = {(each["backbone"], each["samples"], len(each["seeds"])) for each in protocols}
    if len(ways) > 1:
        names = ", ".join(record["id"] for record, _ in measured)
        raise PpcdError(f"the generations of {names} were measured in different ways; measure them again")
    values = [[float(each["fd"]) for each in found["generations"]] for _, found in measured]
    return [record for record, _ in measured], values, protocols[0]["samples"] if protocols else None


def fig4_frame(
    profile: str, seeds: Sequence[int] = (0,), alphas: Sequence[float] = numbers.FIGURE4_ALPHAS
) -> pd.DataFrame:
    """One row per method and alpha: mean and 95% interval of the Fréchet distance, and the paper's FID.

    The interval is `paper.intervals`': over the seeds' means; with one seed it is over its generations and says nothing
    of the spread between trainings.

    Raises:
        PpcdError: unknown profile, impossible alpha, or runs that were measured in different ways.
    """
    name = get_profile(profile).name
    rows, everything = [], []
    for method, title in numbers.FIGURE4_ROWS.items():
        for alpha in alphas:
            records = find_records(profile, method, seeds, check_alpha(alpha))
            measured, values, samples = generations_fd(records)
            everything += measured
            printed = numbers.FIGURE4_PRINTED.get((method, alpha))
            row: dict[str, Any] = {
                "profile": name,
                "method": title,
                "recipe": get_recipe(method, alpha).name,
                "alpha": alpha,
                "status": "complete" if measured else NOT_MEASURED if records else NOT_RUN,
                **_statistics(values),
                "seeds": listed([record["seed"] for record in measured]),
                "generations": sum(map(len, values)),
                "samples per generation": samples or 0,
                **{
                    key: float(np.mean([record["complexity"][key] for record in measured])) if measured else math.nan
                    for key in SIZES
                },
                "runs": "; ".join(record["id"] for record in measured) or NOT_RUN,
                "paper FID": math.nan if printed is None else numbers.published(*printed, "FID").value,
                "paper table": "" if printed is None else f"Table {printed[0]}",
            }
            rows.append(row)
    common_protocol(everything)
    frame = pd.DataFrame(rows)
    if note := data_note(everything):
        frame["data note"] = note
    frame["interval over"] = ["seeds" if "," in row["seeds"] else "generations" for row in rows]
    return frame


def fig4_table(
    profile: str, seeds: Sequence[int] = (0,), alphas: Sequence[float] = numbers.FIGURE4_ALPHAS
) -> pd.DataFrame:
    """The numbers of Figure 4 to be read: methods by alpha, mean and interval, the paper's FID where it has one."""
    heading = f"{score_names(get_profile(profile).backbone)['fd']}, mean ({100 * LEVEL:.0f}% interval)"
    rows = []
    for row in fig4_frame(profile, seeds, alphas).to_dict("records"):
        ours = f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        rows.append(
            {
                "method": row["method"],
                "alpha": f"{row['alpha']:g}",
                heading: row["status"] if math.isnan(row["mean"]) else ours,
                "seeds": row["seeds"],
                "generations": row["generations"],
                **{
                    heading: row["status"] if math.isnan(row[key]) else write_number(row[key], "count")
                    for key, heading in SIZES.items()
                },
                "paper's FID": "–" if math.isnan(row["paper FID"]) else f"{row['paper FID']:.2f}",
            }
        )
    return pd.DataFrame(rows)


def _statistics(values: Sequence[Sequence[float]]) -> dict[str, float]:
    if not values:
        return {"mean": math.nan, "low": math.nan, "high": math.nan}
    means = np.mean(values, axis=1)
    low, high = t_interval(means if len(means) > 1 else values[0])
    return {"mean": float(means.mean()), "low": max(0.0, low), "high": high}


def fig4(
    profile: str,
    seeds: Sequence[int] = (0,),
    alphas: Sequence[float] = numbers.FIGURE4_ALPHAS,
    frame: pd.DataFrame | None = None,
) -> Figure:
    """Figure 4: Fréchet distance over alpha, mean and interval; the paper's printed numbers beside it.

    Args:
        frame: what `fig4_frame` returned for the same arguments, so that it is not computed twice.

    Raises:
        PpcdError: as `fig4_frame`.
    """
    frame = fig4_frame(profile, seeds, alphas) if frame is None else frame
    study = Study(get_profile(profile).name, tuple(seeds))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.3)
        axes, beside = figure.subplots(1, 2, width_ratios=[3, 1])
        for index, (title, rows) in enumerate(frame.groupby("method", sort=False)):
            _method(axes, rows, str(title), index, len(numbers.FIGURE4_ROWS))
        means = frame["mean"].dropna()
        if means.empty:
            not_run(axes, " / ".join(frame["status"].unique()))
        else:
            axes.set_xticks(list(alphas), [f"{alpha:g}" for alpha in alphas])
            logarithmic = means.max() > LOG_FROM * means.min() > 0
            if logarithmic:
                figures.log_scale(axes)
            # An interval of three seeds can be wider than everything else; the axis ends where the means do.
            axes.set_ylim(means.min() / 2 if logarithmic else 0, 1.5 * means.max())
        axes.set(
            xlabel=r"compression ratio threshold $\alpha$ (eq. 3)", ylabel=f"{score_names(study.backbone)['fd']} ↓"
        )
        handles, labels = axes.get_legend_handles_labels()
        beside.set_axis_off()
        if handles:
            beside.legend(handles, labels, loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0)
        beside.text(0, 0.42, _paper_text(frame), va="top", fontsize=7, linespacing=1.4, transform=beside.transAxes)
        sign(figure, study, _note(frame))
    return figure


def fig4_size(profile: str, seeds: Sequence[int], frame: pd.DataFrame) -> Figure:
    """The means of Figure 4 over parameters and over MACs: the same channels a layer are not the same size.

    Args:
        frame: what `fig4_frame` returned for the same profile and seeds.
    """
    study = Study(get_profile(profile).name, tuple(seeds))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 2.9)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (key, heading) in zip(panels, SIZES.items(), strict=True):
            for index, (title, rows) in enumerate(frame.groupby("method", sort=False)):
                there = rows[rows["mean"].notna()]
                axes.plot(there[key], there["mean"], color=PALETTE[index], marker=MARKERS[index], label=title)
            axes.set_xlabel(heading)
            axes.xaxis.set_major_formatter(lambda value, _: write_number(value, "count"))
        if frame["mean"].notna().any():
            figures.log_scale(panels[0])
            panels[0].set_ylabel(f"{score_names(study.backbone)['fd']} ↓")
            panels[0].legend()
        else:
            not_run(panels[0], " / ".join(frame["status"].unique()))
        sign(figure, study, "the means of Figure 4, each method's alphas joined; left and low is better")
    return figure


def _method(axes: Axes, rows: pd.DataFrame, title: str, index: int, methods: int) -> None:
    """One method's line; a little aside of the others, so that intervals do not hide each other."""
    there = rows[rows["mean"].notna()]
    state = "" if len(there) else f" ({rows['status'].iloc[0]})"
    alphas = there["alpha"].to_numpy(dtype=float) + 0.004 * (index - (methods - 1) / 2)
    mean = there["mean"].to_numpy(dtype=float)
    spread = np.stack([mean - there["low"].to_numpy(dtype=float), there["high"].to_numpy(dtype=float) - mean])
    axes.errorbar(
        alphas, mean, yerr=spread, label=title + state, color=PALETTE[index], marker=MARKERS[index], markersize=4,
        linewidth=1.2, capsize=2.5, elinewidth=1,
    )  # fmt: skip


def _paper_text(frame: pd.DataFrame) -> str:
    """The paper's numbers of these points, as text: their scale is another."""
    lines = ["paper's FID (ImageNet 128×128,", "another scale):"]
    for row in frame[frame["paper FID"].notna()].to_dict("records"):
        lines.append(f"{row['method']}, α {row['alpha']:g}: {row['paper FID']:.2f} ({row['paper table']})")
    return "\n".join([*lines, "others: drawn, not printed"])


def _note(frame: pd.DataFrame) -> str:
    """Of what the means and intervals are, and what is missing."""
    there = frame[frame["mean"].notna()]
    over = " / ".join(dict.fromkeys(there["interval over"])) or "generations"
    samples = int(there["samples per generation"].max()) if len(there) else 0
    size = f" of {samples} samples" if samples else ""
    lines = [
        f"mean of ten generations{size} a run; bars: {100 * LEVEL:.0f}% t interval of the mean over {over}, cut where "
        "the axis ends"
    ]
    for status, rows in frame[frame["mean"].isna()].groupby("status", sort=False):
        methods = [
            f"{method} at {', '.join(f'{alpha:g}' for alpha in group['alpha'])}"
            for method, group in rows.groupby("method", sort=False)
        ]
        lines += textwrap.wrap(f"{status}: {'; '.join(methods)}", 130)
    return "\n".join(lines)


def write_fig4(
    profile: str, seeds: Sequence[int] = (0,), alphas: Sequence[float] = numbers.FIGURE4_ALPHAS
) -> list[Path]:
    """Write `figures/<profile>/fig4{,_size}.{png,pdf}` and their numbers, `results/<profile>/tables/fig4.csv`.

    Other alphas than the paper's go to files of their own, `fig4-a0.5-0.7`.
    """
    frame = fig4_frame(profile, seeds, alphas)
    name = "fig4" if tuple(alphas) == numbers.FIGURE4_ALPHAS else f"fig4-a{'-'.join(f'{alpha:g}' for alpha in alphas)}"
    written = save(fig4(profile, seeds, alphas, frame), profile, name)
    if name == "fig4":
        written += save(fig4_size(profile, seeds, frame), profile, "fig4_size")
    return [*written, sums.write(paths.results(get_profile(profile).name), f"tables/{name}.csv", _csv(frame))]


def _csv(frame: pd.DataFrame) -> str:
    """Every number in full; the status where there is none of ours, `n/a` where the paper prints none."""
    table = frame.astype(object)
    for column in ("mean", "low", "high", "seeds", "generations", "samples per generation", "interval over", *SIZES):
        table.loc[frame["mean"].isna(), column] = frame["status"]
    table["paper FID"] = table["paper FID"].where(frame["paper FID"].notna(), "n/a")
    table["paper table"] = table["paper table"].replace("", "n/a")
    return table.to_csv(index=False, lineterminator="\n")
