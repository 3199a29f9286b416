"""The figure of `make bench`: what share of the reduction of MACs became time."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from paper import numbers
from paper.artifacts.figures import PALETTE, STYLE, new_figure, save_in
from paper.artifacts.speed import FOLDER, machine
from paper.bench.latency import BATCHES, FORMS
from paper.bench.results import Content
from ppcd import paths

MARKERS = dict(zip(BATCHES, "os^", strict=True))  # of a profile
COLORS = dict(zip(FORMS, (PALETTE[7], PALETTE[0], PALETTE[1]), strict=True))


def paper_points() -> dict[str, tuple[float, float]]:
    """The paper's PPCD-GAN: times fewer MACs than Big-GAN, and times faster, on its GPU and its CPU."""
    row = numbers.TABLE1_ROWS["ppcd"]
    macs = numbers.published(1, row, "MACs").factor or 1.0
    dense, own = (
        {kind: numbers.published(1, each, kind).value for kind in ("GPU", "CPU")} for each in ("Big-GAN", row)
    )
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
        lines = ["every batch and number of threads is a point", *([machine(content["latency"])] if measured else [])]
        figure.supxlabel("\n".join(lines), fontsize=6, color="0.35", x=0.99, ha="right")
    return figure


def write_share(content: Content, folder: Path | None = None) -> list[Path]:
    """Write `figures/bench/share.{png,pdf}`, or into a folder, and what they show in `share.json`."""
    return save_in(folder or paths.figures(FOLDER), share_figure(content), "share")
