"""Figures of `make bench`: latency, training, and what share of the MACs reduction became time."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter, NullLocator

from paper import numbers as paper
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save_in
from paper.artifacts.speed import FOLDER, QUICK, load, machine, scene
from paper.bench.bars import TRAINING_AT_LEAST
from paper.bench.latency import FORMS
from paper.bench.results import Content
from paper.bench.training import PAIR, PRUNING
from ppcd import paths

BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
BATCH_COLORS = {1: PALETTE[0], 8: PALETTE[1], 64: PALETTE[2]}
SCENE_MARKERS = {"imagenet128": "o", "mnist": "s", "cifar10-lite": "^"}
FORM_COLORS = dict(zip(FORMS, (PALETTE[7], PALETTE[0], PALETTE[1], PALETTE[2]), strict=True))
TICKS = (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100)


def factors(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis of factors with plain numbers."""
    low, high = min([*values, 1.0]), max([*values, 1.0])
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low / 1.3, high * 1.3)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(FixedLocator([tick for tick in TICKS if low / 1.3 <= tick <= high * 1.3]))
    axis.set_major_formatter(FormatStrFormatter("%g×"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def sign(figure: Figure, content: Content, part: str, note: str) -> None:
    """Print below a figure what it shows, and on what it was measured."""
    measured = content["parts"].get(part)
    lines = [note] + ([] if measured is None else [machine(measured) + load(measured)])
    lines += [QUICK] if content["quick"] else []
    figure.supxlabel("\n".join(lines), fontsize=6, color="0.35", x=0.99, ha="right")


def latency_figure(content: Content) -> Figure:
    """How many times faster than the dense teacher in straightforward form, by network, batch and threads."""
    groups = content["parts"].get("latency", {"groups": []})["groups"]
    scenes = list(dict.fromkeys(group["scene"] for group in groups))
    with matplotlib.rc_context(STYLE):
        rows = {name: _labels([group for group in groups if group["scene"] == name]) for name in scenes}
        heights = [len(labels) for labels in rows.values()] or [1]
        figure = new_figure(7.2, 1.3 + 0.42 * sum(heights) + 0.3 * len(heights))
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
        if not scenes:
            not_run(panels[0])
        every = [value for group in groups for each in group["contestants"] for value in each["ratio"].values()]
        for axes, name in zip(panels, scenes, strict=False):
            _latencies(axes, [group for group in groups if group["scene"] == name], rows[name])
            axes.set_title(name, loc="left")
            factors(axes, "x", every)
        batches = sorted({group["about"]["batch"] for group in groups})
        handles = [Line2D([], [], color=_color(batch), marker="o", ls="", label=f"batch {batch}") for batch in batches]
        for threads, fill in ((1, "white"), (2, "0.3")):
            handles.append(Line2D([], [], color="0.3", marker="o", mfc=fill, ls="", label=f"threads {threads}"))
        if scenes:
            figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
        note = "times faster than the dense BigGAN in straightforward form; line: lowest to highest of the rounds"
        sign(figure, content, "latency", note)
    return figure


def _labels(groups: Sequence[Content]) -> list[str]:
    return list(dict.fromkeys(each["label"] for group in groups for each in group["contestants"]))


def _color(batch: int) -> str:
    return BATCH_COLORS.get(batch, PALETTE[4])


def _latencies(axes: Axes, groups: Sequence[Content], labels: Sequence[str]) -> None:
    """A point for each measurement, those of a network below each other."""
    shifts = np.linspace(-0.32, 0.32, len(groups)) if len(groups) > 1 else [0.0]
    for group, shift in zip(groups, shifts, strict=True):
        color, filled = _color(group["about"]["batch"]), group["about"]["threads"] > 1
        for each in group["contestants"]:
            place, ratio = labels.index(each["label"]) + shift, each["ratio"]
            axes.plot([ratio["lowest"], ratio["highest"]], [place, place], color=color, linewidth=1)
            axes.plot(ratio["median"], place, "o", color=color, mfc=color if filled else "white", markersize=3.5)
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def training_figure(content: Content) -> Figure:
    """Training steps: each optimisation alone and all together, and joint PPCD-GAN with its masks open and frozen."""
    part = content["parts"].get("training")
    titles = {PAIR: "an iteration of the 32 px BigGAN pair", PRUNING: "a step of joint PPCD-GAN"}
    groups = [] if part is None else part["groups"]
    found = [(name, group) for name in titles for group in groups if group["scene"] == name]
    found += [(name, None) for name in titles if name not in dict(found)]
    heights = [1 if group is None else len(group["contestants"]) + 0.5 for _, group in found]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 1.0 + 0.24 * sum(heights) + 0.3 * len(heights))
        panels = figure.subplots(len(heights), 1, height_ratios=heights)
        for axes, (name, group) in zip(panels, found, strict=True):
            if group is None:
                not_run(axes)
            else:
                _bars(axes, group, TRAINING_AT_LEAST if name == PAIR else None)
            axes.set_title(titles[name] + ("" if group is None else f" ({scene(group).split(', ', 1)[1]})"), loc="left")
        note = "times faster than the first; whiskers: lowest to highest of the rounds; at the bars: images a second"
        left = {} if part is None else part["left_out"]
        note += "".join(f"\n{', '.join(left)}: {reason}" for reason in dict.fromkeys(left.values()))
        sign(figure, content, "training", note)
    return figure


def _bars(axes: Axes, group: Content, asked: float | None) -> None:
    contestants = group["contestants"]
    highest = max(each["ratio"]["highest"] for each in contestants)
    for place, each in enumerate(contestants):
        ratio, together = each["ratio"], each["name"].startswith(("together", "frozen"))
        axes.barh(place, ratio["median"], height=0.7, color=PALETTE[1] if together else PALETTE[0])
        axes.plot([ratio["lowest"], ratio["highest"]], [place, place], color="0.15", linewidth=1, marker="|", ms=4)
        text = f"{ratio['median']:.2f}×, {each['images_per_second']:.3g}/s"
        axes.text(ratio["highest"] + 0.015 * highest, place, text, va="center", fontsize=6.5, bbox=BEHIND_TEXT)
    axes.axvline(1, color="0.5", linewidth=0.8)
    if asked is not None:
        axes.axvline(asked, color=PALETTE[3], linewidth=1, linestyle="--")
        axes.text(asked, len(contestants) - 0.45, f"asked for: {asked:g}× ", color=PALETTE[3], fontsize=6.5, ha="right",
                  va="center")  # fmt: skip
    axes.set_yticks(range(len(contestants)), [each["label"] for each in contestants])
    axes.set_ylim(len(contestants) - (0.0 if asked is not None else 0.4), -0.6)
    axes.set_xlim(0, 1.25 * max(highest, asked or 0))
    axes.grid(axis="y", visible=False)


def paper_points() -> dict[str, tuple[float, float]]:
    """The paper's PPCD-GAN: times fewer MACs than Big-GAN, and times faster, on its GPU and its CPU."""
    row = paper.TABLE1_ROWS["ppcd"]
    macs = paper.published(1, row, "MACs").factor or 1.0
    dense, own = ({kind: paper.published(1, each, kind).value for kind in ("GPU", "CPU")} for each in ("Big-GAN", row))
    return {kind: (macs, dense[kind] / own[kind]) for kind in dense}


def share_figure(content: Content) -> Figure:
    """How many times fewer MACs, and how many times faster; on the diagonal all of the reduction became time."""
    groups = content["parts"].get("latency", {"groups": []})["groups"]
    points = [
        (each["macs_ratio"], each["ratio"]["median"], each["settings"]["form"], group["scene"])
        for group in groups
        for each in group["contestants"]
        if each["name"] != group["baseline"]
    ]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 4.0)
        axes = figure.subplots()
        for fewer, faster, form, name in points:
            marker = SCENE_MARKERS.get(name, "D")
            axes.plot(fewer, faster, marker, color=FORM_COLORS[form], mfc="none", markersize=5, mew=1.2)
        for kind, (fewer, faster) in paper_points().items():
            axes.plot(fewer, faster, "*" if kind == "CPU" else "P", color="0.1", markersize=8)
            text, shift = f"paper, {kind}: {fewer:g}×, {faster:.1f}×", (-8, 4 if kind == "CPU" else -8)
            axes.annotate(text, (fewer, faster), shift, textcoords="offset points", fontsize=7, ha="right")
        x = [fewer for fewer, *_ in points] + [fewer for fewer, _ in paper_points().values()]
        y = [faster for _, faster, *_ in points] + [faster for _, faster in paper_points().values()]
        factors(axes, "x", [*x, 1.4 * max(x)])
        factors(axes, "y", y)
        ends = np.array([0.1, 1000.0])
        axes.plot(ends, ends, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
        axes.set(xlabel="times fewer MACs than the dense BigGAN", ylabel="times faster")
        handles = [
            Line2D([], [], color=FORM_COLORS[form], marker="o", ls="", label=FORMS[form])
            for form in FORMS
            if any(form == each for _, _, each, _ in points)
        ]
        scenes = dict.fromkeys(name for *_, name in points)
        markers = [(name, SCENE_MARKERS.get(name, "D")) for name in scenes]
        handles += [Line2D([], [], color="0.3", marker=m, mfc="none", ls="", label=name) for name, m in markers]
        handles.append(Line2D([], [], color="0.5", linestyle="--", label="all of the reduction became time"))
        figure.legend(handles=handles, loc="outside right upper")
        sign(figure, content, "latency", "every batch and number of threads is a point")
    return figure


FIGURES = {"latency": latency_figure, "training": training_figure, "share": share_figure}


def write_figure(content: Content, name: str) -> list[Path]:
    """Write `figures/bench/<name>.{png,pdf}` and what they show in `<name>.json`; name: one of FIGURES."""
    return save_in(paths.figures(FOLDER), FIGURES[name](content), name)
