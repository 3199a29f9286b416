"""How every figure is drawn and saved, and those of rows of images: Figures 3 and 5, and the headline's."""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
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
from paper.judges import TIMES, best_of, get_judges
from paper.study import NOT_RUN, Record, Study, alpha_suffix, generator_of
from ppcd.base import seeded
from ppcd.metrics.evaluators import Evaluators
from ppcd.training.profiles import Profile
from ppcd.training.recipes import RECIPES, TEACHER

DPI = 150
GAP = 2  # pixels of white between images
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
# Nine fixed classes for each data set, as the paper has nine of ImageNet's; and six.
FIGURE3_LABELS = {
    "mnist": (0, 1, 2, 3, 4, 5, 7, 8, 9),
    "cifar10": (0, 1, 2, 3, 4, 5, 7, 8, 9),
    "imagenet": (100, 235, 442, 456, 472, 850, 976, 984, 985),  # the paper's: black swan to daisy
}
FIGURE5_LABELS = {"mnist": (0, 2, 3, 5, 7, 8), "cifar10": (0, 1, 3, 4, 7, 8)}
BEST = (
    f"of {TIMES} images of a class the one with the highest Inception score exp KL(p(y|x) || p(y)), "
    f"p(y) over all classes' {TIMES} images of the system"
)


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """An empty figure (inches) that belongs to no window and to no global state."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def sign(figure: Figure, line: str, note: str = "") -> None:
    """Print the line of a study small below a figure, and what its lines mean."""
    line = textwrap.fill(line, 130)
    text = f"{note}\n{line}" if note else line
    figure.supxlabel(text, fontsize=6, color="0.35", x=0.99, ha="right")


def encoded(figure: Figure, kind: str = "png") -> bytes:
    """The figure as PNG or PDF, without a date or a version: the same figure gives the same bytes."""
    unset = {"png": ("Software",), "pdf": ("CreationDate", "ModDate")}[kind]
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dict.fromkeys(unset))
    return buffer.getvalue()


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `<name>.png` and `.pdf`, each at once or not at all; what they show in `<name>.json`."""
    sums.write(folder, f"{name}.json", plotted.to_json(plotted.describe(figure)))
    return [sums.write(folder, f"{name}.{kind}", encoded(figure, kind)) for kind in ("png", "pdf")]


def not_run(axes: Axes, text: str = NOT_RUN) -> None:
    """An empty panel that says that it is empty."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("0.93")
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="0.4", fontsize=7)


def tiled(images: Float[Tensor, "n 3 height width"], columns: int) -> np.ndarray:
    """One picture [height, width, 3] of all images in [0, 1], `columns` in a row; white between them."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    picture = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), dtype=np.float32)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def show_tiles(
    axes: Axes, images: Float[Tensor, "n 3 height width"], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw n = rows x columns images into a panel, the columns' labels above and the rows' at its left."""
    _, _, height, width = images.shape
    axes.imshow(tiled(images, len(columns)), interpolation="nearest", vmin=0, vmax=1)
    axes.set_xticks([width / 2 + index * (width + GAP) - 0.5 for index in range(len(columns))], list(columns))
    axes.set_yticks([height / 2 + index * (height + GAP) - 0.5 for index in range(len(rows))], list(rows))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False, labelsize=7)
    axes.spines[:].set_visible(False)
    axes.grid(False)


def example_noise(profile: Profile, seed: int, count: int) -> Float[Tensor, "count noise"]:
    """One noise vector per column, the same for every model: each takes its first `dim_z` entries."""
    return torch.randn(count, max(profile.dim_z, profile.teacher_dim_z), generator=seeded(seed))


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


def shown_classes(study: Study, fixed: Mapping[str, Sequence[int]], count: int) -> tuple[int, ...]:
    """The fixed classes of the profile's data set; where its images have no such classes, the first `count` of them."""
    budget = study.fitted
    labels = fixed.get(budget.dataset, ())
    if labels and max(labels) < budget.num_classes:
        return tuple(labels)
    return tuple(range(min(count, budget.num_classes)))


def class_names(profile: Profile, records: Sequence[Record | None], labels: Sequence[int]) -> list[str]:
    """Names of the classes: those in the runs' records, else the data set's own."""
    known = next((record["data"]["classes"] for record in records if record is not None), None)
    if isinstance(known, list):
        return [str(known[label]) for label in labels]
    names = CLASSES.get(profile.dataset, ())
    return [names[label] if label < len(names) else f"class {label}" for label in labels]


def image_rows(study: Study, rows: Mapping[str, Tensor | None], names: Sequence[str], note: str = "") -> Figure:
    """A row of images for each title, the names of the columns above; None is drawn as not run."""
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(6.4, 6.0 * len(rows) / len(names) + 0.5)
        figure.set_layout_engine("compressed")  # panels of images have an aspect
        grid = figure.subplots(len(rows), 1, squeeze=False)
        for axes, (title, images) in zip(grid.flat, rows.items(), strict=True):
            if images is None:
                not_run(axes)
                axes.set_box_aspect(1 / len(names))
                axes.set_ylabel(title, rotation=0, ha="right", va="center")
            else:
                show_tiles(axes, images, [title], names)
                axes.tick_params(labeltop=axes is figure.axes[0], labelsize=8)
        sign(figure, study.line, note)
    return figure


def best_images(
    record: Record, evaluators: Evaluators, labels: Sequence[int]
) -> Float[Tensor, "labels 3 height width"]:
    """The best of ten images in [0, 1] of each of these classes."""
    return best_of(generator_of(record), evaluators.network, record["seed"])[list(labels)].float() / 255


def fig3(study: Study) -> Figure:
    """Figure 3: PPCD-GAN and the systems of Table 1, nine classes, the best of ten by the Inception score.

    Which image is the best is said by the profile's backbone; see `paper.judges.best_of`.
    """
    study = study.first
    records = {recipe: study.record(recipe) for recipe in numbers.TABLE1_ROWS}
    labels = shown_classes(study, FIGURE3_LABELS, 9)
    names = class_names(study.profile, list(records.values()), labels)
    evaluators, rows = get_judges(study)[1] if any(records.values()) else None, {}
    for recipe, record in records.items():
        images = None if record is None or evaluators is None else best_images(record, evaluators, labels)
        rows[RECIPES[recipe].title.replace(" (", "\n(")] = images
    return image_rows(study, rows, names, BEST)


def fig5(study: Study, alpha: float = numbers.TABLE3_ALPHA) -> Figure:
    """Figure 5: the ablation models side by side, six classes, the same noise for every model.

    The teacher is the first row. Made with each run's slim EMA generator; a missing run is drawn as such.
    """
    study = study.first.with_alpha(alpha)
    titles = {TEACHER: RECIPES[TEACHER].title} | numbers.TABLE3_ROWS
    records = {recipe: study.record(recipe) for recipe in titles}
    labels = shown_classes(study, FIGURE5_LABELS, 6)
    names = class_names(study.profile, list(records.values()), labels)
    z = example_noise(study.profile, study.seeds[0], len(labels))
    rows = {}
    for recipe, record in records.items():
        label = re.sub("(PPCD-GAN|Big-GAN) ", "\\1\n", titles[recipe])
        label = re.sub("L_(PP|CD)", r"$\\mathcal{L}_{\\rm \1}$", label)
        rows[label] = None if record is None else examples(record, z, labels)
    return image_rows(study, rows, names)


def write_fig5(study: Study, alpha: float = numbers.TABLE3_ALPHA) -> list[Path]:
    """Write `figures/<profile>/fig5.{png,pdf}`; `fig5-a0.6` for an alpha that is not the paper's."""
    return save(fig5(study, alpha), study.figures, "fig5" + alpha_suffix(alpha, numbers.TABLE3_ALPHA))
