"""The figures of what the runs say to the questions of `paper.questions` (notebook 12)."""

import math
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, sign
from paper.artifacts.sources import NOT_RUN, Study, directory
from paper.claims.predicates import Quantity
from paper.questions import ALL_SEEDS, EFFECT, FEW, HINT, NONE, OPEN, QUESTIONS, WEIGHTS, Answers, extended
from ppcd.method.ema import DECLARED
from ppcd.runs.score_curve import CURVE
from ppcd.training.profiles import get_profile

COLORS = {EFFECT: PALETTE[2], HINT: PALETTE[1], NONE: "0.45", FEW: "0.7", OPEN: "0.8"}
MARKERS = ("o", "s", "^", "D", "v")


def answers_figure(found: Answers) -> Figure:
    """Every question's paired differences, as shares of the control's mean: seeds, their mean, the 95% t interval.

    Below them those questions that are asked of more seeds, with all of these.
    """
    rows = [(each.asks + " (leakage)" * (each.score != "fd"), found.first[each.name]) for each in QUESTIONS]
    if found.has_more:
        rows += [(f"{each.asks}, {len(ALL_SEEDS)} seeds", found.more[each.name]) for each in extended()]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 0.9 + 0.26 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color="0.3", linewidth=1)
        for place, (_, one) in enumerate(rows):
            if not one.seeds:
                axes.text(0, place, f" {NOT_RUN}", va="center", color="0.5", fontsize=7)
                continue
            control, color = float(np.mean(one.scores["control"])), COLORS[one.verdict]
            values, (low, high) = one.difference.values, one.difference.interval()
            axes.plot([100 * each / control for each in values], [place] * len(values), "|", color=color)
            if math.isfinite(low):
                axes.plot([100 * low / control, 100 * high / control], [place, place], color=color)
            axes.plot(100 * one.difference.mean / control, place, "o", color=color, markersize=4)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="treatment less control, % of the control; left: better")
        _limit(axes)
        note = "points: means; strokes: seeds; lines: 95% t intervals of paired differences; "
        note += "green: effect, orange: hint, grey: none seen, pale: too few seeds; intervals are not corrected"
        sign(figure, Study(found.profile, found.seeds), note)
    return figure


def _limit(axes: Axes) -> None:
    """An interval of two or three seeds can be wider than everything else; the axis ends where means and seeds do."""
    points = [x for line in axes.lines[1:] if line.get_linestyle() == "None" for x in np.asarray(line.get_xdata())]
    if points:
        reach = 1.3 * max(abs(float(min(points))), abs(float(max(points))), 10.0)
        axes.set_xlim(-reach, reach)


def curves_figure(found: Answers) -> Figure:
    """The Fréchet distance over the training by the weight of L_CD: seeds thin, their mean thick."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.0)
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        for place, (weight, name) in enumerate(WEIGHTS.items()):
            records = found.runs[found.profile].records(name, seeds=found.seeds)
            curves = [_curve(path) for record in records if (path := directory(record) / CURVE).is_file()]
            if not curves:
                continue
            color = PALETTE[place]
            for curve in curves:
                left.plot(curve["iteration"], curve["fd"], color=color, linewidth=0.6, alpha=0.5)
            mean = pd.concat(curves).groupby("iteration")["fd"].mean()
            label = f"{weight:g} L_CD" if weight else "without L_CD"
            left.plot(mean.index, mean, color=color, marker=MARKERS[place], markersize=3, label=label)
        if left.lines:
            left.legend()
            left.set(xlabel="iteration", ylabel=f"FD of few samples ({get_profile(found.profile).backbone})")
        else:
            not_run(left)
        _agreement(right, found)
        note = "left: averaged generator, masks still open in the first half; right: correlation of attention maps "
        note += "for the same noise, less the class means, mean of the blocks"
        sign(figure, Study(found.profile, found.seeds), note)
    return figure


def _curve(path: Path) -> pd.DataFrame:
    """The score curve of a run's declared average; a run that keeps a single average may not name it."""
    curve = pd.read_csv(path)
    return curve[curve["average"] == DECLARED] if "average" in curve else curve


def _agreement(axes: Axes, found: Answers) -> None:
    """How the maps follow the teacher's, against the weight of L_CD."""
    table = found.runs[found.profile].table(Quantity(name, "within") for name in WEIGHTS.values())
    points = table.loc[list(found.seeds)].set_axis(range(len(WEIGHTS)), axis="columns").unstack().dropna()
    if points.empty:
        not_run(axes)
        return
    axes.plot(points.index.get_level_values(0), points, "o", color=PALETTE[0], markersize=4, alpha=0.7)
    axes.set_xticks(range(len(WEIGHTS)), [f"{weight:g}" for weight in WEIGHTS])
    axes.set(xlabel="weight of L_CD", ylabel="correlation within classes", xlim=(-0.5, len(WEIGHTS) - 0.5))
    axes.set_ylim(min(0.0, *points) - 0.03, 1)
