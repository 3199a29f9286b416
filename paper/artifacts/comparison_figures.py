"""Figure 3: the compared systems side by side, the best of ten images of every class."""

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from paper import numbers
from paper.artifacts.figures import class_names, image_rows
from paper.artifacts.sources import Record, Study, generator_of
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
    """
    study = Study(profile, [seed])
    records = {recipe: study.record(recipe) for recipe in numbers.TABLE1_ROWS}
    labels = LABELS[study.settings.dataset]
    names = class_names(profile, list(records.values()), labels)
    evaluators, rows = get_judges(profile)[1] if any(records.values()) else None, {}
    for recipe, record in records.items():
        images = None if record is None or evaluators is None else best_images(record, evaluators, labels)
        rows[RECIPES[recipe].title.replace(" (", "\n(")] = images
    return image_rows(study, rows, names, NOTE)
