"""Figure 1: the overall comparison, IS and the Fréchet distance against the number of parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper import numbers
from paper.artifacts import figures
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.render import write_number
from paper.artifacts.rows import score_names, statistics, value_of
from paper.artifacts.sources import NOT_RUN, Study, common_protocol, find_records
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import RECIPES

LARGEST = 900.0  # area in points² of the circle with the most parameters of a panel


@dataclass(frozen=True)
class Point:
    """A system in a panel: scores and parameters, means over seeds; NaN where not run. Deviations: NaN for one seed."""

    system: str
    score: float
    distance: float
    params: float
    score_sd: float = math.nan
    distance_sd: float = math.nan

    @property
    def there(self) -> bool:
        return not math.isnan(self.score)


def our_points(profile: str, seeds: Sequence[int]) -> list[Point]:
    """The systems of Table 1: means over the seeds that are complete.

    Raises:
        PpcdError: unknown profile, or runs that were measured in different ways.
    """
    found = {recipe: find_records(profile, recipe, seeds) for recipe in numbers.TABLE1_ROWS}
    common_protocol([record for records in found.values() for record in records])
    points = []
    for recipe, records in found.items():
        keys = ("is", "fd", "params")
        values = pd.DataFrame([[value_of(record, key) for key in keys] for record in records], columns=keys)
        row = statistics(values.astype(float))
        points.append(Point(recipe, row["is"], row["fd"], row["params"], row["is sd"], row["fd sd"]))
    return points


def paper_points() -> list[Point]:
    """The same systems in the paper's Table 1."""
    columns = ("IS", "FID", "#Par.")
    return [
        Point(recipe, *(numbers.published(1, row, column).value for column in columns))
        for recipe, row in numbers.TABLE1_ROWS.items()
    ]


def areas(points: Sequence[Point]) -> dict[str, float]:
    """Area of each circle in points², proportional to the parameters; the largest has LARGEST."""
    most = max((point.params for point in points if point.there), default=1.0)
    return {point.system: LARGEST * point.params / most for point in points if point.there}


def fig1(profile: str, seeds: Sequence[int] = (0,)) -> Figure:
    """Figure 1: IS against the Fréchet distance, areas of circles proportional to #Par.; ours and the paper's.

    Ours (filled) and the paper's (hollow) have panels, axes and circle sizes of their own: they are of other data,
    other networks and another backbone.

    Raises:
        PpcdError: as `our_points`.
    """
    study = Study(get_profile(profile).name, tuple(seeds))
    names, ours, theirs = score_names(study.backbone), our_points(profile, seeds), paper_points()
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.4, 4.2)
        left, right = figure.subplots(1, 2)
        _panel(left, ours, hollow=False)
        left.set(
            title=f"ours: profile {profile},\nbackbone {study.backbone}",
            xlabel=f"{names['is']} ↑ better",
            ylabel=f"{names['fd']} ↓ better",
        )
        _panel(right, theirs, hollow=True)
        right.set(title=f"the paper's Table 1:\n{numbers.SETTING}", xlabel="IS ↑ better", ylabel="FID ↓ better")
        spread = "; bars: standard deviation over seeds" if len(seeds) > 1 else ""
        note = (
            "areas of circles are proportional to #Par. within a panel (half as wide in the legend); "
            f"the panels share no scale{spread}"
        )
        missing = ", ".join(RECIPES[point.system].title for point in ours if not point.there)
        sign(figure, study, note + (f"\n{NOT_RUN}: {missing}" if missing else ""))
    return figure


def _panel(axes: Axes, points: Sequence[Point], hollow: bool) -> None:
    """Circles, large ones first so that none hides another, and a legend that says names and sizes."""
    size, there = areas(points), [point for point in points if point.there]
    if not there:
        not_run(axes)
    for point in sorted(there, key=lambda point: -point.params):
        colour, face = _colours(point.system, hollow)
        axes.scatter(
            [point.score], [point.distance], s=size[point.system], facecolor=face, edgecolor=colour, linewidth=1.3,
            gid=point.system, zorder=3,
        )  # fmt: skip
        if point.score_sd > 0 or point.distance_sd > 0:
            axes.errorbar(
                [point.score], [point.distance], xerr=[point.score_sd], yerr=[point.distance_sd], color=colour,
                linewidth=0.8, capsize=2, zorder=4,
            )  # fmt: skip
    if there:
        _scale(axes, there)
    handles = [_handle(point, size.get(point.system), hollow) for point in points]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=7, labelspacing=1.3,
        handletextpad=0.9, columnspacing=1.2,
    )  # fmt: skip


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    """Room around the circles, and a logarithmic axis where the distances ask for it."""
    distances = [point.distance for point in points]
    if max(distances) > 5 * min(distances) > 0:
        figures.log_scale(axes)
    axes.margins(0.2)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.0))  # no distance is below zero


def _colours(system: str, hollow: bool) -> tuple[Any, Any]:
    """Edge and face of a system's circle."""
    colour = PALETTE[list(numbers.TABLE1_ROWS).index(system)]
    return colour, "none" if hollow else matplotlib.colors.to_rgba(colour, 0.55)


def _handle(point: Point, area: float | None, hollow: bool) -> Line2D:
    """A circle of the legend, half as wide as in the panel."""
    colour, face = _colours(point.system, hollow)
    text = f"{RECIPES[point.system].title}, {write_number(point.params, 'count') if point.there else NOT_RUN}"
    width = math.sqrt(area) / 2 if area else 0.0
    return Line2D(
        [], [], linestyle="none", marker="o", markersize=width, markerfacecolor=face, markeredgecolor=colour, label=text
    )  # fmt: skip


def write_fig1(profile: str, seeds: Sequence[int] = (0,)) -> list[Path]:
    """Write `figures/<profile>/fig1.{png,pdf}`."""
    return save(fig1(profile, seeds), profile, "fig1")
