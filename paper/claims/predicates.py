"""What claims are made of and how `claims.toml` is read: measurements, a statistic of them, the bound to pass.

The file says what its keys mean. Every mistake in it is refused in one line that names the claim.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paper import numbers
from ppcd.base import PpcdError
from ppcd.training.profiles import PROFILES
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
            return numbers.published(*PAPER_ROWS[self.recipe], PAPER_COLUMNS[self.key]).value
        except PpcdError:
            return None


Statistic = Callable[..., Array]
Side = Literal["above", "below"]


@dataclass(frozen=True)
class Part:
    """One comparison: holds where the statistic's mean over seeds is above (or below) the bound.

    Attributes:
        statistic: of one array [seed] per quantity, elementwise.
        logs: whether it is a ratio, whose mean and interval are taken of the logarithms.
    """

    text: str
    quantities: tuple[Quantity, ...]
    statistic: Statistic
    logs: bool = False
    bound: float = 0.0
    side: Side = "above"

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


# --- The kinds of parts: each builds the part that compares `of` with one system of `to` ---


def _ratio(key: str, of: str, to: str, entry: Mapping[str, Any]) -> Part:
    text = entry.get("text", f"{MEASURES[key]} {name(of)} / {name(to)}")
    return Part(text, (Quantity(of, key), Quantity(to, entry.get("to_measure", key))), ratio, logs=True)


def _difference(key: str, of: str, to: str, _: Mapping[str, Any]) -> Part:
    text = f"{MEASURES[key]} {name(of)} - {name(to)}"
    return Part(text, (Quantity(of, key), Quantity(to, key)), lambda first, second: first - second)


def _level(key: str, of: str, _: str, __: Mapping[str, Any]) -> Part:
    return Part(f"{MEASURES[key]} {name(of)}", (Quantity(of, key),), lambda value: value)


def _growth(key: str, of: str, to: str, entry: Mapping[str, Any]) -> Part:
    low, high = entry["alphas"]
    quantities = tuple(Quantity(at(recipe, alpha), key) for recipe in (of, to) for alpha in (high, low))
    text = f"growth of {MEASURES[key]} {low:g} to {high:g}, {name(of)} / {name(to)}"
    return Part(text, quantities, lambda a, b, c, d: ratio(ratio(a, b), ratio(c, d)), logs=True)


def _slope(key: str, of: str, to: str, entry: Mapping[str, Any]) -> Part:
    quantities = tuple(Quantity(at(recipe, alpha), key) for recipe in (of, to) for alpha in entry["alphas"])
    text = f"slope over alpha of log({MEASURES[key]} {name(of)} / {name(to)})"
    return Part(text, quantities, partial(_slope_of, entry["alphas"]))


def _slope_of(alphas: Sequence[float], *values: Array) -> Array:
    """Least-squares slope over alpha of log(first / second); the first's values come first, each by alpha."""
    centred = np.asarray(alphas) - np.mean(alphas)
    logs = [np.log(ratio(a, b)) for a, b in zip(values[: len(alphas)], values[len(alphas) :], strict=True)]
    return sum((x * y for x, y in zip(centred, logs, strict=True)), np.zeros(())) / float(np.sum(centred**2))


def _dominates(keys: Sequence[str], of: str, to: str, _: Mapping[str, Any]) -> Part:
    text = f"larger of {', '.join(MEASURES[key] for key in keys)} ratio {name(to)} / {name(of)}"
    quantities = tuple(Quantity(recipe, key) for key in keys for recipe in (to, of))
    return Part(text, quantities, lambda a, b, c, d: np.maximum(ratio(a, b), ratio(c, d)), logs=True)


# Each kind with the other keys that its parts have; `text` and `to_measure` may be left out.
KINDS: dict[str, tuple[Callable[..., Part], set[str]]] = {
    "ratio": (_ratio, {"to", "text", "to_measure"}),
    "difference": (_difference, {"to"}),
    "level": (_level, set()),
    "growth": (_growth, {"to", "alphas"}),
    "slope": (_slope, {"to", "alphas"}),
    "dominates": (_dominates, {"to"}),
}
BOUNDS = ("above", "below", "above_paper", "below_paper")
OPTIONAL = {"text", "to_measure"}


# --- Reading ---


def read_claims(text: str) -> tuple[tuple[Claim, ...], tuple[Unchecked, ...]]:
    """The claims and the unchecked statements of a text such as `claims.toml`.

    Raises:
        PpcdError: it is no TOML, or says something that is not a claim.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise PpcdError(f"claims.toml is not TOML: {problem}") from None
    _check_keys("claims.toml", found, {"claim", "unchecked", "reasons"}, {"unchecked", "reasons"})
    claims = tuple(_claim(entry, found.get("reasons", {})) for entry in found["claim"])
    ids = [claim.id for claim in claims]
    if twice := {each for each in ids if ids.count(each) > 1}:
        raise PpcdError(f"claims.toml: claim {', '.join(sorted(twice))} is there twice")
    unchecked = found.get("unchecked", [])
    for entry in unchecked:
        _check_keys("claims.toml, an unchecked statement", entry, {"sentence", "where", "reason"})
    return claims, tuple(Unchecked(**entry) for entry in unchecked)


def _claim(entry: Mapping[str, Any], reasons: Mapping[str, str]) -> Claim:
    of = f"claims.toml, claim {entry.get('id', '?')}"
    texts = {"id", "sentence", "where", "reading", "tolerance"}
    _check_keys(of, entry, {*texts, "parts", "notes"}, {"notes"})
    if empty := [key for key in sorted(texts) if not isinstance(entry[key], str) or not entry[key]]:
        raise PpcdError(f"{of}: {empty[0]} must be a text")
    notes = entry.get("notes", {})
    if unknown := set(notes) - set(PROFILES):
        raise PpcdError(f"{of}: a note names profile {min(unknown)!r}; expected one of: {', '.join(PROFILES)}")
    try:
        told = {profile: note.format_map(reasons) for profile, note in notes.items()}
    except KeyError as unknown_reason:
        raise PpcdError(f"{of}: a note names the reason {unknown_reason}, which is not under [reasons]") from None
    parts = tuple(part for each in entry["parts"] for part in _parts(of, each))
    if not parts:
        raise PpcdError(f"{of}: it has no parts")
    return Claim(**{key: entry[key] for key in texts}, parts=parts, notes=told)


def _parts(claim: str, entry: Mapping[str, Any]) -> Iterable[Part]:
    """The parts of an entry, one for each system of `to`."""
    kind, bound = _only(claim, entry, KINDS), _only(claim, entry, BOUNDS)
    build, keys = KINDS[kind]
    _check_keys(f"{claim}, {kind}", entry, {kind, bound, "of", *keys}, OPTIONAL)
    others = entry.get("to", [entry["of"]])
    measures = [*([entry[kind]] if isinstance(entry[kind], str) else entry[kind]), entry.get("to_measure", "fd")]
    if unknown := [each for each in measures if each not in MEASURES]:
        raise PpcdError(f"{claim}: no measurement {unknown[0]!r}; expected one of: {', '.join(MEASURES)}")
    if isinstance(entry[bound], bool) or not isinstance(entry[bound], int | float):
        raise PpcdError(f"{claim}: {bound} must be a number, not {entry[bound]!r}")
    for recipe in (entry["of"], *others):
        _check_recipe(claim, recipe)
    for other in others:
        part = build(entry[kind], entry["of"], other, entry)
        for quantity in part.quantities:
            _check_recipe(claim, quantity.recipe)
        value, side = float(entry[bound]), bound.removesuffix("_paper")
        if side != bound:
            printed = part.published()
            if printed is None:
                raise PpcdError(f"{claim}: {bound} needs numbers that the paper does not print, of {part.text}")
            value *= printed
        yield replace(part, bound=value, side="above" if side == "above" else "below")


def _only(claim: str, entry: Mapping[str, Any], names: Iterable[str]) -> str:
    """The one of these keys that an entry has."""
    there = [each for each in names if each in entry]
    if len(there) != 1:
        raise PpcdError(f"{claim}: a part needs one of {', '.join(names)}; one has {' and '.join(there) or 'none'}")
    return there[0]


def _check_recipe(claim: str, recipe: str) -> None:
    try:
        get_recipe(recipe)
        name(recipe)
    except (PpcdError, KeyError):
        raise PpcdError(f"{claim}: no system {recipe!r}; expected a recipe of: {', '.join(NAMES)}") from None


def _check_keys(of: str, entry: Mapping[str, Any], keys: set[str], optional: Iterable[str] = ()) -> None:
    if unknown := set(entry) - keys:
        raise PpcdError(f"{of}: unknown key {min(unknown)!r}; expected: {', '.join(sorted(keys))}")
    if missing := keys - set(entry) - set(optional):
        raise PpcdError(f"{of}: {min(missing)} is missing")


CLAIMS, UNCHECKED = read_claims(FILE.read_text(encoding="utf-8"))
