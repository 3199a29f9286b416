"""Figures of `make bench`: training, and what share of the MACs reduction became time."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from paper import numbers as paper
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save_in
from paper.artifacts.speed import FOLDER, machine, scene
from paper.bench.latency import BATCHES, FORMS
from paper.bench.results import Content
from paper.bench.targets import TARGETS
from paper.bench.training import PAIR, PRUNING
from ppcd import paths

BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
MARKERS = dict(zip(BATCHES, "os^", strict=True))  # of a profile
COLORS = dict(zip(FORMS, (PALETTE[7], PALETTE[0], PALETTE[1]), strict=True))
FASTEST = ("together", "frozen")  # beginnings of the names that are set off


def sign(figure: Figure, content: Content, part: str, note: str) -> None:
    """Print below a figure what it shows, and on what it was measured."""
    lines = [note] + ([machine(content[part])] if part in content else [])
    figure.supxlabel("\n".join(lines), fontsize=6, color="0.35", x=0.99, ha="right")


def training_figure(content: Content) -> Figure:
    """Training steps: each optimisation alone and all together, and joint PPCD-GAN with its masks open and frozen."""
    titles = {PAIR: "an iteration of the 32 px BigGAN pair", PRUNING: "a step of joint PPCD-GAN"}
    measured = content.get("training", {"groups": []})["groups"]
    heights = [len(group["cases"]) + 0.5 for group in measured] or [1]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 1.0 + 0.24 * sum(heights) + 0.3 * len(heights))
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        if not measured:
            not_run(panels[0])
        for axes, group in zip(panels, measured, strict=False):
            _bars(axes, group, TARGETS["training"].at_least if group["scene"] == PAIR else None)
            axes.set_title(f"{titles[group['scene']]} ({scene(group).split(', ', 1)[1]})", loc="left")
        note = "times faster than the first; whiskers: lowest to highest of the rounds; at the bars: images a second"
        sign(figure, content, "training", note)
    return figure


def _bars(axes: Axes, group: Content, asked: float | None) -> None:
    cases = group["cases"]
    highest = max(each["ratio"]["highest"] for each in cases)
    for place, each in enumerate(cases):
        ratio = each["ratio"]
        axes.barh(place, ratio["median"], height=0.7, color=PALETTE[1 if each["name"].startswith(FASTEST) else 0])
        axes.plot([ratio["lowest"], ratio["highest"]], [place, place], color="0.15", linewidth=1, marker="|", ms=4)
        text = f"{ratio['median']:.2f}×, {each['images_per_second']:.3g}/s"
        axes.text(ratio["highest"] + 0.015 * highest, place, text, va="center", fontsize=6.5, bbox=BEHIND_TEXT)
    axes.axvline(1, color="0.5", linewidth=0.8)
    if asked is not None:
        axes.axvline(asked, color=PALETTE[3], linewidth=1, linestyle="--", label=f"asked for: {asked:g}×")
        axes.legend(loc="upper right", fontsize=6.5)
    axes.set_yticks(range(len(cases)), [each["label"] for each in cases])
    axes.set_ylim(len(cases) - 0.4, -0.6)
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
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 4.0)
        axes = figure.subplots()
        measured = content.get("latency", {"groups": []})["groups"]
        for group in measured:
            for each in (each for each in group["cases"] if each["name"] != group["baseline"]):
                axes.plot(each["macs_ratio"], each["ratio"]["median"], MARKERS[group["scene"]], mfc="none",
                          color=COLORS[each["settings"]["form"]], markersize=5, mew=1.2)  # fmt: skip
        for kind, (fewer, faster) in paper_points().items():
            axes.plot(fewer, faster, "*" if kind == "CPU" else "P", color="0.1", markersize=8)
            text, shift = f"paper, {kind}: {fewer:g}×, {faster:.1f}×", (-8, 4 if kind == "CPU" else -8)
            axes.annotate(text, (fewer, faster), shift, textcoords="offset points", fontsize=7, ha="right")
        for which, label in (("x", "times fewer MACs than the dense BigGAN"), ("y", "times faster")):
            axes.set(**{f"{which}scale": "log", f"{which}label": label})
            axis = getattr(axes, f"{which}axis")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g×"))
            axis.set_minor_formatter(NullFormatter())
        axes.axline((1, 1), (10, 10), color="0.5", linewidth=0.8, linestyle="--", zorder=0)
        handles = [Line2D([], [], color=COLORS[form], marker="o", ls="", label=text) for form, text in FORMS.items()]
        names = dict.fromkeys(group["scene"] for group in measured)
        handles += [Line2D([], [], color="0.3", marker=MARKERS[name], mfc="none", ls="", label=name) for name in names]
        handles.append(Line2D([], [], color="0.5", linestyle="--", label="all of the reduction became time"))
        figure.legend(handles=handles, loc="outside right upper")
        sign(figure, content, "latency", "every batch and number of threads is a point")
    return figure


FIGURES = {"training": training_figure, "share": share_figure}


def write_figure(content: Content, name: str, folder: Path | None = None) -> list[Path]:
    """Write `figures/bench/<name>.{png,pdf}`, or into `folder`, and what they show in `<name>.json`; name: of FIGURES."""
    return save_in(folder or paths.figures(FOLDER), FIGURES[name](content), name)
