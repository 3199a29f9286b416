"""Speed as tables: build products of `results/bench.json`, and of the runs that compare bf16 with float32."""

from pathlib import Path

import numpy as np
import pandas as pd

from paper import sums
from paper.artifacts.render import plain_markdown
from paper.artifacts.sources import NOT_RUN
from paper.bench.latency import PAPER_SCALE
from paper.bench.results import PARTS, Content
from paper.bench.runner import times_faster
from paper.bench.targets import TARGETS
from paper.bench.training import PAIR
from ppcd import paths
from ppcd.records import read_run
from ppcd.runs.provenance import processor
from ppcd.training.config import run_config

FOLDER = "bench"  # of the figures
SUMMARY = "summary.md"
MIB = 2**20
HALF = ("mnist", ("biggan", "ppcd"), (0, 1, 2))  # profile, recipes and seeds that were also trained in bf16
HALF_FOLDER = "bench/quality"  # where those in bf16 are
SCORES = ("fd", "is", "precision", "recall", "diversity", "accuracy")


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
    for name, target in TARGETS.items():
        row = {"target": f"{name}: {target.what}", "at least": f"{target.at_least:g} times", "measured": NOT_RUN}
        if pair := target.find(content):
            ours, theirs = pair
            ratio = times_faster(ours["seconds"], theirs["seconds"])
            faster, lean = ratio["median"] >= target.at_least, ours["peak"] <= theirs["peak"]
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


def precision_table() -> pd.DataFrame:
    """Scores of runs in float32 and in bf16, a value a seed, and their difference; "not run" where one is missing."""
    profile, recipes, seeds = HALF
    folders = {"float32": (paths.results(profile), "no"), "bf16": (paths.results(HALF_FOLDER) / profile, "bf16")}
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


def write_summary(content: Content, folder: Path | None = None) -> Path:
    """Write `summary.md`, for docs/speed.md: the targets, training and latency at the paper's own scale.

    Args:
        content: of `paper.bench.results.read`.
        folder: where to; None is `results/bench`.

    Returns:
        its path.
    """
    lines = [title(content), "", plain_markdown(targets_table(content)), ""]
    training, latency = table(content, "training"), table(content, "latency")
    if len(training):
        columns = ["case", "images/s", "times faster", "peak (MiB)"]
        lines += [plain_markdown(training[training["scene"].str.startswith(PAIR)][columns]), ""]
    if len(latency):
        columns = ["scene", "case", "seconds", "times faster", "times fewer MACs", "share"]
        lines += [plain_markdown(latency[latency["scene"].str.contains(f"{PAPER_SCALE}.*2 threads")][columns]), ""]
    return sums.write(folder or paths.results(FOLDER), SUMMARY, "\n".join(lines).rstrip() + "\n")
