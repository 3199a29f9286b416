"""The paper's own scale as tables, figures and sentences: build products of `results/<profile>/paper_scale.json`."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from paper import numbers, sums
from paper.artifacts import render, rows
from paper.artifacts.render import Column, Html, write_number
from paper.artifacts.sources import NOT_RUN, Study
from paper.paper_networks import MASKED, PLAIN, SLIM_ALPHA, SLIM_MACS, Content, is_paper_size
from paper.paper_scale import key, this_machine
from ppcd import paths
from ppcd.training.profiles import get_profile

KINDS = ("gpu", "cpu")
PPCD_ROW = numbers.TABLE1_ROWS["ppcd"]
MODELS = {  # network -> its name here, and the row of the paper that is shown with it
    **{name: (row, row) for name, row in PLAIN.items()},
    MASKED: ("PP-Res SA-GAN, dense with masks", None),
    SLIM_MACS: ("PPCD-GAN, slim, the paper's MACs", PPCD_ROW),
    SLIM_ALPHA: ("PPCD-GAN, slim, 1 − alpha kept", PPCD_ROW),
}
QUANTITIES = {"params": "parameters", "macs": "MACs"}
TITLE = "Complexity and run time of Table 1's networks"
GIB = 2**30


@dataclass(frozen=True)
class Scale(Study):
    """What stands on these figures: no score is in them, so no backbone."""

    @property
    def line(self) -> str:
        profile = get_profile(self.profile)
        return f"profile {profile.name} · seed {self.seeds[0]} · {profile.num_classes} classes, {profile.resolution} px"


def part_of(content: Content, name: str, kind: str) -> Content | None:
    """The measurement of "runtime" or "steps" to show for a "cpu" or a "gpu": this machine's, else the newest."""
    parts = [part for part in content[name].values() if part["kind"] == kind]
    there = kind == "cpu" or torch.cuda.is_available()
    own = key(this_machine("cpu" if kind == "cpu" else "cuda")) if there else None
    newest = max(parts, key=lambda part: str(part["provenance"]["finished"]), default=None)
    return next((part for part in parts if key(part) == own), newest)


def seconds(content: Content, kind: str) -> dict[str, float]:
    """Network -> median seconds per batch of 64; NaN where there is none."""
    part = part_of(content, "runtime", kind)
    measured = {} if part is None else part["networks"]
    return {name: statistics.median(measured[name]) if name in measured else math.nan for name in MODELS}


def table(content: Content, seed: int = 0) -> pd.DataFrame:
    """Table 1's complexity and run time: Big-GAN, SA-GAN, SN-GAN, Tiny-GAN, and PPCD-GAN dense and slim.

    Args:
        content: of `paper.paper_scale.read` or `ensure`.
        seed: of the timed networks' weights.
    """
    networks = content["complexity"]["networks"]
    times = {kind: seconds(content, kind) for kind in KINDS}
    found = []
    for name, (model, printed) in MODELS.items():
        row: dict[str, Any] = {
            "model": model,
            "recipe": name,
            "reference": name == MASKED,
            "status": "complete",
            "seeds": str(seed),
            "kept": f"{networks[name]['kept']:.3f}" if "kept" in networks[name] else "all",
        }
        for size in rows.SIZES:
            row[size] = float(networks[name][size])
            row[f"{size} factor"] = networks["biggan"][size] / networks[name][size]
        row |= {kind: times[kind][name] for kind in KINDS}
        row |= rows.paper_numbers(1, printed or PPCD_ROW, (*rows.SIZES, *KINDS))
        if printed is None:
            row |= {f"paper {each}": math.nan for each in (*rows.SIZES, *KINDS)}
        found.append(row)
    frame = pd.DataFrame(found)
    frame["profile"] = content["profile"]
    for kind in KINDS:
        frame[f"{kind} device"] = machine(part_of(content, "runtime", kind), load=True)
    return frame


def columns() -> list[Column]:
    """The columns of `table` as they are shown."""
    return [
        Column("kept", "kept channels", style="text"),
        Column("params", "#Par. ↓", "low", "count", paper="#Par.", factor=True),
        Column("macs", "MACs ↓", "low", "count", paper="MACs", factor=True),
        Column("gpu", "GPU (s) ↓", "low", "seconds", paper="GPU", missing=NOT_RUN),
        Column("cpu", "CPU (s) ↓", "low", "seconds", paper="CPU", missing=NOT_RUN),
    ]


def machine(part: Content | None, load: bool = False) -> str:
    """What a part was measured on: `AMD EPYC (AVX512 bf16), 2 threads, torch 2.14.1`; `not run` without one.

    With `load` also the load of a CPU's machine before: times taken on a busy one are too long.
    """
    if part is None:
        return NOT_RUN
    said = f"{key(part)}, torch {part['torch']}"
    busy = load and part["kind"] == "cpu" and part["load"] is not None
    return said + (f" (load average before: {part['load']:.1f})" if busy else "")


def caption(frame: pd.DataFrame) -> str:
    """What was counted and timed, on what, and what the paper's numbers are of."""
    profile = get_profile(frame["profile"].iloc[0])
    own = " at the paper's own size" if is_paper_size(profile) else ""
    times = "; ".join(f"{kind.upper()} {frame[f'{kind} device'].iloc[0]}" for kind in KINDS)
    return (
        f"{TITLE}{own}: profile {profile.name}, networks freshly built from the seed. Best in bold, second "
        "underlined; the reference, which has its spectral norm and its masks as in training, is not ranked. In "
        "brackets: how many times less than Big-GAN. Spectral norm worked into the weights. Median seconds per batch "
        f"of 64, all networks in turns: {times}. Paper's numbers: {numbers.SETTING}; {numbers.RUNTIME_SETTING}."
    )


def html(frame: pd.DataFrame) -> Html:
    """The table for `notebook.show`."""
    return render.table_html(frame, columns(), caption(frame))


def published_table(content: Content) -> pd.DataFrame:
    """Our sizes against the published ones, without the power iterations of the spectral norm and with them."""
    found = []
    for name, row in PLAIN.items():
        sizes, iterated = content["complexity"]["networks"][name], content["complexity"]["power_iterations"].get(name)
        params, macs = (numbers.published(1, row, column).value for column in ("#Par.", "MACs"))
        found.append(
            {
                "model": row,
                "#Par.": f"{sizes['params']:,}",
                "against the paper's": f"{sizes['params'] / params - 1:+.2%}",
                "MACs": f"{sizes['macs']:,}",
                "against the paper's MACs": f"{sizes['macs'] / macs - 1:+.2%}",
                "power iterations counted": "none" if iterated is None else f"{iterated / macs - 1:+.2%}",
            }
        )
    return pd.DataFrame(found)


def points_table(content: Content) -> pd.DataFrame:
    """What each of the paper's numbers implies at the paper's size, and what keeping 1 - alpha would give."""
    found = []
    for point in content["complexity"]["points"]:
        implied, literal = point["implied"], point["literal"]
        found.append(
            {
                "published": f"{_count(point['value'])} {QUANTITIES[point['quantity']]}",
                "where": f"Table {point['table']}, {point['row']}",
                "alpha": f"{point['alpha']:g}",
                "implied kept fraction": f"{implied['kept']:.3f}",
                "parameters there": _count(implied["params"]),
                "MACs there": _count(implied["macs"]),
                "1 − alpha": f"{literal['kept']:g}",
                "parameters at 1 − alpha": _count(literal["params"]),
                "MACs at 1 − alpha": _count(literal["macs"]),
            }
        )
    return pd.DataFrame(found)


def steps_table(content: Content) -> pd.DataFrame:
    """The measured optimisation steps, one row for each device and batch size."""
    found = []
    for part in steps_of(content):
        for point in part["points"]:
            median = statistics.median(point["seconds"])
            found.append(
                {
                    "device": machine(part),
                    "batch": point["batch"],
                    "seconds per step": f"{median:.3g}",
                    "images per second": f"{point['batch'] / median:.3g}",
                    "peak memory (GiB)": f"{point['memory'] / GIB:.2f}",
                    "timed steps": len(point["seconds"]),
                }
            )
    return pd.DataFrame(found)


def estimates_table(content: Content) -> pd.DataFrame:
    """What follows for the whole training on each device."""
    found = []
    for part in steps_of(content):
        each = part["estimate"]
        found.append(
            {
                "device": machine(part),
                "seconds of a step": f"{each['seconds_base']:.3g} + {each['seconds_per_image']:.3g} an image",
                "memory (GiB)": f"{each['memory_base'] / GIB:.2f} + {each['memory_per_image'] / GIB:.3f} an image",
                "steps": f"{each['iterations']:,} of {each['images_per_iteration']} images",
                f"memory at batch {each['batch']}": f"{each['memory'] / GIB:.0f} GiB",
                "the whole training": duration(each["days"]),
            }
        )
    return pd.DataFrame(found)


def papers_training() -> str:
    """What the paper says of its own training."""
    said = numbers.setting("hardware")
    return f"The paper ({said.where}): “{said.sentence}”"


def steps_of(content: Content) -> list[Content]:
    """The measured training steps, by device."""
    return [part for kind in KINDS if (part := part_of(content, "steps", kind)) is not None]


def duration(days: float) -> str:
    """`1,234 days`, `3.5 days`, `4.2 hours`, `6.8 minutes`."""
    for size, unit in ((1, "days"), (1 / 24, "hours")):
        if days >= size:
            return f"{days / size:,.{0 if days / size >= 100 else 1}f} {unit}"
    return f"{days * 24 * 60:.1f} minutes"


def _count(value: float) -> str:
    return write_number(value, "count")


def write_tables(content: Content, seed: int = 0) -> list[Path]:
    """Write `results/<profile>/tables/paper_scale.{csv,md,tex}` and, as CSV, its curve, points and steps."""
    frame = table(content, seed)
    written = rows.write(frame, "paper_scale", columns(), caption(frame))
    others = {
        "curve": pd.DataFrame(content["complexity"]["curve"]),
        "points": points_table(content),
        "steps": steps_table(content),
        "training": estimates_table(content),
    }
    for name, other in others.items():
        if len(other):
            text = other.to_csv(index=False, lineterminator="\n")
            written.append(sums.write(paths.results(content["profile"]), f"tables/paper_scale_{name}.csv", text))
    return written
