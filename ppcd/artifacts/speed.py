"""Speed as tables, figures and sentences: build products of `results/bench.json`."""

from pathlib import Path

import numpy as np
import pandas as pd

from paper import sums
from paper.artifacts.render import plain_markdown
from paper.artifacts.sources import NOT_RUN
from paper.bench.bars import find_group
from paper.bench.results import PARTS, Content
from paper.bench.roofline import COPY, MATMUL, TOUCH
from paper.bench.training import PAIR
from ppcd import paths
from ppcd.runs.provenance import processor

FOLDER = "bench"  # of the figures
GIB, MIB = 2**30, 2**20
SUMMARY = "summary.md"
QUICK = "quick numbers of tiny sizes, which say nothing"


def title(content: Content) -> str:
    """The line under which everything stands, in Markdown: what was measured where, and whether in earnest."""
    parts = content["parts"].values()
    machines = dict.fromkeys(machine(part) for part in parts)  # several where parts were renewed since
    quick = f"**{QUICK[0].upper()}{QUICK[1:]}.** " if content["quick"] else ""
    missing = [name for name in PARTS if name not in content["parts"]]
    return quick + "; ".join(machines) + (f". Not measured yet: {', '.join(missing)}." if missing else ".")


def machine(part: Content) -> str:
    """`AMD EPYC (AVX512 bf16), 2 cores, torch 2.14.1, commit 0123456789`."""
    origin = part["provenance"]
    torch = str(origin["libraries"]["torch"]).split("+")[0]
    commit = "no commit" if origin["commit"] is None else f"commit {origin['commit'][:10]}"
    dirty = " with changes" if origin["dirty"] else ""
    threads = origin["threads"]
    return f"{processor(origin)}, {threads} core{'s' * (threads != 1)}, torch {torch}, {commit}{dirty}"


def load(part: Content) -> str:
    """`, load average before: 0.1`: times taken on a busy machine are too long, and their ratios rough."""
    return "" if part["load"] is None else f", load average before: {part['load']:.1f}"


def table(content: Content, part: str) -> pd.DataFrame:
    """All contestants of a part but the roofline, in plain words; empty where it was not measured."""
    found = []
    for group in content["parts"].get(part, {"groups": []})["groups"]:
        for each in group["contestants"]:
            row = {"scene": scene(group), "contestant": each["label"], "seconds": f"{each['median']:.3g}"}
            if group["images"] is not None:
                row["images/s"] = f"{each['images_per_second']:.3g}"
            row["times faster"] = spread(each["ratio"])
            if "share" in each:
                row |= {"times fewer MACs": f"{each['macs_ratio']:.3g}", "share": f"{each['share']:.2f}"}
            memory = each["memory"]
            row |= {"peak (MiB)": f"{memory['peak'] / MIB:,.0f}", "above idle": f"{memory['above'] / MIB:,.0f}"}
            found.append(row | {"rounds": group["rounds"], "warm-up (s)": f"{each['warm_up']:.3g}"})
    for name, reason in content["parts"].get(part, {}).get("left_out", {}).items():
        found.append({"scene": PAIR, "contestant": name, "seconds": reason})
    return pd.DataFrame(found).fillna("")


def write_summary(content: Content) -> Path:
    """Write `results/bench/summary.md`, for README.md: the bars, training and latency at the paper's own scale.

    Returns:
        its path.
    """
    lines = [title(content), "", plain_markdown(bars_table(content)), "", verdict(content), ""]
    columns = ["contestant", "images/s", "times faster", "peak (MiB)"]
    training = table(content, "training")
    if len(training):
        lines += [plain_markdown(training[training["scene"].str.startswith(PAIR)][columns]), ""]
    latency = table(content, "latency")
    if len(latency):
        paper_scale = latency[latency["scene"].str.contains("imagenet128.*2 threads")]
        columns = ["scene", "contestant", "seconds", "times faster", "times fewer MACs", "share"]
        lines += [plain_markdown(paper_scale[columns]), ""]
    return sums.write(paths.results(FOLDER), SUMMARY, "\n".join(lines).rstrip() + "\n")


def quality_table(content: Content) -> pd.DataFrame:
    """Scores of runs in float32 and in bf16, a value a seed, and their difference; empty where not measured."""
    part = content["parts"].get("quality", {"rows": [], "differences": {}})
    found = []
    for recipe, scores in part["differences"].items():
        for score, differences in scores.items():
            row: dict[str, str] = {"recipe": recipe, "score": score}
            for arithmetic in ("float32", "bf16"):
                mine = [row for row in part["rows"] if (row["recipe"], row["arithmetic"]) == (recipe, arithmetic)]
                row[arithmetic] = ", ".join(f"{each[score]:.3g}" for each in mine)
            row["bf16 - float32"] = ", ".join(f"{each:+.2g}" for each in differences)
            found.append(row | {"mean": f"{np.mean(differences):+.2g}"})
    return pd.DataFrame(found)


def scene(group: Content) -> str:
    """`pruning, cifar10-lite, width 8, batch 32, 1 thread`."""
    about = group["about"]
    words = [group["scene"], *(str(about[key]) for key in ("profile",) if key in about)]
    words += [f"{key} {about[key]}" for key in ("width", "batch", "samples") if key in about]
    return ", ".join([*words, f"{about['threads']} thread{'s' * (about['threads'] != 1)}"])


def spread(ratio: dict[str, float]) -> str:
    """`2.31 (2.20–2.40)`: median, and lowest and highest of the rounds."""
    return f"{ratio['median']:.3g} ({ratio['lowest']:.3g}–{ratio['highest']:.3g})"


def bars_table(content: Content) -> pd.DataFrame:
    """What was asked, and what was measured."""
    found = []
    stricter = {"training, the baseline with the allocator too": content["bars"]["training"]["stricter"]}
    for name, bar in (content["bars"] | stricter).items():
        row = {"bar": name, "at least": f"{bar['asked']:g} times", "measured": NOT_RUN}
        if bar["measured"]:
            row |= {
                "measured": spread(bar["ratio"]),
                "contestant": bar["contestant"],
                "baseline": bar["baseline"],
                "peak (MiB)": f"{bar['memory'] / MIB:,.0f}",
                "baseline's peak": f"{bar['memory_baseline'] / MIB:,.0f}",
                "met": "yes" if bar["met"] else "no" if not bar["faster"] else "no: memory",
            }
        found.append(row)
    return pd.DataFrame(found).fillna("")


def verdict(content: Content) -> str:
    """A line of Markdown for each bar: met, or not, and what the roofline says of it."""
    lines = []
    for name, bar in content["bars"].items():
        if not bar["measured"]:
            lines.append(f"* **{name}** ({bar['what']}): {NOT_RUN}.")
            continue
        memory = "no more" if bar["lean"] else "**more**"
        lines.append(
            f"* **{name}** ({bar['what']}): {spread(bar['ratio'])} times faster, where {bar['asked']:g} are asked for: "
            f"**{'reached' if bar['faster'] else 'not reached'}**; it takes {memory} memory than the straightforward "
            f"form ({bar['memory'] / GIB:.2f} against {bar['memory_baseline'] / GIB:.2f} GiB)."
        )
        reach = bar.get("within_reach")
        if reach is not None:
            lines.append(
                f"  The roofline allows {reach['at_convolutions']:.3g} times if everything but products cost nothing "
                "and each convolution ran at the rate that its size has here, and "
                f"{reach['at_matmul']:.3g} times if all ran at that of a large matrix product."
            )
    return "\n".join(lines)


def rates_table(content: Content) -> pd.DataFrame:
    """The machine's ceilings, by threads."""
    rates = content["parts"].get("roofline", {"rates": {}})["rates"]
    names = {MATMUL: "matrix product", COPY: "copy, read and write", TOUCH: "first touch of fresh memory"}
    found = []
    for name in next(iter(rates.values()), {}):
        unit = "GB/s" if name in (COPY, TOUCH) else "GMAC/s"
        row = {"what": names.get(name, f"convolution: {name.replace('-', ' ')}"), "unit": unit}
        found.append(row | {f"threads {threads}": f"{each[name] / 1e9:.1f}" for threads, each in rates.items()})
    return pd.DataFrame(found)


def floors_table(content: Content) -> pd.DataFrame:
    """What an iteration of the pair takes at least in each form, beside what it took."""
    pair = find_group(content["parts"].get("training"), PAIR)
    names = {"straightforward": "straightforward", "merged": "merged", "boxed": "boxed", "filtered": "together"}
    took = {} if pair is None else {each["name"]: each["median"] for each in pair["contestants"]}
    threads_then = None if pair is None else str(pair["about"]["threads"])
    found = []
    for form, floors in content["parts"].get("roofline", {"floors": {}})["floors"].items():
        for threads, each in floors.items():
            measured = took.get(names[form]) if threads == threads_then else None
            found.append(
                {
                    "form": form,
                    "threads": threads,
                    "GMAC": f"{each['macs'] / 1e9:.1f}",
                    "at the matrix product's rate (s)": f"{each['at_matmul']:.3g}",
                    "at the convolutions' rates (s)": f"{each['at_convolutions']:.3g}",
                    "other operations, uncached (s)": f"{each['other']:.3g}",
                    "measured (s)": NOT_RUN if measured is None else f"{measured:.3g} ({names[form]})",
                }
            )
    return pd.DataFrame(found)
