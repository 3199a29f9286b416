"""Figure 3: the compared systems side by side, the best of ten images of every class."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from paper import numbers
from paper.artifacts.figures import STYLE, class_names, new_figure, not_run, save, shown_classes, sign
from paper.artifacts.sources import Record, Study, generator_of
from paper.artifacts.tiles import show_tiles
from paper.judges import TIMES, best_of, get_judges
from ppcd.metrics.evaluators import Evaluators
from ppcd.training.recipes import RECIPES

# Nine fixed classes for each data set, as the paper has nine of ImageNet's.
LABELS = {
    "mnist": (0, 1, 2, 3, 4, 5, 7, 8, 9),
    "cifar10": (0, 1, 2, 3, 4, 5, 7, 8, 9),
    "imagenet": (100, 235, 442, 456, 472, 850, 976, 984, 985),  # the paper's: black swan to daisy
}
NOTE = (
    f"of {TIMES} images of a class the one with the highest Inception score exp KL(p(y|x) || p(y)), "
    f"p(y) over all classes' {TIMES} images of the system"
)


def best_images(
    record: Record, evaluators: Evaluators, labels: Sequence[int]
) -> Float[Tensor, "labels 3 height width"]:
    """The best of ten images in [0, 1] of each of these classes."""
    best = best_of(generator_of(record), evaluators.network, record["seed"])
    return best.images[list(labels)].float() / 255


def fig3(profile: str, seed: int = 0) -> Figure:
    """Figure 3: PPCD-GAN and the systems of Table 1, nine classes, the best of ten by the Inception score.

    Which image is the best is said by the profile's backbone; see `paper.judges.best_of`.

    Raises:
        PpcdError: unknown profile, or its data or its backbone is not to be had.
    """
    study = Study(profile, [seed])
    records = {recipe: study.record(recipe) for recipe in numbers.TABLE1_ROWS}
    labels = shown_classes(profile, LABELS, 9)
    names = class_names(profile, list(records.values()), labels)
    evaluators = get_judges(profile)[1] if any(records.values()) else None
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        height = 0.6 * len(records) + 0.55
        edges = {"left": 0.13, "right": 0.99, "bottom": 0.34 / height, "top": 1 - 0.2 / height, "hspace": 0.04}
        figure = new_figure(6.4, height, constrained=False)
        panels = figure.subplots(len(records), 1, gridspec_kw=edges)
        for axes, (recipe, record) in zip(panels, records.items(), strict=True):
            title = RECIPES[recipe].title.replace(" (", "\n(")
            if record is None or evaluators is None:
                not_run(axes)
                axes.spines[:].set_visible(False)
                axes.set_ylabel(title, rotation=0, ha="right", va="center")
            else:
                show_tiles(axes, best_images(record, evaluators, labels), [title], names)
                axes.tick_params(labeltop=axes is panels[0], labelsize=8)
        sign(figure, study, NOTE)
    return figure


def write_fig3(profile: str, seed: int = 0) -> list[Path]:
    """Write `figures/<profile>/fig3.{png,pdf}`."""
    return save(fig3(profile, seed), profile, "fig3")
