"""Speed as tables and a figure: products of `results/bench.json`, and of the runs that compare bf16 with float32."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from paper import numbers, sums
from paper.artifacts.figures import PALETTE, STYLE, new_figure, save
from paper.artifacts.render import plain_markdown
from paper.bench.latency import BATCHES, FORMS, PAPER_SCALE, SLIM, TEACHER
from paper.bench.results import PARTS, Content
from paper.bench.runner import times_faster
from paper.bench.training import ALLOCATOR, PAIR, STRAIGHT, THREADS, TOGETHER
from paper.study import NOT_RUN, Study
from ppcd import paths
from ppcd.records import read_run
from ppcd.runs.provenance import processor
from ppcd.training.config import run_config

FOLDER = "bench"  # of results and figures, next to those of profiles
MIB = 2**20
HALF = ("mnist", ("biggan",), (0, 1, 2))  # profile, recipes and seeds that were also trained in bf16
HALF_FOLDER = "bench/quality"  # where those in bf16 are, among all results
SCORES = ("fd", "is", "precision", "recall", "diversity", "accuracy")
MARKERS = dict(zip(BATCHES, "os^", strict=True))  # of a profile
COLORS = dict(zip(FORMS, (PALETTE[7], PALETTE[0], PALETTE[1]), strict=True))
# What was asked: name -> for people; part, scene and about of the group; case, baseline, and how many times faster,
# with a peak of memory that is not higher.
PAIR_WHAT = "one D+G iteration of the 32 px BigGAN pair, float32, 2 threads"
PAIR_PLACE = ("training", PAIR, {"threads": THREADS}, TOGETHER)
TARGETS: dict[str, tuple[str, str, str, dict[str, Any], str, str, float]] = {
    "training": (PAIR_WHAT, *PAIR_PLACE, STRAIGHT, 2.0),
    "training, the baseline with the allocator too": (PAIR_WHAT, *PAIR_PLACE, ALLOCATOR, 2.0),
    "inference": (
        "128 px, batch 8, 2 threads: BigGAN dense against PPCD-GAN with .17 kept",
        "latency", PAPER_SCALE, {"batch": 8, "threads": 2}, SLIM, TEACHER, 10.0,
    ),
}  # fmt: skip


def title(content: Content) -> str:
    """The line under which everything stands: what was measured where."""
    machines = dict.fromkeys(map(machine, content.values()))  # several where one part was measured again
    missing = [name for name in PARTS if name not in content]
    return "; ".join(machines) + (f". Not measured yet: {', '.join(missing)}." if missing else ".")


def machine(part: Content) -> str:
    """`AMD EPYC (AVX512 bf16), 2 cores, torch 2.14.1, commit 0123456789, load average before: 0.1`.

    Times taken on a busy machine are too long, and their ratios rough.
    """
    origin = part["provenance"]
    torch = str(origin["libraries"]["torch"]).split("+")[0]
    commit = "no commit" if origin["commit"] is None else f"commit {origin['commit'][:10]}"
    dirty = " with changes" if origin["dirty"] else ""
    threads = f"{origin['threads']} core{'s' * (origin['threads'] != 1)}"
    load = "" if part["load"] is None else f", load average before: {part['load']:.1f}"
    return f"{processor(origin)}, {threads}, torch {torch}, {commit}{dirty}{load}"


def scene(group: Content) -> str:
    """`pruning, cifar10-lite, width 8, batch 32, 1 thread`."""
    about = group["about"]
    words = [group["scene"], *(str(about[key]) for key in ("profile",) if key in about)]
    words += [f"{key} {about[key]}" for key in ("width", "batch") if key in about]
    return ", ".join([*words, f"{about['threads']} thread{'s' * (about['threads'] != 1)}"])


def spread(ratio: dict[str, float]) -> str:
    """`2.31 (2.20–2.40)`: median, and lowest and highest of the rounds."""
    return f"{ratio['median']:.3g} ({ratio['lowest']:.3g}–{ratio['highest']:.3g})"


def table(content: Content, part: str) -> pd.DataFrame:
    """All cases of a part, in plain words; empty where it was not measured."""
    found = []
    for group in content.get(part, {"groups": []})["groups"]:
        for each in group["cases"]:
            row = {"scene": scene(group), "case": each["label"], "seconds": f"{each['median']:.3g}"}
            row |= {"images/s": f"{each['images_per_second']:.3g}", "times faster": spread(each["ratio"])}
            if "share" in each:
                row |= {"times fewer MACs": f"{each['macs_ratio']:.3g}", "share": f"{each['share']:.2f}"}
            row |= {"peak (MiB)": f"{each['peak'] / MIB:,.0f}", "rounds": str(group["rounds"])}
            found.append(row | {"warm-up (s)": f"{each['warm_up']:.3g}"})
    return pd.DataFrame(found)


def targets_table(content: Content) -> pd.DataFrame:
    """What was asked, and what was measured."""
    found = []
    for name, (what, part, scene, about, case, baseline, at_least) in TARGETS.items():
        row = {"target": f"{name}: {what}", "at least": f"{at_least:g} times", "measured": NOT_RUN}
        for group in content.get(part, {"groups": []})["groups"]:
            cases = {each["name"]: each for each in group["cases"]}
            same = group["scene"] == scene and about.items() <= group["about"].items()
            if not same or not {case, baseline} <= set(cases):
                continue
            ours, theirs = cases[case], cases[baseline]
            ratio = times_faster(ours["seconds"], theirs["seconds"])
            faster, lean = ratio["median"] >= at_least, ours["peak"] <= theirs["peak"]
            row |= {
                "measured": spread(ratio),
                "case": ours["label"],
                "baseline": theirs["label"],
                "peak (MiB)": f"{ours['peak'] / MIB:,.0f}",
                "baseline's peak": f"{theirs['peak'] / MIB:,.0f}",
                "met": "yes" if faster and lean else "no: memory" if faster else "no",
            }
        found.append(row)
    return pd.DataFrame(found).fillna("")


def precision_table(study: Study) -> pd.DataFrame:
    """Scores of runs in float32 and in bf16, a value a seed, and their difference; "not run" where one is missing."""
    profile, recipes, seeds = HALF
    half = f"{HALF_FOLDER}/{profile}"
    folders = {
        "float32": (study.at(profile).source, "no"),
        "bf16": (paths.source(study.results.parent / half, paths.reference(half)), "bf16"),
    }
    found = []
    for recipe in recipes:
        places = {
            name: [folder / "runs" / run_config(profile, recipe, seed, precision=precision).id for seed in seeds]
            for name, (folder, precision) in folders.items()
        }
        if not all(place.is_dir() for those in places.values() for place in those):
            found.append({"recipe": recipe, "score": NOT_RUN})
            continue
        records = {name: [read_run(place) for place in those] for name, those in places.items()}
        for score in SCORES:
            values = {name: [each["metrics"]["ema"][score] for each in those] for name, those in records.items()}
            row = {name: ", ".join(f"{value:.3g}" for value in those) for name, those in values.items()}
            differences = np.subtract(values["bf16"], values["float32"])
            row["bf16 - float32"] = ", ".join(f"{each:+.2g}" for each in differences)
            found.append({"recipe": recipe, "score": score, **row, "mean": f"{differences.mean():+.2g}"})
    return pd.DataFrame(found).fillna("")


def write_summary(content: Content, study: Study) -> Path:
    """Write `summary.md`, for docs/speed.md: the targets, training and latency at the paper's scale."""
    lines = [title(content), "", plain_markdown(targets_table(content)), ""]
    training, latency = table(content, "training"), table(content, "latency")
    if len(training):
        columns = ["case", "images/s", "times faster", "peak (MiB)"]
        lines += [plain_markdown(training[training["scene"].str.startswith(PAIR)][columns]), ""]
    if len(latency):
        columns = ["scene", "case", "seconds", "times faster", "times fewer MACs", "share"]
        lines += [plain_markdown(latency[latency["scene"].str.contains(f"{PAPER_SCALE}.*2 threads")][columns]), ""]
    return sums.write(study.results.with_name(FOLDER), "summary.md", "\n".join(lines).rstrip() + "\n")


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


def write_share(content: Content, study: Study) -> list[Path]:
    """Write `figures/bench/share.{png,pdf}` next to a study's."""
    return save(share_figure(content), study.figures.with_name(FOLDER), "share")
