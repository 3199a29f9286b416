"""Figure 5 of the paper from our runs, and how every figure is drawn and saved."""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import seaborn
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from torch import Tensor

from paper import numbers, sums
from paper.artifacts import plotted
from paper.artifacts.sources import NOT_RUN, Record, Study, alpha_suffix, generator_of
from ppcd import paths
from ppcd.base import seeded
from ppcd.training.profiles import fitted, get_profile
from ppcd.training.recipes import RECIPES, TEACHER

DPI = 150
PALETTE = tuple(seaborn.color_palette("colorblind").as_hex())
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures do not depend on the machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "image.cmap": "gray",
}
CLASSES = {
    "mnist": tuple("0123456789"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
# Six fixed classes for each data set, as the paper has six for ImageNet.
FIGURE5_LABELS = {"mnist": (0, 2, 3, 5, 7, 8), "cifar10": (0, 1, 3, 4, 7, 8)}


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """An empty figure (inches) that belongs to no window and to no global state."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def sign(figure: Figure, study: Study, note: str = "") -> None:
    """Print profile, seeds, backbone and alpha small below a figure, and what its lines mean."""
    line = textwrap.fill(study.line, 130)
    text = f"{note}\n{line}" if note else line
    figure.supxlabel(text, fontsize=6, color="0.35", x=0.99, ha="right")


def encoded(figure: Figure, kind: str = "png") -> bytes:
    """The figure as PNG or PDF, without a date or a version: the same figure gives the same bytes."""
    unset = {"png": ("Software",), "pdf": ("CreationDate", "ModDate")}[kind]
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dict.fromkeys(unset))
    return buffer.getvalue()


def save(figure: Figure, profile: str, name: str) -> list[Path]:
    """Write `figures/<profile>/<name>.png` and `.pdf`, each at once or not at all; what they show in `<name>.json`."""
    return save_in(paths.figures(profile), figure, name)


def save_in(folder: Path, figure: Figure, name: str) -> list[Path]:
    """As `save`, for a folder of figures that is no profile's."""
    sums.write(folder, f"{name}.json", plotted.to_json(plotted.describe(figure)))
    return [sums.write(folder, f"{name}.{kind}", encoded(figure, kind)) for kind in ("png", "pdf")]


def not_run(axes: Axes, text: str = NOT_RUN) -> None:
    """An empty panel that says that it is empty."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("0.93")
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="0.4", fontsize=7)


def example_noise(profile: str, seed: int, count: int) -> Float[Tensor, "count noise"]:
    """One noise vector per column, the same for every model: each takes its first `dim_z` entries."""
    settings = get_profile(profile)
    return torch.randn(count, max(settings.dim_z, settings.teacher_dim_z), generator=seeded(seed))


def log_scale(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


@torch.no_grad()
def examples(
    record: Record, z: Float[Tensor, "batch noise"], labels: Sequence[int]
) -> Float[Tensor, "batch 3 height width"]:
    """Images in [0, 1] that the run's saved generator makes of this noise and these classes."""
    generator = generator_of(record)
    images = generator(z[:, : generator.dim_z].contiguous(), torch.tensor(list(labels), dtype=torch.int64))
    return (images.clamp(-1, 1) + 1) / 2


def shown_classes(profile: str, fixed: Mapping[str, Sequence[int]], count: int) -> tuple[int, ...]:
    """The fixed classes of the profile's data set; where its images have no such classes, the first `count` of them."""
    budget = fitted(get_profile(profile))
    labels = fixed.get(budget.dataset, ())
    if labels and max(labels) < budget.num_classes:
        return tuple(labels)
    return tuple(range(min(count, budget.num_classes)))


def class_names(profile: str, records: Sequence[Record | None], labels: Sequence[int]) -> list[str]:
    """Names of the classes: those in the runs' records, else the data set's own."""
    known = next((record["data"]["classes"] for record in records if record is not None), None)
    if isinstance(known, list):
        return [str(known[label]) for label in labels]
    names = CLASSES.get(get_profile(profile).dataset, ())
    return [names[label] if label < len(names) else f"class {label}" for label in labels]


def fig5(profile: str, seed: int = 0, alpha: float = numbers.TABLE3_ALPHA) -> Figure:
    """Figure 5: the ablation models side by side, six classes, the same noise for every model.

    The teacher is the first row. Made with each run's slim EMA generator; a missing run is drawn as such.

    Raises:
        PpcdError: unknown profile or impossible alpha.
    """
    study = Study(profile, [seed], alpha)
    rows = {TEACHER: RECIPES[TEACHER].title} | numbers.TABLE3_ROWS
    records = [study.record(recipe) for recipe in rows]
    labels = shown_classes(study.profile, FIGURE5_LABELS, 6)
    names, z = class_names(profile, records, labels), example_noise(profile, seed, len(labels))
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        height = 0.85 * len(rows) + 0.5
        figure = new_figure(6.4, height, constrained=False)
        edges = {"left": 0.14, "right": 0.99, "bottom": 0.25 / height, "top": 1 - 0.25 / height}
        grid = figure.subplots(len(rows), len(labels), squeeze=False, gridspec_kw=edges)
        for axes_row, record, title in zip(grid, records, rows.values(), strict=True):
            images = None if record is None else examples(record, z, labels)
            label = re.sub("(PPCD-GAN|Big-GAN) ", "\\1\n", title)
            label = re.sub("L_(PP|CD)", r"$\\mathcal{L}_{\\rm \1}$", label)
            axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center")
            for column, axes in enumerate(axes_row):
                axes.set_box_aspect(1)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if images is None:
                    not_run(axes)
                else:
                    axes.imshow(images[column].permute(1, 2, 0).numpy(), interpolation="nearest")
        for axes, name in zip(grid[0], names, strict=True):
            axes.set_title(name)
        sign(figure, study)
    return figure


def write_fig5(profile: str, seed: int = 0, alpha: float = numbers.TABLE3_ALPHA) -> list[Path]:
    """Write `figures/<profile>/fig5.{png,pdf}`; `fig5-a0.6` for an alpha that is not the paper's."""
    return save(fig5(profile, seed, alpha), profile, "fig5" + alpha_suffix(alpha, numbers.TABLE3_ALPHA))
