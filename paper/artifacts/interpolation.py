"""Figure 6 (class changes at fixed noise) and Figure 7 (noise changes at fixed class)."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import matplotlib
import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from paper import numbers
from paper.artifacts.figures import (
    STYLE,
    class_names,
    examples,
    new_figure,
    not_run,
    show_tiles,
    shown_classes,
    sign,
)
from paper.study import Record, Study, generator_of
from ppcd.base import PpcdError
from ppcd.metrics.sampling import draw_noise
from ppcd.networks.layers import SpectralNorm
from ppcd.training.recipes import RECIPES, TEACHER

SYSTEMS = ("ppcd", TEACHER)
NOISES = 4  # fixed noise vectors of Figure 6, and rows of Figure 7
PARALLEL = 1e-4  # sine of the angle below which two noise vectors span no arc
LONGEST_LABEL = 6  # characters above an image of Figure 6 that leave its neighbours' alone; longer ones are slanted
STEPS = 7  # from the one end to the other, both included
# Two pairs of Figure 6, and classes of Figure 7. Digits: pairs that share strokes, and classes that do not.
PAIRS = {"mnist": (3, 8, 4, 9), "cifar10": (3, 5, 1, 9), "imagenet": (235, 281, 984, 985)}
FIXED = {"mnist": (0, 2, 4, 7), "cifar10": (0, 1, 5, 7), "imagenet": (100, 235, 850, 985)}


def slerp(
    start: Float[Tensor, " noise"], end: Float[Tensor, " noise"], steps: Float[Tensor, " step"]
) -> Float[Tensor, "step noise"]:
    """Spherical interpolation: sin((1 - t) w) / sin w · start + sin(t w) / sin w · end, w the angle between them.

    A straight line between two normal vectors passes near the origin, where a generator never was in training;
    this arc keeps to their lengths (White, "Sampling Generative Networks", 2016). t = 0 is `start` and t = 1 is
    `end` to the last bit. Vectors (nearly) on one line span no arc and are joined by the line.
    """
    t = steps[:, None].to(start)
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if not bool(sine > PARALLEL):  # also NaN: a vector of zeros
        return torch.lerp(start[None], end[None], t)
    return torch.sin((1 - t) * angle) / sine * start + torch.sin(t * angle) / sine * end


def between_classes(
    generator: nn.Module, start: int, end: int, steps: Float[Tensor, " step"]
) -> tuple[nn.Module, Int64[Tensor, " step"]]:
    """A copy of the generator with one more class for each step on the way from one class to another.

    A class enters a generator only through the rows of its embeddings: one shared embedding (Big-GAN,
    Tiny-GAN), or one for the gain and one for the bias of every CBN (SA-GAN, SN-GAN, PPCD-GAN). Every one of
    them gets the rows (1 - t) · row[start] + t · row[end]; t = 0 and t = 1 are the two classes to the last bit.

    Returns:
        the copy, in evaluation mode, and the labels of its steps.

    Raises:
        PpcdError: a label that there is not, or a generator without class embeddings to interpolate.
    """
    classes = int(generator.num_classes)  # type: ignore[arg-type]
    if not {start, end} <= set(range(classes)):
        raise PpcdError(f"the labels must be in 0 to {classes - 1}; got {start} and {end}")
    copied = copy.deepcopy(generator).eval()
    embeddings = [
        module
        for module in copied.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings == classes
    ]  # fmt: skip
    if not embeddings or any(isinstance(module, SpectralNorm) for module in embeddings):
        raise PpcdError("classes are interpolated in plain embeddings, which this generator lacks; slim it first")
    for module in embeddings:
        rows = module.weight.detach()
        added = torch.lerp(rows[start][None], rows[end][None], steps[:, None].to(rows))
        module.weight = nn.Parameter(torch.cat([rows, added]), requires_grad=False)
        module.num_embeddings = classes + len(steps)
    copied.num_classes = classes + len(steps)  # type: ignore[assignment]
    return copied, torch.arange(classes, classes + len(steps))


def steps() -> Float[Tensor, " step"]:
    """t = 0, 1/6 ... 1."""
    return torch.arange(STEPS, dtype=torch.float64) / (STEPS - 1)


def _titles() -> list[str]:
    return [f"{t:.2g}" for t in steps().tolist()]


def noise(study: Study, count: int) -> Float[Tensor, "count noise"]:
    """Noise vectors of the first seed; every system takes the first `dim_z` entries of each."""
    return draw_noise(count, max(study.profile.dim_z, study.profile.teacher_dim_z), study.seeds[0])


@torch.no_grad()
def class_steps(
    record: Record, z: Float[Tensor, "noises noise"], start: int, end: int
) -> Float[Tensor, "images 3 height width"]:
    """Images in [0, 1], noise by noise, of every step from one class to another."""
    generator = generator_of(record)
    mixed, labels = between_classes(generator, start, end, steps())
    rows = z[:, : generator.dim_z].repeat_interleave(len(labels), dim=0)
    return (mixed(rows, labels.repeat(len(z))).clamp(-1, 1) + 1) / 2


def noise_steps(record: Record, study: Study, labels: Sequence[int]) -> Float[Tensor, "images 3 h w"]:
    """Images in [0, 1], class by class, of every step from one noise vector to the next of the seed.

    The arc is drawn between the entries that the generator sees, so that its ends are the ends of the arc.
    """
    ends = noise(study, 2 * len(labels))[:, : generator_of(record).dim_z]
    rows = [slerp(start, end, steps()) for start, end in ends.unflatten(0, (-1, 2))]
    return examples(record, torch.cat(rows), [label for label in labels for _ in range(STEPS)])


def fig6(study: Study) -> Figure:
    """Figure 6: class changes at fixed noise, in PPCD-GAN and in its teacher.

    Left: from one class to another through interpolated class embeddings, for two pairs. Right: every class
    (the first ten). A row has one noise vector throughout, the same for both systems.
    """
    study = study.first.with_alpha(numbers.TABLE1_ALPHA)
    budget, records = study.fitted, {recipe: study.record(recipe) for recipe in SYSTEMS}
    ends = shown_classes(study, PAIRS, 4)
    z, classes = noise(study, NOISES), range(min(budget.num_classes, 10))
    names = class_names(budget, list(records.values()), range(budget.num_classes))
    blocks: list[tuple[str, list[str], Callable[[Record], Tensor]]] = []
    for start, end in zip(ends[::2], ends[1::2], strict=False):
        title = f"class {names[start]} (t = 0) to {names[end]} (t = 1)"
        blocks.append((title, _titles(), partial(class_steps, z=z, start=start, end=end)))
    every = partial(examples, z=z.repeat_interleave(len(classes), dim=0), labels=[*classes] * NOISES)
    blocks.append(("every class", [names[label] for label in classes], every))
    widths = [len(columns) for _, columns, _ in blocks]
    rows = [f"$z_{index + 1}$" for index in range(NOISES)]
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(0.36 * sum(widths) + 1.2, (0.34 * len(rows) + 0.5) * len(records) + 0.3)
        figure.set_layout_engine("compressed")  # panels of images have an aspect
        grid = figure.subplots(len(records), len(blocks), squeeze=False, width_ratios=widths)
        for band, (recipe, record) in zip(grid, records.items(), strict=True):
            for axes, (title, columns, make) in zip(band, blocks, strict=True):
                _panel(axes, None if record is None else make(record), rows, columns, title)
            band[0].set_ylabel(RECIPES[recipe].title.replace(" (", "\n("), fontsize=9)
        note = "a row has one noise vector; class embeddings are interpolated linearly, t = 0 and 1 are the classes"
        sign(figure, study.line, note)
    return figure


def fig7(study: Study) -> Figure:
    """Figure 7: noise changes at fixed class, in PPCD-GAN and in its teacher, on the arc between two vectors."""
    study = study.first.with_alpha(numbers.TABLE1_ALPHA)
    records = {recipe: study.record(recipe) for recipe in SYSTEMS}
    labels = shown_classes(study, FIXED, 4)
    names = class_names(study.profile, list(records.values()), labels)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(6.4, 2.5)
        figure.set_layout_engine("compressed")  # panels of images have an aspect
        for axes, (recipe, record) in zip(figure.subplots(1, len(SYSTEMS)), records.items(), strict=True):
            images = None if record is None else noise_steps(record, study, labels)
            title = RECIPES[recipe].title
            if images is not None:
                title += f": the ends differ by {ends_differ(images):.3f}"
            _panel(axes, images, names, _titles(), title)
        note = (
            "a row has one class; its noise goes from t = 0 to t = 1 by spherical interpolation;\n"
            "how much the ends differ is the mean absolute difference of the pixels, which are in [0, 1]"
        )
        sign(figure, study.line, note)
    return figure


def ends_differ(images: Float[Tensor, "images 3 height width"]) -> float:
    """How much the noise changes: mean absolute difference of the pixels between t = 0 and t = 1, over the rows."""
    rows = images.unflatten(0, (-1, STEPS))
    return (rows[:, 0] - rows[:, -1]).abs().mean().item()


def _panel(axes: Axes, images: Tensor | None, rows: Sequence[str], columns: Sequence[str], title: str) -> None:
    if images is None:
        axes.set_box_aspect(len(rows) / len(columns))
        not_run(axes)
    else:
        show_tiles(axes, images, rows, columns)
        if max(map(len, columns)) > LONGEST_LABEL:
            for label in axes.get_xticklabels():
                label.set(rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.set_label_position("top")  # a title would be cut where ticks are above
    axes.set_xlabel(title, fontsize=8, labelpad=4)
