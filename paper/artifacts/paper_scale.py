"""The paper's own scale as tables, figures and sentences: build products of `results/<profile>/paper_scale.json`.

`make paper-scale` measures and makes them.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import numbers, sums
from paper.artifacts import render, rows
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.render import Column, Html, write_number
from paper.paper_networks import MASKED, PLAIN, SLIM_ALPHA, SLIM_MACS, Content, is_paper_size
from paper.paper_scale import PARTS, key, measure_part, read, this_machine, write_part
from paper.study import NOT_RUN, Study
from ppcd.errors import ArgumentParser, run_command
from ppcd.runs.train import resolve_device
from ppcd.training.profiles import Profile

KINDS = ("gpu", "cpu")
PPCD_ROW = numbers.TABLE1_ROWS["ppcd"]
MODELS = {  # network -> its name here, and the row of the paper that is shown with it
    **{name: (row, row) for name, row in PLAIN.items()},
    MASKED: ("PP-Res SA-GAN, dense with masks", None),
    SLIM_MACS: ("PPCD-GAN, slim, the paper's MACs", PPCD_ROW),
    SLIM_ALPHA: ("PPCD-GAN, slim, 1 − alpha kept", PPCD_ROW),
}
QUANTITIES = {"params": "parameters", "macs": "MACs"}
GIB = 2**30
COST = (
    "Joint PPCD-GAN at the paper's size, 100 epochs of ImageNet, by measured optimisation steps: seconds and memory "
    "are lines through the measured batches. Left out: reading images, the statistics of the teacher's classes, "
    "evaluation, the teacher's own training."
)


def _line(study: Study) -> str:
    """What stands on these figures: no score is in them, so no backbone."""
    profile = study.profile
    return f"profile {profile.name} · seed {study.seeds[0]} · {profile.num_classes} classes, {profile.resolution} px"


# --- What was measured ---


def part_of(content: Content, name: str, kind: str) -> Content | None:
    """The measurement of "runtime" or "steps" to show for a "cpu" or a "gpu": this machine's, else the newest."""
    parts = [part for part in content[name].values() if part["kind"] == kind]
    there = kind == "cpu" or torch.cuda.is_available()
    own = key(this_machine("cpu" if kind == "cpu" else "cuda")) if there else None
    newest = max(parts, key=lambda part: str(part["provenance"]["finished"]), default=None)
    return next((part for part in parts if key(part) == own), newest)


def steps_of(content: Content) -> list[Content]:
    """The measured training steps, by device."""
    return [part for kind in KINDS if (part := part_of(content, "steps", kind)) is not None]


def seconds(content: Content, kind: str) -> dict[str, float]:
    """Network -> median seconds per batch of 64; NaN where there is none."""
    measured = (part_of(content, "runtime", kind) or {"networks": {}})["networks"]
    return {name: statistics.median(measured[name]) if name in measured else math.nan for name in MODELS}


def machine(part: Content | None, load: bool = False) -> str:
    """What a part was measured on: `AMD EPYC (AVX512 bf16), 2 threads, torch 2.14.1`; `not run` without one.

    With `load` also the load of a CPU's machine before: times taken on a busy one are too long.
    """
    if part is None:
        return NOT_RUN
    busy = f" (load average before: {part['load']:.1f})" * (load and part["kind"] == "cpu" and part["load"] is not None)
    return f"{key(part)}, torch {part['torch']}{busy}"


# --- Tables ---


def table(content: Content, study: Study) -> pd.DataFrame:
    """Table 1's complexity and run time: Big-GAN, SA-GAN, SN-GAN, Tiny-GAN, and PPCD-GAN dense and slim."""
    networks, sizes = content["complexity"]["networks"], (*rows.SIZES, *KINDS)
    times = {kind: seconds(content, kind) for kind in KINDS}
    found = []
    for name, (model, printed) in MODELS.items():
        row: dict[str, Any] = {"model": model, "recipe": name, "reference": name == MASKED, "status": "complete"}
        row |= {
            "seeds": str(study.seeds[0]),
            "kept": f"{networks[name]['kept']:.3f}" if "kept" in networks[name] else "all",
        }
        for size in rows.SIZES:
            row[size] = float(networks[name][size])
            row[f"{size} factor"] = networks["biggan"][size] / networks[name][size]
        row |= {kind: times[kind][name] for kind in KINDS}
        row |= rows.paper_numbers(1, printed or PPCD_ROW, sizes)
        found.append(row if printed else row | {f"paper {each}": math.nan for each in sizes})
    devices = {f"{kind} device": machine(part_of(content, "runtime", kind), load=True) for kind in KINDS}
    return pd.DataFrame(found).assign(profile=study.name, **devices)


def columns() -> list[Column]:
    """The columns of `table` as they are shown."""
    return [
        Column("kept", "kept channels", style="text"),
        Column("params", "#Par. ↓", "low", "count", paper="#Par.", factor=True),
        Column("macs", "MACs ↓", "low", "count", paper="MACs", factor=True),
        Column("gpu", "GPU (s) ↓", "low", "seconds", paper="GPU", missing=NOT_RUN),
        Column("cpu", "CPU (s) ↓", "low", "seconds", paper="CPU", missing=NOT_RUN),
    ]


def caption(frame: pd.DataFrame, profile: Profile) -> str:
    """What was counted and timed, on what, and what the paper's numbers are of."""
    own = " at the paper's own size" if is_paper_size(profile) else ""
    times = "; ".join(f"{kind.upper()} {frame[f'{kind} device'].iloc[0]}" for kind in KINDS)
    return (
        f"Complexity and run time of Table 1's networks{own}: profile {profile.name}, networks freshly built from the "
        "seed. Best in bold, second underlined; the reference, which has its spectral norm and its masks as in "
        "training, is not ranked. In brackets: how many times less than Big-GAN. Spectral norm worked into the "
        f"weights. Median seconds per batch of 64, all networks in turns: {times}. Paper's numbers: {numbers.SETTING}; "
        f"{numbers.RUNTIME_SETTING}."
    )


def html(frame: pd.DataFrame, profile: Profile) -> Html:
    """The table for `notebook.show`."""
    return render.table_html(frame, columns(), caption(frame, profile))


def published_table(content: Content) -> pd.DataFrame:
    """Our sizes against the published ones, without the power iterations of the spectral norm and with them."""
    found = []
    for name, row in PLAIN.items():
        sizes, iterated = content["complexity"]["networks"][name], content["complexity"]["power_iterations"].get(name)
        params, macs = (numbers.published(1, row, column).value for column in ("#Par.", "MACs"))
        found.append({
            "model": row,
            "#Par.": f"{sizes['params']:,}",
            "against the paper's": f"{sizes['params'] / params - 1:+.2%}",
            "MACs": f"{sizes['macs']:,}",
            "against the paper's MACs": f"{sizes['macs'] / macs - 1:+.2%}",
            "power iterations counted": "none" if iterated is None else f"{iterated / macs - 1:+.2%}",
        })  # fmt: skip
    return pd.DataFrame(found)


def points_table(content: Content) -> pd.DataFrame:
    """What each of the paper's numbers implies at the paper's size, and what keeping 1 - alpha would give."""
    return pd.DataFrame(
        {
            "published": f"{write_number(point['value'], 'count')} {QUANTITIES[point['quantity']]}",
            "where": f"Table {point['table']}, {point['row']}",
            "alpha": f"{point['alpha']:g}",
            "implied kept fraction": f"{point['implied']['kept']:.3f}",
            "parameters there": write_number(point["implied"]["params"], "count"),
            "MACs there": write_number(point["implied"]["macs"], "count"),
            "1 − alpha": f"{point['literal']['kept']:g}",
            "parameters at 1 − alpha": write_number(point["literal"]["params"], "count"),
            "MACs at 1 − alpha": write_number(point["literal"]["macs"], "count"),
        }
        for point in content["complexity"]["points"]
    )


def steps_table(content: Content) -> pd.DataFrame:
    """The measured optimisation steps, one row for each device and batch size."""
    return pd.DataFrame(
        {
            "device": machine(part),
            "batch": point["batch"],
            "seconds per step": f"{(median := statistics.median(point['seconds'])):.3g}",
            "images per second": f"{point['batch'] / median:.3g}",
            "peak memory (GiB)": f"{point['memory'] / GIB:.2f}",
            "timed steps": len(point["seconds"]),
        }
        for part in steps_of(content)
        for point in part["points"]
    )


def estimates_table(content: Content) -> pd.DataFrame:
    """What follows for the whole training on each device."""
    return pd.DataFrame(
        {
            "device": machine(part),
            "seconds of a step": f"{each['seconds_base']:.3g} + {each['seconds_per_image']:.3g} an image",
            "memory (GiB)": f"{each['memory_base'] / GIB:.2f} + {each['memory_per_image'] / GIB:.3f} an image",
            "steps": f"{each['iterations']:,} of {each['images_per_iteration']} images",
            f"memory at batch {each['batch']}": f"{each['memory'] / GIB:.0f} GiB",
            "the whole training": f"{each['days']:,.1f} days",
        }
        for part in steps_of(content)
        for each in [part["estimate"]]
    )


def papers_training() -> str:
    """What the paper says of its own training."""
    said = numbers.setting("hardware")
    return f"The paper trained on {said.value} ({said.where})."


# --- Figures ---


def curve_figure(content: Content, study: Study) -> Figure:
    """Parameters and MACs against the kept fraction, with the paper's published points on the curves.

    At other sizes than the paper's, where its numbers do not belong on the axis, the curves are drawn alone.
    """
    curve, printed = content["complexity"]["curve"], is_paper_size(study.profile)
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
        sign(figure, _line(study), note)
    return figure


def _published(axes: Axes, point: dict[str, Any], unit: float, letter: str, color: str) -> None:
    """A published number as a level, the kept fraction that it implies, and the place of 1 - alpha on the curve."""
    value, implied, literal = point["value"] / unit, point["implied"]["kept"], point["literal"]
    height = literal[point["quantity"]] / unit
    axes.axhline(value, color=color, linewidth=0.8, linestyle="--", alpha=0.7)
    axes.plot([implied, implied], [0, value], color=color, linewidth=0.8, linestyle=":")
    label = f"paper, α {point['alpha']:g}: {value:g}{letter}, kept {implied:.3f}"
    axes.plot([implied], [value], "o", color=color, markersize=5, label=label)
    label = f"1 − α = {literal['kept']:g} kept: {height:.3g}{letter}"
    axes.plot([literal["kept"]], [height], "o", color=color, markersize=5, mfc="white", label=label)


def runtime_figure(content: Content, study: Study) -> Figure:
    """Seconds per batch of 64 on GPU and CPU: dense, masked and slim, and the paper's times."""
    with matplotlib.rc_context(STYLE):
        figure, machines = new_figure(7.2, 3.2), []
        for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
            printed = [
                math.nan if row is None else numbers.published(1, row, kind.upper()).value for _, row in MODELS.values()
            ]
            frame = pd.DataFrame({"here": seconds(content, kind).values(), "paper, on its machine": printed})
            frame.index = [model for model, _ in MODELS.values()]
            frame.plot.barh(ax=axes, color=[PALETTE[0], "0.75"], width=0.8, legend=False)
            for bars, values in zip(axes.containers, frame.to_numpy().T, strict=True):
                texts = ["" if math.isnan(value) else write_number(value, "seconds") for value in values]
                axes.bar_label(bars, texts, padding=2, fontsize=6)
            part = part_of(content, "runtime", kind)
            machines.append(f"{kind.upper()} {machine(part, load=True)}")
            axes.set(xlabel="seconds per batch of 64", title=kind.upper() + ("" if part else f": here {NOT_RUN}"))
            axes.grid(axis="y", visible=False)
            axes.margins(x=0.15)
        axes.invert_yaxis()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        note = f"medians, all networks in turns; here: {'; '.join(machines)}\npaper: {numbers.RUNTIME_SETTING}"
        sign(figure, _line(study), note)
    return figure


def steps_figure(content: Content, study: Study) -> Figure:
    """Seconds and memory of an optimisation step over the batch, with the lines that the estimates come from."""
    parts = steps_of(content)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 2.6)
        panels = {"seconds": ("seconds per step", 1), "memory": ("peak memory (GiB)", GIB)}
        for axes, (key_, (label, unit)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            for part, color in zip(parts, PALETTE, strict=False):
                batches = [point["batch"] for point in part["points"]]
                values = [statistics.median(np.atleast_1d(point[key_])) / unit for point in part["points"]]
                axes.plot(batches, values, "o", color=color, markersize=4, label=machine(part))
                line, each = np.array([0, max(batches)]), part["estimate"]
                fit = (each[f"{key_}_base"] + each[f"{key_}_per_image"] * line) / unit
                axes.plot(line, fit, color=color, linewidth=1)
            axes.set(xlabel="images in a batch", ylabel=label)
            if not parts:
                not_run(axes)
            axes.set_xlim(left=0)
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        if parts:
            figure.axes[0].legend(loc="lower right")
        sign(figure, _line(study), "one step of joint PPCD-GAN; lines: least squares")
    return figure


FIGURES = {"curve": curve_figure, "runtime": runtime_figure, "steps": steps_figure}


# --- Files ---


def write_table(content: Content, study: Study) -> list[Path]:
    """Write `tables/paper_scale.{csv,md,tex}`, and `paper_scale_cost.md`: what a training takes by measured steps."""
    frame, cost = table(content, study), estimates_table(content)
    for kind in ("GPU", "CPU"):
        if part_of(content, "steps", kind.lower()) is None:
            cost = pd.concat([pd.DataFrame([{"device": kind} | dict.fromkeys(cost.columns[1:], NOT_RUN)]), cost])
    text = f"{COST}\n\n{render.plain_markdown(cost)}\n"
    return [
        *rows.write(study, frame, "paper_scale", columns(), caption(frame, study.profile)),
        sums.write(study.results, "tables/paper_scale_cost.md", text),
    ]


def write(name: str, content: Content, study: Study) -> list[Path]:
    """Write `paper_scale_<name>.{png,pdf}`, one of FIGURES."""
    return save(FIGURES[name](content, study), study.figures, f"paper_scale_{name}")


def write_all(study: Study) -> list[Path]:
    """The table and the figures, from what `paper_scale.json` has; nothing where it has no complexity yet."""
    content = read(study)
    if not content["complexity"]:
        return []
    return write_table(content, study) + [path for name in FIGURES for path in write(name, content, study)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `make paper-scale`; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper scale", description="The paper's own scale, measured and drawn.")
    parser.add_argument("--profile", default="imagenet128")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: the CPU, and the GPU if there is one")
    parser.add_argument("--seed", type=int, default=0, help="of weights, noise and labels")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the parts that were measured are kept")


def _command(options: argparse.Namespace) -> None:
    study, found = Study.of(options.profile, [options.seed]), resolve_device(options.device)
    devices = dict.fromkeys(("cpu", found)) if options.device == "auto" else (found,)
    for name in options.only:
        for device in ("cpu",) if name == "complexity" else devices:
            write_part(study, name, measure_part(study.profile, name, device, options.seed))
    for path in write_all(study):
        print(path)
