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
from paper.artifacts import figures, render
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.render import write_number
from paper.artifacts.rows import score_names
from paper.generations import read_generations
from paper.intervals import LEVEL, t_interval
from paper.study import NOT_RUN, Record, Study, common_protocol, data_note, listed
from ppcd.training.recipes import check_alpha, get_recipe

NOT_MEASURED = "no generations"  # a complete run whose ten generations are not there
LOG_FROM = 5.0  # ratio of the largest to the smallest mean from which the axis is logarithmic
MARKERS = ("o", "s", "^", "D")
SIZES = {"params": "#Par.", "macs": "MACs"}


def recipe_names(alphas: Sequence[float] = numbers.FIGURE4_ALPHAS) -> list[str]:
    """The runs of Figure 4 by their full names: `ppcd-a0.5`, `ppcd-a0.6`, `ppcd` ..."""
    return [get_recipe(method, check_alpha(alpha)).name for method in numbers.FIGURE4_ROWS for alpha in alphas]


def fig4_frame(study: Study, alphas: Sequence[float] = numbers.FIGURE4_ALPHAS) -> pd.DataFrame:
    """One row per method and alpha: mean and 95% interval of the Fréchet distance, and the paper's FID.

    The interval is `paper.intervals`': over the seeds' means; with one seed it is over its generations and says nothing
    of the spread between trainings.
    """
    points = [_point(study, method, alpha) for method in numbers.FIGURE4_ROWS for alpha in alphas]
    everything = [record for _, runs in points for record in runs]
    common_protocol(everything)
    frame = pd.DataFrame([row for row, _ in points])
    if note := data_note(everything):
        frame["data note"] = note
    return frame.assign(**{"interval over": np.where(frame["seeds"].str.contains(","), "seeds", "generations")})


def _point(study: Study, method: str, alpha: float) -> tuple[dict[str, Any], list[Record]]:
    """A row of the frame, and the runs whose generations were measured."""
    records = study.with_alpha(alpha).records(method)
    found = [(record, read_generations(record)) for record in records]
    measured = [(record, each) for record, each in found if each is not None]
    runs = [record for record, _ in measured]
    distances = [[float(each["fd"]) for each in made["generations"]] for _, made in measured]
    sizes = pd.DataFrame([record["complexity"] for record in runs], columns=list(SIZES), dtype=float)
    table, printed_row = numbers.FIGURE4_PRINTED.get((method, alpha), (None, ""))
    row = {
        "profile": study.name,
        "method": numbers.FIGURE4_ROWS[method],
        "recipe": get_recipe(method, alpha).name,
        "alpha": alpha,
        "status": "complete" if runs else NOT_MEASURED if records else NOT_RUN,
        **_mean_and_interval(distances),
        "seeds": listed([record["seed"] for record in runs]),
        "generations": sum(map(len, distances)),
        "samples per generation": measured[0][1]["protocol"]["samples"] if measured else 0,
        **sizes.mean(),
        "runs": "; ".join(record["id"] for record in runs) or NOT_RUN,
        "paper FID": math.nan if table is None else numbers.published(table, printed_row, "FID").value,
        "paper table": None if table is None else f"Table {table}",
    }
    return row, runs


def _mean_and_interval(distances: Sequence[Sequence[float]]) -> dict[str, float]:
    """Of [seed][generation]; no distance is below zero, so no interval begins there."""
    if not distances:
        return {"mean": math.nan, "low": math.nan, "high": math.nan}
    means = np.mean(distances, axis=1)
    low, high = t_interval(means if len(means) > 1 else distances[0])
    return {"mean": float(means.mean()), "low": max(0.0, low), "high": high}


def fig4_table(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """The numbers of Figure 4 to be read: methods by alpha, mean and interval, the paper's FID where it has one."""
    heading = f"{score_names(study.profile.backbone)['fd']}, mean ({100 * LEVEL:.0f}% interval)"
    table = pd.DataFrame({"method": frame["method"], "alpha": frame["alpha"].map("{:g}".format)})
    table[heading] = [f"{each.mean:.2f} ({each.low:.2f} to {each.high:.2f})" for each in frame.itertuples()]
    table[["seeds", "generations"]] = frame[["seeds", "generations"]]
    for key, name in SIZES.items():
        table[name] = [write_number(size, "count") for size in frame[key]]
    for name in (heading, *SIZES.values()):
        table[name] = table[name].where(frame["mean"].notna(), frame["status"])
    table["paper's FID"] = frame["paper FID"].map("{:.2f}".format, na_action="ignore").fillna("–")
    return table


def fig4(study: Study, frame: pd.DataFrame) -> Figure:
    """Figure 4: Fréchet distance over alpha, mean and interval; the paper's printed numbers as text."""
    means, heading = frame["mean"].dropna(), f"{score_names(study.profile.backbone)['fd']} ↓"
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.3)
        axes = figure.subplots()
        for index, (title, rows) in enumerate(frame.groupby("method", sort=False)):
            _method(axes, rows, str(title), index)
        axes.set(xlabel=r"compression ratio threshold $\alpha$ (eq. 3)", ylabel=heading)
        if means.empty:
            not_run(axes, " / ".join(frame["status"].unique()))
        else:
            alphas = frame["alpha"].unique()
            axes.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
            logarithmic = means.max() > LOG_FROM * means.min() > 0
            if logarithmic:
                figures.log_scale(axes)
            # An interval of three seeds can be wider than everything else; the axis ends where the means do.
            axes.set_ylim(means.min() / 2 if logarithmic else 0, 1.5 * means.max())
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        sign(figure, study.line, _note(frame))
    return figure


def fig4_size(study: Study, frame: pd.DataFrame) -> Figure:
    """The means of Figure 4 over parameters and over MACs: the same channels a layer are not the same size."""
    measured = frame[frame["mean"].notna()]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 2.9)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (key, heading) in zip(panels, SIZES.items(), strict=True):
            for title, color, marker in zip(numbers.FIGURE4_ROWS.values(), PALETTE, MARKERS, strict=False):
                rows = measured[measured["method"] == title]
                axes.plot(rows[key], rows["mean"], color=color, marker=marker, label=title)
            axes.set_xlabel(heading)
            axes.xaxis.set_major_formatter(lambda value, _: write_number(value, "count"))
        if measured.empty:
            not_run(panels[0], " / ".join(frame["status"].unique()))
        else:
            figures.log_scale(panels[0])
            panels[0].set_ylabel(f"{score_names(study.profile.backbone)['fd']} ↓")
            panels[0].legend()
        sign(figure, study.line, "the means of Figure 4, each method's alphas joined; left and low is better")
    return figure


def _method(axes: Axes, rows: pd.DataFrame, title: str, index: int) -> None:
    """One method's line; shifted a little from the others, so that intervals do not hide each other."""
    shown = rows[rows["mean"].notna()]
    state = f" ({rows['status'].iloc[0]})" if shown.empty else ""
    shift = 0.004 * (index - (len(numbers.FIGURE4_ROWS) - 1) / 2)
    axes.errorbar(
        shown["alpha"] + shift, shown["mean"], yerr=[shown["mean"] - shown["low"], shown["high"] - shown["mean"]],
        label=title + state, color=PALETTE[index], marker=MARKERS[index], markersize=4, linewidth=1.2, capsize=2.5,
        elinewidth=1,
    )  # fmt: skip


def _note(frame: pd.DataFrame) -> str:
    """What the means and intervals are of, what is missing, and the paper's numbers: their scale is another."""
    measured = frame[frame["mean"].notna()]
    over = " / ".join(measured["interval over"].unique()) or "generations"
    size = "" if measured.empty else f" of {measured['samples per generation'].max()} samples"
    lines = [
        f"mean of ten generations{size} a run; bars: {100 * LEVEL:.0f}% t interval of the mean over {over}, cut where "
        "the axis ends"
    ]
    if len(measured) < len(frame):
        missing = frame[frame["mean"].isna()]
        lines += textwrap.wrap(f"{' / '.join(missing['status'].unique())}: {', '.join(missing['recipe'])}", 130)
    printed = frame[frame["paper FID"].notna()].to_dict("records")
    said = [f"{row['method']}, α {row['alpha']:g}: {row['paper FID']:.2f} ({row['paper table']})" for row in printed]
    return "\n".join([*lines, *(["paper's FID, on another scale: " + "; ".join(said)] if said else [])])


def write_fig4(study: Study, alphas: Sequence[float] = numbers.FIGURE4_ALPHAS) -> list[Path]:
    """Write `fig4{,_size}.{png,pdf}` and their numbers, `tables/fig4.csv`.

    Other alphas than the paper's go to separate files, `fig4-a0.5-0.7`.
    """
    frame = fig4_frame(study, alphas)
    name = "fig4" if tuple(alphas) == numbers.FIGURE4_ALPHAS else f"fig4-a{'-'.join(f'{alpha:g}' for alpha in alphas)}"
    written = save(fig4(study, frame), study.figures, name)
    if name == "fig4":
        written += save(fig4_size(study, frame), study.figures, "fig4_size")
    return [*written, sums.write(study.results, f"tables/{name}.csv", render.csv(frame))]
