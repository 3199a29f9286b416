"""How trainings went: the masks' parameters, the pruned fraction of every layer, the losses."""

import copy
import math
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.study import Record, Study, alpha_of, generator_of, line_of, read_csv
from ppcd.base import seeded
from ppcd.method.distillation import Distillation
from ppcd.method.losses import class_aware_distillation
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import Generator
from ppcd.training.recipes import RECIPES, TEACHER

FREEZE_BY = 2 / 3  # of the training: when every masked layer should have frozen
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LOSSES = {
    "loss_d": "discriminator",
    "loss_adv": r"$\mathcal{L}_{\rm ADV}$ of the generator (eq. 7)",
    "loss_cd": r"$\mathcal{L}_{\rm CD}$ (eq. 6)",
    "loss_pp": r"$\mathcal{L}_{\rm PP}$ (eq. 5)",
}
LEGEND = (
    "w: median, quartiles, extremes; dashed: alpha; dotted: two thirds of the training; large marker: frozen (eq. 3)"
)
LEGEND_OF_CHANNELS = (
    "a line for each channel, until it closes; dashed: alpha; "
    "dotted: two thirds of the training; diamond: frozen (eq. 3)"
)
RULES = {
    "ppcd": "the default rule",
    "ppcd-literal-adam": "the paper's words: Adam at 0.1",
    "ppcd-literal-sgd": "the same with SGD at 0.1",
}
DISTILLED = (
    "ppcd", "ppcd-gradual", "ppcd-cd3", "ppcd-cd10", "ppcd-cd30", "ppcd-raw", "ppcd-cd10-raw", "ppcd-both",
    "ppcd-cd10-both",
)  # fmt: skip
SAMPLES = 200
LEGEND_OF_RANGES = "grey: from a student equal to its teacher (lower end) to a student whose maps are flat (upper end)"


def masks_figure(record: Record) -> Figure:
    """Every masked layer of a run: its channels, each until it closes, above; its pruned fraction below.

    Above stand quantiles of w where the run does not say which channel closed when (another rule than "gradual").
    """
    history = read_csv(record, "masks.csv")
    layers = [name for name, _ in history.groupby("layer", sort=False)]
    channels = {mask["layer"]: mask["channels"] for mask in record["masks"]}
    by_channel = "closed" in history and history["closed"].notna().any()
    columns = len(layers) if len(layers) <= 6 else math.ceil(len(layers) / 2)
    bands = math.ceil(len(layers) / columns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(1.6 * columns + 0.4, 3.0 * bands + 0.3)
        grid = figure.subplots(2 * bands, columns, squeeze=False, sharex=True, sharey="row")
        for axes in grid[-2:, len(layers) - (bands - 1) * columns :].flat:
            axes.set_visible(False)
        for index, layer in enumerate(layers):
            upper, lower = grid[2 * (index // columns) : 2 * (index // columns) + 2, index % columns]
            rows = history[history["layer"] == layer]
            if by_channel:
                _channels(upper, rows, channels[layer], record["training"]["iterations"])
            else:
                _weights(upper, rows)
            _pruned_fraction(lower, rows, record, color=PALETTE[1])
            upper.set_title(layer)
            _finish(upper, lower, record)
            if index % columns == 0:
                upper.set_ylabel("channels" if by_channel else r"$w$")
                lower.set_ylabel("pruned fraction")
        for axes in grid[-1]:
            axes.set_xlabel("iteration")
        figure.suptitle(f"{record['title']}: the masks", fontsize=9)
        sign(figure, line_of(record), LEGEND_OF_CHANNELS if by_channel else LEGEND)
    return figure


def _channels(axes: Axes, rows: pd.DataFrame, channels: int, last: int) -> None:
    """A line for each channel of a layer, first to last to close; `closed` lists those since the row before."""
    closed = rows.dropna(subset="closed")
    ends = closed.assign(channel=closed["closed"].astype(str).str.split()).explode("channel")["iteration"].tolist()
    axes.hlines(range(channels), 0, [*ends, *[last] * (channels - len(ends))], color=PALETTE[0], linewidth=1)
    axes.plot(ends, range(len(ends)), "|", color=PALETTE[0], markersize=4)
    axes.set_yticks([])


def _weights(axes: Axes, rows: pd.DataFrame) -> None:
    for low, high, opacity in (("w_min", "w_max", 0.15), ("w_q25", "w_q75", 0.35)):
        axes.fill_between(rows["iteration"], rows[low], rows[high], color=PALETTE[0], alpha=opacity, linewidth=0)
    axes.plot(rows["iteration"], rows["w_median"], color=PALETTE[0])
    axes.axhline(0, color="0.3", linewidth=0.5)


def _pruned_fraction(axes: Axes, rows: pd.DataFrame, record: Record, color: str, end: str = "D", **style: Any) -> None:
    """The pruned fraction of a layer, alpha, and a marker where the layer froze (eq. 3)."""
    axes.plot(rows["iteration"], rows["ratio"], color=color, **style)
    if (alpha := alpha_of(record)) is not None:
        axes.axhline(alpha, color="0.3", linestyle="--", linewidth=1)
    frozen_at = {mask["layer"]: mask["frozen_at"] for mask in record["masks"]}[rows["layer"].iloc[0]]
    if frozen_at is not None:
        axes.plot([frozen_at], [rows["ratio"].iloc[-1]], end, color=color, markersize=5, clip_on=False)


def _finish(upper: Axes, lower: Axes, record: Record) -> None:
    """Limits, and a dotted line at two thirds of the training."""
    last = record["training"]["iterations"]
    lower.set_ylim(-0.03, 1.03)
    for axes in (upper, lower):
        axes.set_xlim(0, last)
        axes.axvline(FREEZE_BY * last, color="0.3", linestyle=":", linewidth=1)


def mask_rules(records: Mapping[str, Record | None]) -> Figure:
    """Rules for the masks side by side: median and middle half of w above, pruned fractions below.

    One column per recipe, one color and marker per layer; a recipe without a run is drawn as not run.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.1 * len(records) + 1.4, 4.6)
        grid = figure.subplots(2, len(records), squeeze=False)
        for (recipe, record), (upper, lower) in zip(records.items(), grid.T, strict=True):
            upper.set_title(RULES.get(recipe, RECIPES[recipe].title))
            if record is None:
                not_run(upper)
                not_run(lower)
            else:
                _rule(upper, lower, record)
        grid[0][0].set_ylabel(r"$w$")
        grid[1][0].set_ylabel("pruned fraction")
        present = [record for record in records.values() if record is not None]
        if present:
            handles, labels = next(axes for axes in grid[1] if axes.lines).get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside right center", fontsize=7)
            sign(figure, line_of(present[0]), LEGEND)
    return figure


def _rule(upper: Axes, lower: Axes, record: Record) -> None:
    layers = read_csv(record, "masks.csv").groupby("layer", sort=False)
    for (layer, rows), color, marker in zip(layers, cycle(PALETTE), cycle(MARKERS)):
        upper.fill_between(rows["iteration"], rows["w_q25"], rows["w_q75"], color=color, alpha=0.15, linewidth=0)
        upper.plot(rows["iteration"], rows["w_median"], color=color)
        style = {"label": layer, "marker": marker, "markersize": 3, "markevery": max(1, len(rows) // 8)}
        _pruned_fraction(lower, rows, record, color, marker, **style)
    upper.axhline(0, color="0.3", linewidth=0.5)
    lower.set_xlabel("iteration")
    _finish(upper, lower, record)


def curves_figure(record: Record) -> Figure:
    """The losses of a run over its iterations: every logged value thin, the running median thick."""
    history = read_csv(record, "history.csv")
    shown = [name for name in LOSSES if (history[name].fillna(0) != 0).any()]  # 0: the recipe lacks it
    phase_starts = history["iteration"][history["phase"] != history["phase"].shift()].iloc[1:]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.4 * len(shown) + 0.4, 2.2)
        for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            rows = history[history[name].notna()]
            if name == "loss_cd" and "distil" in set(history["phase"]):
                rows = rows[rows["phase"] == "distil"]
            smooth = rows[name].rolling(max(1, len(rows) // 20), min_periods=1, center=True).median()
            axes.plot(rows["iteration"], rows[name], color=PALETTE[0], alpha=0.35, linewidth=0.6)
            axes.plot(rows["iteration"], smooth, color=PALETTE[0])
            for start in phase_starts:
                axes.axvline(start, color="0.3", linestyle="-.", linewidth=1)
            axes.set(title=LOSSES[name], xlabel="iteration", xlim=(0, record["training"]["iterations"]))
        figure.suptitle(f"{record['title']}: the losses", fontsize=9)
        sign(figure, line_of(record))
    return figure


@torch.no_grad()
def equal_and_flat(generator: Generator, normalisation: str) -> tuple[float, float]:
    """L_CD of a teacher for itself, and of a student whose maps are flat, over SAMPLES images of all classes."""
    student, teacher = copy.deepcopy(generator).eval(), Teacher(generator, normalisation)
    z = torch.randn(SAMPLES, generator.dim_z, generator=seeded(0))
    y = torch.arange(SAMPLES) % generator.num_classes
    equal = Distillation(student, teacher, teacher.blocks)(z, y)
    wanted = teacher.features(z, y)
    return equal.item(), class_aware_distillation(wanted, [torch.ones_like(each) for each in wanted]).item()


def reached(record: Record) -> float:
    """L_CD at the end of a training: the mean of the last tenth of its logged values."""
    values = read_csv(record, "history.csv")["loss_cd"].dropna().to_numpy(dtype=float)
    return float(np.mean(values[-max(1, len(values) // 10) :]))


def lcd_range(study: Study) -> Figure:
    """How far trainings bring L_CD between its values for an equal student and for flat maps, under each normalisation.

    A column for each recipe that distils and has runs: its range of L_CD, and what each seed reached.
    """
    teacher = study.record(TEACHER)
    found = {name: records for name in DISTILLED if (records := study.records(name))}
    with matplotlib.rc_context(STYLE):
        drawn = new_figure(1.6 + 0.85 * max(3, len(found)), 2.8)
        axes = drawn.subplots()
        if teacher is None or not found:
            not_run(axes)
            return drawn
        taught, normalisations = generator_of(teacher), {name: RECIPES[name].normalisation for name in found}
        ranges = {each: equal_and_flat(taught, each) for each in set(normalisations.values())}
        for place, (name, records) in enumerate(found.items()):
            low, high = ranges[normalisations[name]]
            axes.bar(place, high - low, bottom=low, width=0.6, color="0.88")
            axes.hlines([low, high], place - 0.3, place + 0.3, color="0.4", linewidth=1)
            axes.plot([place] * len(records), list(map(reached, records)), "o", color=PALETTE[0], markersize=4)
        axes.set_xticks(range(len(found)), found, rotation=20, ha="right")
        axes.set_ylim(bottom=-0.02)
        axes.set_ylabel(r"$\mathcal{L}_{\rm CD}$ (eq. 6)")
        axes.grid(axis="x", visible=False)
        sign(drawn, study.line, LEGEND_OF_RANGES)
    return drawn


def write_masks(record: Record, folder: Path) -> list[Path]:
    """Write `masks.{png,pdf}` of a run; `masks-<recipe>` where it is not `ppcd`."""
    name = "masks" if record["recipe"] == "ppcd" else f"masks-{record['recipe']}"
    return save(masks_figure(record), folder, name)
