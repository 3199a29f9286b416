"""Figure 1: the overall comparison, IS and the Fréchet distance against the number of parameters."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import numbers
from paper.artifacts import figures
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, sign
from paper.artifacts.render import write_number
from paper.artifacts.rows import score_names, statistics, value_of
from paper.study import NOT_RUN, Study, common_protocol
from ppcd.training.recipes import RECIPES

LARGEST = 900.0  # area in points² of the circle with the most parameters of a panel
KEYS = {"is": "IS", "fd": "FID", "params": "#Par."}  # ours -> the paper's columns


def our_points(study: Study) -> pd.DataFrame:
    """A row for each system of Table 1: means over the seeds that are complete, and deviations (NaN for one seed)."""
    found = {recipe: study.records(recipe) for recipe in numbers.TABLE1_ROWS}
    common_protocol([record for records in found.values() for record in records])
    values = {
        recipe: [[value_of(record, key) for key in KEYS] for record in records] for recipe, records in found.items()
    }
    rows = {recipe: statistics(pd.DataFrame(each, columns=list(KEYS), dtype=float)) for recipe, each in values.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def paper_points() -> pd.DataFrame:
    """The same systems in the paper's Table 1."""
    rows = {
        recipe: {key: numbers.published(1, row, column).value for key, column in KEYS.items()}
        for recipe, row in numbers.TABLE1_ROWS.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def fig1(study: Study) -> Figure:
    """Figure 1: IS against the Fréchet distance, areas of circles proportional to #Par.; ours and the paper's.

    Ours (filled) and the paper's (hollow) have separate panels, axes and circle sizes: they are of other data, other
    networks and another backbone.
    """
    names, ours = score_names(study.profile.backbone), our_points(study)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.4, 4.2)
        left, right = figure.subplots(1, 2)
        _panel(left, ours, hollow=False)
        left.set(
            title=f"ours: profile {study.name},\nbackbone {study.profile.backbone}",
            xlabel=f"{names['is']} ↑ better",
            ylabel=f"{names['fd']} ↓ better",
        )
        _panel(right, paper_points(), hollow=True)
        right.set(title=f"the paper's Table 1:\n{numbers.SETTING}", xlabel="IS ↑ better", ylabel="FID ↓ better")
        spread = "; bars: standard deviation over seeds" if len(study.seeds) > 1 else ""
        note = (
            "areas of circles are proportional to #Par. within a panel (half as wide in the legend); "
            f"the panels share no scale{spread}"
        )
        missing = ", ".join(RECIPES[recipe].title for recipe in ours.index[ours["is"].isna()])
        sign(figure, study.line, note + (f"\n{NOT_RUN}: {missing}" if missing else ""))
    return figure


def _panel(axes: Axes, points: pd.DataFrame, hollow: bool) -> None:
    """Circles, large ones first so that none hides another, and a legend that says names and sizes."""
    there = points.dropna(subset="is").sort_values("params", ascending=False)
    colours = dict(zip(numbers.TABLE1_ROWS, PALETTE, strict=False))
    for recipe, row in there.iterrows():
        face = "none" if hollow else matplotlib.colors.to_rgba(colours[str(recipe)], 0.55)
        axes.scatter(
            row["is"], row["fd"], s=LARGEST * row["params"] / there["params"].max(), facecolor=face,
            edgecolor=colours[str(recipe)], linewidth=1.3, gid=str(recipe), zorder=3,
            label=f"{RECIPES[str(recipe)].title}, {write_number(row['params'], 'count')}",
        )  # fmt: skip
        if row.get("is sd", 0) > 0 or row.get("fd sd", 0) > 0:
            style = {"color": colours[str(recipe)], "linewidth": 0.8, "capsize": 2, "zorder": 4}
            axes.errorbar(row["is"], row["fd"], xerr=row["is sd"], yerr=row["fd sd"], **style)
    if there.empty:
        not_run(axes)
        return
    if there["fd"].max() > 5 * there["fd"].min() > 0:
        figures.log_scale(axes)
    axes.margins(0.2)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.0))  # no distance is below zero
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, markerscale=0.5, fontsize=7, labelspacing=1.3,
        handletextpad=0.9,
    )  # fmt: skip
