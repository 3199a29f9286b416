"""What claims are made of and how `claims.toml` is read: measurements, a statistic of them, the bound to pass.

The file says what its keys mean.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paper import numbers
from paper.artifacts.rows import PAPER_COLUMNS
from paper.artifacts.rows import SCORES as TABLE_SCORES
from ppcd.base import PpcdError
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe

Array = NDArray[np.float64]

TINY = 1e-9  # smaller scores count as this one, so that ratios are finite
FILE = Path(__file__).with_name("claims.toml")

# What is measured, and what it is called in tables; IS and FD carry their backbone in the line above a table.
MEASURES = {
    "is": "IS", "fd": "FD", "diversity": "diversity", "accuracy": "accuracy", "leakage": "leakage",
    "params": "#Par.", "params_dense": "#Par. before pruning", "macs": "MACs", "gpu": "GPU time", "cpu": "CPU time",
    "real_leakage": "leakage of real images", "loss_spread": "spread of D's loss",
    "mask_step": "share of a layer within 1% of the training", "frozen": "masks frozen",
}  # fmt: skip
SCORES = (*TABLE_SCORES, "leakage")  # of generated images
TIMES = ("gpu", "cpu")  # seconds per batch of 64 images
SIZES = ("params", "params_dense", "macs")
SEARCHED = "distill-nas"  # the recipe whose size a training decides
PRUNED_BY_L1 = "l1-"  # how the names of those recipes begin
NAMES = {
    "biggan": "BigGAN", "sagan": "SA-GAN", "sngan": "SN-GAN", "tinygan": "Tiny-GAN", "ppcd": "PPCD-GAN",
    "ppcd-no-pp": "w/o L_PP", "ppcd-no-cd": "w/o L_CD", "ppcd-two-step": "PPCD-GAN*", "l1-biggan": "l1 BigGAN",
    "l1-sagan": "l1 SA-GAN", "distill-only": "Distill only", "distill-nas": "Distill+NAS",
}  # fmt: skip


def at(recipe: str, alpha: float) -> str:
    """The recipe's name at that alpha; 0.7 is the default and carries no suffix."""
    return recipe if alpha == 0.7 else f"{recipe}-a{alpha:g}"


def name(recipe: str) -> str:
    """What a system is called in the table of claims: `PPCD-GAN(.5)`."""
    base, _, alpha = recipe.partition("-a0")
    return NAMES[base] + (f"({alpha})" if alpha else "")


def ratio(first: Any, second: Any) -> Any:
    """first / second, numbers or arrays, finite also where the second is zero (no diversity at all)."""
    return np.maximum(first, TINY) / np.maximum(second, TINY)


# Where the paper prints a system's numbers: recipe -> table and row. Table 3 has alpha 0.5 where anything is pruned.
PAPER_ROWS: dict[str, tuple[int, str]] = {
    **{
        at(recipe, numbers.TABLE3_ALPHA if get_recipe(recipe).masked else 0.7): (3, row)
        for recipe, row in numbers.TABLE3_ROWS.items()
    },
    **{recipe: (2, row) for recipe, row in numbers.TABLE2_ROWS.items()},
    **{recipe: (1, row) for recipe, row in numbers.TABLE1_ROWS.items()},
}


class Quantity(NamedTuple):
    """One measurement of one system: `("ppcd-a0.5", "fd")`."""

    recipe: str
    key: str

    @property
    def fixed(self) -> bool:
        """Whether architecture, width and alpha decide it, whatever the seed."""
        return self.key in SIZES and not self.recipe.startswith(SEARCHED)

    def published(self) -> float | None:
        """The paper's number, None where it prints none."""
        table, row = PAPER_ROWS.get(self.recipe, (1, ""))
        cell = numbers.TABLES[table].get(row, {}).get(PAPER_COLUMNS.get(self.key, ""))
        return None if cell is None else cell.value


@dataclass(frozen=True)
class Part:
    """One comparison: holds where the statistic's mean over seeds is on that side of the bound.

    Attributes:
        statistic: of one array [seed] per quantity, elementwise.
        logs: whether it is a ratio, whose mean and interval are taken of the logarithms.
    """

    text: str
    quantities: tuple[Quantity, ...]
    statistic: Callable[..., Array]
    logs: bool = False
    bound: float = 0.0
    side: Literal["above", "below"] = "above"

    @property
    def fixed(self) -> bool:
        """Whether nothing that it compares varies over seeds."""
        return all(quantity.fixed for quantity in self.quantities)

    def published(self) -> float | None:
        """The statistic of the paper's own numbers, None where it prints not all of them."""
        values = [quantity.published() for quantity in self.quantities]
        return None if None in values else float(self.statistic(*np.asarray(values, dtype=float)))


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that can be true or false of runs; it holds where all its parts do."""

    id: str
    sentence: str  # the paper's, symbols as plain text
    where: str
    reading: str  # how the sentence is made a predicate
    tolerance: str
    parts: tuple[Part, ...]
    notes: Mapping[str, str] = field(default_factory=dict)  # profile -> why it does not hold there, in Markdown

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


@dataclass(frozen=True)
class Unchecked:
    """A sentence that can be true or false, but not of runs."""

    sentence: str
    where: str
    reason: str


# --- The kinds of parts: each builds the part that compares `of` with one system of `to` ---


def _ratio(key: str, of: str, to: str, text: str = "", to_measure: str = "") -> Part:
    text = text or f"{MEASURES[key]} {name(of)} / {name(to)}"
    return Part(text, (Quantity(of, key), Quantity(to, to_measure or key)), ratio, logs=True)


def _difference(key: str, of: str, to: str) -> Part:
    text = f"{MEASURES[key]} {name(of)} - {name(to)}"
    return Part(text, (Quantity(of, key), Quantity(to, key)), lambda first, second: first - second)


def _level(key: str, of: str, _: str) -> Part:
    return Part(f"{MEASURES[key]} {name(of)}", (Quantity(of, key),), lambda value: value)


def _growth(key: str, of: str, to: str, alphas: Sequence[float]) -> Part:
    low, high = alphas
    quantities = tuple(Quantity(at(recipe, alpha), key) for recipe in (of, to) for alpha in (high, low))
    text = f"growth of {MEASURES[key]} {low:g} to {high:g}, {name(of)} / {name(to)}"
    return Part(text, quantities, lambda a, b, c, d: ratio(ratio(a, b), ratio(c, d)), logs=True)


def _slope(key: str, of: str, to: str, alphas: Sequence[float]) -> Part:
    quantities = tuple(Quantity(at(recipe, alpha), key) for recipe in (of, to) for alpha in alphas)
    text = f"slope over alpha of log({MEASURES[key]} {name(of)} / {name(to)})"
    return Part(text, quantities, partial(_slope_of, alphas))


def _slope_of(alphas: Sequence[float], *values: Array) -> Array:
    """Least-squares slope over alpha of log(first / second); the first's values come first, each by alpha."""
    centred = np.asarray(alphas) - np.mean(alphas)
    logs = [np.log(ratio(a, b)) for a, b in zip(values[: len(alphas)], values[len(alphas) :], strict=True)]
    return sum((x * y for x, y in zip(centred, logs, strict=True)), np.zeros(())) / float(np.sum(centred**2))


def _dominates(keys: Sequence[str], of: str, to: str) -> Part:
    text = f"larger of {', '.join(MEASURES[key] for key in keys)} ratio {name(to)} / {name(of)}"
    quantities = tuple(Quantity(recipe, key) for key in keys for recipe in (to, of))
    return Part(text, quantities, lambda a, b, c, d: np.maximum(ratio(a, b), ratio(c, d)), logs=True)


KINDS: dict[str, Callable[..., Part]] = {
    "ratio": _ratio, "difference": _difference, "level": _level,
    "growth": _growth, "slope": _slope, "dominates": _dominates,
}  # fmt: skip
BOUNDS = {"above", "below", "above_paper", "below_paper"}


# --- Reading ---


def read_claims(text: str) -> tuple[tuple[Claim, ...], tuple[Unchecked, ...]]:
    """The claims and the unchecked statements of a text such as `claims.toml`."""
    found = tomllib.loads(text)
    claims = tuple(_claim(entry, found.get("reasons", {})) for entry in found["claim"])
    return claims, tuple(Unchecked(**entry) for entry in found.get("unchecked", []))


def _claim(entry: Mapping[str, Any], reasons: Mapping[str, str]) -> Claim:
    notes = {get_profile(each).name: note.format_map(reasons) for each, note in entry.get("notes", {}).items()}
    parts = tuple(part for each in entry["parts"] for part in _parts(each))
    return Claim(**{**entry, "parts": parts, "notes": notes})


def _parts(entry: Mapping[str, Any]) -> Iterable[Part]:
    """The parts of an entry, one for each system of `to`."""
    rest = dict(entry)
    (kind,), (bound,) = KINDS.keys() & entry.keys(), BOUNDS & entry.keys()
    keys, value, of = rest.pop(kind), float(rest.pop(bound)), rest.pop("of")
    for other in rest.pop("to", [of]):
        part = KINDS[kind](keys, of, other, **rest)
        for quantity in part.quantities:
            get_recipe(quantity.recipe)
        printed = part.published() if bound.endswith("_paper") else 1.0
        if printed is None:
            raise PpcdError(f"claims.toml: {bound} needs numbers that the paper does not print, of {part.text}")
        yield replace(part, bound=value * printed, side="above" if bound.startswith("above") else "below")


CLAIMS, UNCHECKED = read_claims(FILE.read_text(encoding="utf-8"))
