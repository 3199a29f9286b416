"""Figures of the paper's own scale: sizes over the kept fraction, run times, and what a step of training takes."""

import math
import statistics
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import numbers
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.paper_scale import (
    GIB,
    KINDS,
    MODELS,
    QUANTITIES,
    Scale,
    machine,
    part_of,
    seconds,
    steps_of,
    write_tables,
)
from paper.artifacts.render import write_number
from paper.artifacts.sources import NOT_RUN
from paper.paper_networks import Content, is_paper_size
from paper.paper_scale import read
from ppcd.training.profiles import get_profile


def curve_figure(content: Content, seed: int = 0) -> Figure:
    """Parameters and MACs against the kept fraction, with the paper's published points on the curves.

    At other sizes than the paper's, where its numbers do not belong on the axis, the curves are drawn alone.
    """
    curve, printed = content["complexity"]["curve"], is_paper_size(get_profile(content["profile"]))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.2)
        for axes, (quantity, name) in zip(figure.subplots(1, 2), QUANTITIES.items(), strict=True):
            unit, letter = (1e6, "M") if quantity == "params" else (1e9, "B")
            counts = [point[quantity] / unit for point in curve]
            axes.plot([point["kept"] for point in curve], counts, color="0.25", linewidth=1.2)
            for index, point in enumerate(content["complexity"]["points"] if printed else ()):
                if point["quantity"] == quantity:
                    _published(axes, point, unit, letter, PALETTE[index])
            axes.set(xlabel="fraction of channels that every mask layer keeps", ylabel=f"{name} ({letter})")
            axes.set(xlim=(0, 1), ylim=(0, None))
            if printed:
                axes.legend(loc="upper left")
        note = "slim PP-Res SA-GAN, spectral norm worked in; MACs of one image"
        if printed:
            note += "\nfilled: where the curve meets a published number; open: what keeping 1 − alpha gives"
        sign(figure, Scale(content["profile"], (seed,)), note)
    return figure


def _published(axes: Axes, point: dict[str, Any], unit: float, letter: str, color: str) -> None:
    """A published number as a level, the kept fraction that it implies, and the place of 1 - alpha on the curve."""
    value, implied, literal = point["value"] / unit, point["implied"]["kept"], point["literal"]
    height = literal[point["quantity"]] / unit
    axes.axhline(value, color=color, linewidth=0.8, linestyle="--", alpha=0.7)
    axes.plot([implied, implied], [0, value], color=color, linewidth=0.8, linestyle=":")
    label = f"paper, α {point['alpha']:g}: {value:g}{letter}, kept {implied:.3f}"
    axes.plot([implied], [value], color=color, marker="o", markersize=5, linestyle="none", label=label)
    label = f"1 − α = {literal['kept']:g} kept: {height:.3g}{letter}"
    axes.plot([literal["kept"]], [height], color=color, marker="o", markersize=5, mfc="white", linestyle="none",
              label=label)  # fmt: skip


def runtime_figure(content: Content, seed: int = 0) -> Figure:
    """Seconds per batch of 64 on GPU and CPU: dense, masked and slim, and the paper's times."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.2)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, kind in zip(panels, KINDS, strict=True):
            _bars(axes, content, kind)
        panels[0].set_yticks(range(len(MODELS)), [model for model, _ in MODELS.values()])
        panels[0].invert_yaxis()
        handles, labels = panels[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
        machines = "; ".join(
            f"{kind.upper()} {machine(part_of(content, 'runtime', kind), load=True)}" for kind in KINDS
        )
        note = f"medians, all networks in turns; here: {machines}\npaper: {numbers.RUNTIME_SETTING}"
        sign(figure, Scale(content["profile"], (seed,)), note)
    return figure


def _bars(axes: Axes, content: Content, kind: str) -> None:
    part, times = part_of(content, "runtime", kind), seconds(content, kind)
    ours = np.array([times[name] for name in MODELS])
    published = [
        math.nan if row is None else numbers.published(1, row, kind.upper()).value for _, row in MODELS.values()
    ]
    places = np.arange(len(MODELS))
    axes.barh(places - 0.19, np.nan_to_num(ours), height=0.38, color=PALETTE[0], label="here")
    axes.barh(places + 0.19, np.nan_to_num(published), height=0.38, color="0.75", label="paper, on its machine")
    for place, value in zip([*(places - 0.19), *(places + 0.19)], [*ours, *published], strict=True):
        if not math.isnan(value):
            axes.text(value, place, f" {write_number(value, 'seconds')}", va="center", fontsize=6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.set(xlabel="seconds per batch of 64", title=kind.upper() + ("" if part else f": here {NOT_RUN}"))


def steps_figure(content: Content, seed: int = 0) -> Figure:
    """Seconds and memory of an optimisation step over the batch, with the lines that the estimates come from."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 2.6)
        panels = figure.subplots(1, 2)
        for index, part in enumerate(steps_of(content)):
            batches = [point["batch"] for point in part["points"]]
            medians = [statistics.median(point["seconds"]) for point in part["points"]]
            memory = [point["memory"] / GIB for point in part["points"]]
            line = np.array([0, max(batches)])
            each = part["estimate"]
            fits = [
                each["seconds_base"] + each["seconds_per_image"] * line,
                (each["memory_base"] + each["memory_per_image"] * line) / GIB,
            ]
            for axes, values, fit in zip(panels, (medians, memory), fits, strict=True):
                axes.plot(batches, values, "o", color=PALETTE[index], markersize=4, label=machine(part))
                axes.plot(line, fit, color=PALETTE[index], linewidth=1)
        if steps_of(content):
            panels[0].legend(loc="lower right")
        else:
            for axes in panels:
                not_run(axes)
        for axes, name in zip(panels, ("seconds per step", "peak memory (GiB)"), strict=True):
            axes.set(xlabel="images in a batch", ylabel=name)
            axes.set_xlim(left=0)
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        sign(figure, Scale(content["profile"], (seed,)), "one step of joint PPCD-GAN; lines: least squares")
    return figure


FIGURES = {"curve": curve_figure, "runtime": runtime_figure, "steps": steps_figure}


def write(name: str, content: Content, seed: int = 0) -> list[Path]:
    """Write `figures/<profile>/paper_scale_<name>.{png,pdf}`, one of FIGURES."""
    return save(FIGURES[name](content, seed), content["profile"], f"paper_scale_{name}")


def write_all(profile: str, seed: int = 0) -> list[Path]:
    """Every table and figure, from what `paper_scale.json` has; nothing where it has no complexity yet.

    Raises:
        PpcdError: a damaged file.
    """
    content = read(profile)
    if not content["complexity"]:
        return []
    return write_tables(content, seed) + [path for name in FIGURES for path in write(name, content, seed)]
