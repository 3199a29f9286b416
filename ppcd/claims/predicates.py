"""What a claim is made of: measurements of systems, a statistic of them, and the bound that it must pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paper import numbers as paper
from ppcd.base import PpcdError

Array = NDArray[np.float64]

TINY = 1e-9  # below it a score is nothing; keeps ratios finite
TOLERANCE = 0.10  # how far a ratio may stay behind the paper's
MUCH = 0.80  # "much poorer", "far worse": at most this share of the other's quality
DRASTIC = 1.5  # "fails", "degrades drastically": the Frechet distance at least so many times as large
ALPHAS = (0.5, 0.6, 0.7, 0.8)  # Figure 4

# What is measured, and what it is called in tables; IS and FD carry their backbone in the line above a table.
MEASURES = {
    "is": "IS", "fd": "FD", "diversity": "diversity", "accuracy": "accuracy", "leakage": "leakage",
    "params": "#Par.", "params_dense": "#Par. before pruning", "macs": "MACs", "gpu": "GPU time", "cpu": "CPU time",
    "real_leakage": "leakage of real images", "loss_spread": "spread of D's loss",
    "mask_step": "share of a layer within 1% of the training", "frozen": "masks frozen",
}  # fmt: skip
SCORES = ("is", "fd", "diversity", "accuracy", "leakage")  # of generated images
TIMES = ("gpu", "cpu")
SIZES = ("params", "params_dense", "macs")
SEARCHED = "distill-nas"  # the recipe whose size a training decides
PRUNED_BY_L1 = "l1-"  # how the names of those recipes begin
PAPER_COLUMNS = {
    "is": "IS", "fd": "FID", "diversity": "LPIPS", "params": "#Par.", "macs": "MACs", "gpu": "GPU", "cpu": "CPU",
}  # fmt: skip
NAMES = {
    "biggan": "BigGAN", "sagan": "SA-GAN", "sngan": "SN-GAN", "tinygan": "Tiny-GAN", "ppcd": "PPCD-GAN",
    "ppcd-no-pp": "w/o L_PP", "ppcd-no-cd": "w/o L_CD", "ppcd-two-step": "PPCD-GAN*", "l1-biggan": "l1 BigGAN",
    "l1-sagan": "l1 SA-GAN", "distill-only": "Distill only", "distill-nas": "Distill+NAS",
}  # fmt: skip
PAPER_ROWS: dict[str, tuple[int, str]] = {
    **{recipe: (3, row) for recipe, row in (
        ("ppcd-a0.5", "PPCD-GAN (complete)"), ("ppcd-no-pp", "PPCD-GAN w/o L_PP"),
        ("ppcd-no-cd-a0.5", "PPCD-GAN w/o L_CD"), ("ppcd-two-step-a0.5", "PPCD-GAN*"),
    )},
    **{recipe: (2, row) for recipe, row in (("distill-nas", "Distill + NAS"), ("distill-only", "Distill only"))},
    **{recipe: (1, row) for recipe, row in (
        ("biggan", "Big-GAN"), ("sagan", "SA-GAN"), ("sngan", "SN-GAN"), ("tinygan", "Tiny-GAN"),
        ("ppcd", "PPCD-GAN (alpha=0.7)"),
    )},
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """One measurement of one system: `("ppcd-a0.5", "fd")`."""

    recipe: str
    key: str

    @property
    def fixed(self) -> bool:
        """Whether architecture, width and alpha decide it, whatever the seed."""
        return self.key in SIZES and not self.recipe.startswith(SEARCHED)

    def published(self) -> float | None:
        """The paper's number, None where it prints none."""
        if self.recipe not in PAPER_ROWS or self.key not in PAPER_COLUMNS:
            return None
        try:
            return paper.published(*PAPER_ROWS[self.recipe], PAPER_COLUMNS[self.key]).value
        except PpcdError:
            return None


@dataclass(frozen=True)
class Part:
    """One comparison: holds where the statistic's mean over seeds is above (or below) the bound.

    Attributes:
        statistic: of one array [seed] per quantity, elementwise.
        logs: whether it is a ratio, whose mean and interval are taken of the logarithms.
    """

    text: str
    quantities: tuple[Quantity, ...]
    statistic: Callable[..., Array]
    bound: float
    side: Literal["above", "below"] = "above"
    logs: bool = False

    def published(self) -> float | None:
        """The statistic of the paper's own numbers, None where it prints not all of them."""
        values = [quantity.published() for quantity in self.quantities]
        found = [np.asarray(value, dtype=float) for value in values if value is not None]
        return float(self.statistic(*found)) if len(found) == len(values) else None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that can be true or false of runs; it holds where all its parts do."""

    id: str
    sentence: str  # the paper's, symbols as plain text
    where: str
    reading: str  # how the sentence is made a predicate
    tolerance: str
    parts: tuple[Part, ...]

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return tuple(dict.fromkeys(quantity for part in self.parts for quantity in part.quantities))

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes whose runs are needed, in the order of their use."""
        return tuple(dict.fromkeys(quantity.recipe for quantity in self.quantities))

    @property
    def by_design(self) -> bool:
        """Whether it is of sizes and times alone, which architectures, widths and alpha decide: no training can."""
        return all(quantity.fixed or quantity.key in TIMES for quantity in self.quantities)


def at(recipe: str, alpha: float) -> str:
    """The recipe's name at that alpha; 0.7 is the default and carries no suffix."""
    return recipe if alpha == 0.7 else f"{recipe}-a{alpha:g}"


def name(recipe: str) -> str:
    """What a system is called in the table of claims: `PPCD-GAN(.5)`."""
    base, _, alpha = recipe.partition("-a0")
    return NAMES[base] + (f"({alpha})" if alpha else "")


def ratio(first: Array, second: Array) -> Array:
    """first / second, finite also where the second is zero (no diversity at all)."""
    return np.maximum(first, TINY) / np.maximum(second, TINY)


def _compared(key: str, first: str, second: str, bound: float, side: Literal["above", "below"]) -> Part:
    quantities = (Quantity(first, key), Quantity(second, key))
    return Part(f"{MEASURES[key]} {name(first)} / {name(second)}", quantities, ratio, bound, side, logs=True)


def more(key: str, first: str, *others: str, by: float = 1.0) -> tuple[Part, ...]:
    """The first's measurement is more than `by` times that of each of the others."""
    return tuple(_compared(key, first, other, by, "above") for other in others)


def less(key: str, first: str, *others: str, by: float = 1.0) -> tuple[Part, ...]:
    """The first's measurement is less than `by` times that of each of the others."""
    return tuple(_compared(key, first, other, by, "below") for other in others)


def better(first: str, *others: str) -> tuple[Part, ...]:
    """Higher IS and lower Frechet distance than each of the others."""
    return more("is", first, *others) + less("fd", first, *others)


def much_better(first: str, *others: str) -> tuple[Part, ...]:
    """The others' IS is at most a MUCH of the first's, the first's Frechet distance a MUCH of theirs."""
    return more("is", first, *others, by=1 / MUCH) + less("fd", first, *others, by=MUCH)


def papers_ratio(key: str, first: str, second: str, slack: float) -> float:
    """The ratio that the paper prints, loosened by the factor `slack`.

    Raises:
        ValueError: the paper does not print both numbers.
    """
    (part,) = more(key, first, second)
    printed = part.published()
    if printed is None:
        raise ValueError(f"the paper does not print {part.text}")
    return printed * slack


def comparable(first: str, second: str) -> tuple[Part, ...]:
    """IS and Frechet distance within the paper's ratio of the second's, TOLERANCE worse at most."""
    return more("is", first, second, by=papers_ratio("is", first, second, 1 - TOLERANCE)) + less(
        "fd", first, second, by=papers_ratio("fd", first, second, 1 / (1 - TOLERANCE))
    )


def level(key: str, recipe: str, bound: float, side: Literal["above", "below"] = "above") -> tuple[Part, ...]:
    """A measurement itself is above (below) the bound."""
    return (Part(f"{MEASURES[key]} {name(recipe)}", (Quantity(recipe, key),), lambda value: value, bound, side),)


def steeper(key: str, first: str, second: str, low: float, high: float) -> tuple[Part, ...]:
    """From alpha `low` to `high` the first's measurement grows by a larger factor than the second's."""
    quantities = tuple(Quantity(at(recipe, alpha), key) for recipe in (first, second) for alpha in (high, low))
    text = f"growth of {MEASURES[key]} {low:g} to {high:g}, {NAMES[first]} / {NAMES[second]}"
    return (Part(text, quantities, lambda a, b, c, d: ratio(ratio(a, b), ratio(c, d)), 1.0, logs=True),)


def _slope(*values: Array) -> Array:
    """Least-squares slope over ALPHAS of log(first / second); the first's values come first, each by alpha."""
    centred = np.asarray(ALPHAS) - np.mean(ALPHAS)
    logs = [np.log(ratio(a, b)) for a, b in zip(values[: len(ALPHAS)], values[len(ALPHAS) :], strict=True)]
    return sum((x * y for x, y in zip(centred, logs, strict=True)), np.zeros(())) / float(np.sum(centred**2))


def growing_gap(key: str, first: str, second: str) -> tuple[Part, ...]:
    """The ratio of the first's measurement to the second's grows with alpha."""
    quantities = tuple(Quantity(at(recipe, alpha), key) for recipe in (first, second) for alpha in ALPHAS)
    text = f"slope over alpha of log({MEASURES[key]} {NAMES[first]} / {NAMES[second]})"
    return (Part(text, quantities, _slope, 0.0),)


def not_dominated(first: str, *others: str) -> tuple[Part, ...]:
    """None of the others is at once better in Frechet distance and smaller."""
    return tuple(
        Part(
            f"larger of FD, #Par. ratio {name(other)} / {name(first)}",
            (Quantity(other, "fd"), Quantity(first, "fd"), Quantity(other, "params"), Quantity(first, "params")),
            lambda fd, own_fd, params, own: np.maximum(ratio(fd, own_fd), ratio(params, own)),
            1.0,
            logs=True,
        )
        for other in others
    )
