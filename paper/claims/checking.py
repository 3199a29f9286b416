"""Each claim of the paper, checked against the runs of a profile (`make claims`).

A claim is a conjunction of parts; a part is a statistic of measurements and a bound. The 95% interval of its mean over
seeds comes from `paper.intervals`: wholly on the right side of the bound, the part is reproduced, wholly on the wrong
side not reproduced, otherwise inconclusive. A claim is reproduced where all its parts are, not reproduced where one of
them is not, else inconclusive; and not run where a run or a measurement that it needs is not there.

What is corrected: one part of many fails more easily by chance than one part alone, so the interval that lets a part
fail is widened for the number of the claim's parts that vary over seeds (Bonferroni, which is Holm's first step). All
parts must hold together, which needs no correction. The number of claims is not corrected for.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from paper import sums
from paper.artifacts.render import write_number
from paper.claims.predicates import (
    CLAIMS,
    MEASURES,
    PRUNED_BY_L1,
    SCORES,
    SEARCHED,
    TIMES,
    Claim,
    Part,
    Quantity,
    name,
)
from paper.claims.scores import OWN_TIME, Measurements
from paper.generations import samples_per_generation
from paper.intervals import LEVEL, MOST_SEEDS, Contrast
from paper.study import Study, listed, of_another_teacher
from ppcd.base import PpcdError

RECIPES_OF_CLAIMS = tuple(dict.fromkeys(recipe for claim in CLAIMS for recipe in claim.recipes))  # that they read

Status = Literal["reproduced", "not reproduced", "inconclusive", "not run"]
STATUSES: dict[Status, str] = {
    "reproduced": "the 95% interval of every part lies wholly where the claim puts it",
    "not reproduced": "that of at least one part, widened for the number of parts, lies wholly on the other side",
    "inconclusive": "no part is on the other side, but the interval of at least one holds both",
    "not run": "a run or a measurement that the claim needs is not there: nothing is known",
}


@dataclass(frozen=True)
class PartOutcome:
    """What a part came to: the statistic's mean over seeds, its interval, and what that says.

    Attributes:
        interval: infinite where one seed is all there is.
        means: of the part's quantities.
        seeds: how many are in the interval.
        needed: how many would decide an open part; None where more than `paper.intervals.MOST_SEEDS`, or unknown.
    """

    part: Part
    status: Status
    value: float
    interval: tuple[float, float]
    means: tuple[float, ...]
    seeds: int
    needed: int | None = None

    @property
    def leans(self) -> bool:
        """Whether the mean lies where the claim puts it."""
        return self.value > self.part.bound if self.part.side == "above" else self.value < self.part.bound

    @property
    def text(self) -> str:
        """`IS PPCD-GAN / SA-GAN 1.27 [1.10, 1.40] > 1`."""
        low, high = self.interval
        shown = number(self.value)
        if math.isinf(high):
            shown = f"{shown} [{self.seeds} seed]" if self.seeds else "no seed"
        elif low != high:
            shown += f" [{number(low)}, {number(high)}]"
        return f"{self.part.text} {shown} {'>' if self.part.side == 'above' else '<'} {number(self.part.bound)}"


@dataclass(frozen=True)
class Outcome:
    """What a claim came to."""

    claim: Claim
    status: Status
    parts: tuple[PartOutcome, ...]
    missing: tuple[str, ...]
    runs: tuple[str, ...]
    remark: str = ""

    @property
    def needed(self) -> int | None:
        """How many seeds would decide an open claim: those that make it fail, or all of its parts hold."""
        failing = [part.needed for part in self.parts if part.status == "inconclusive" and not part.leans]
        holding = [part.needed for part in self.parts if part.status == "inconclusive" and part.leans]
        known = [each for each in failing or holding if each is not None]
        if failing:
            return min(known, default=None)
        return max(known, default=None) if len(known) == len(holding) else None

    @property
    def open(self) -> str:
        """What would decide it, in words; nothing of a claim that is decided."""
        if self.status != "inconclusive":
            return ""
        if (fewest := min(part.seeds for part in self.parts if part.status == "inconclusive")) < 2:
            return "one seed cannot decide it" if fewest else "of one part all runs collapsed"
        needed = f"more than {MOST_SEEDS}" if self.needed is None else f"about {self.needed}"
        return f"{needed} seeds would decide it"

    @property
    def measured(self) -> str:
        """In one line: every part, or what is missing; and what is to be known of it."""
        if self.missing:
            return "; ".join(self.missing)
        said = "; ".join(filter(None, [self.remark, self.open]))
        return "; ".join(outcome.text for outcome in self.parts) + (f" ({said})" if said else "")


def number(value: float) -> str:
    """1.27, 0.031, 12.3."""
    return f"{value:.3g}" if abs(value) < 1e6 else f"{value:.2e}"


def decide(low: float, high: float, bound: float, side: str) -> Status:
    """Where an interval lies. A claim is strict: what equals the bound does not hold."""
    if side == "below":
        low, high, bound = -high, -low, -bound
    if low > bound:
        return "reproduced"
    return "not reproduced" if high <= bound else "inconclusive"


def combine(statuses: Sequence[Status]) -> Status:
    """The status of a conjunction."""
    for status in ("not run", "not reproduced", "inconclusive"):
        if status in statuses:
            return status
    return "reproduced"


def judge(claim: Claim, measurements: Measurements) -> Outcome:
    """Check a claim by the measurements of all its systems."""
    timed = [quantity.recipe for quantity in claim.quantities if quantity.key in TIMES]
    together = measurements.side_by_side(timed)
    read = {  # all times come from one measurement, or each from its run's own
        quantity: quantity
        if together or quantity.key not in TIMES
        else Quantity(quantity.recipe, OWN_TIME + quantity.key)
        for quantity in claim.quantities
    }
    runs = tuple(measurements.runs(claim.recipes))
    missing: dict[str, list[str]] = {}
    for what, of in filter(None, map(measurements.missing, read.values())):
        missing.setdefault(what, []).append(of)
    trained = {quantity.recipe for quantity in claim.quantities if not quantity.fixed and quantity.key not in TIMES}
    for record in of_another_teacher(measurements.records(*trained)):
        what = "run of the same copy of the teacher"
        missing.setdefault(what, []).append(f"{record['recipe']} seed {record['seed']}")
    if missing:
        said = tuple(f"no {what}: {', '.join(dict.fromkeys(of))}" for what, of in missing.items())
        return Outcome(claim, "not run", (), said, runs)
    table = measurements.table(read.values()).set_axis(pd.MultiIndex.from_tuples(read), axis="columns")
    collapsed = _collapsed(claim, measurements)
    vary = sum(not part.fixed for part in claim.parts)
    parts = tuple(_judge_part(part, table, collapsed, vary) for part in claim.parts)
    remarks = ["each timed after its own training, not side by side"] if timed and not together else []
    remarks += _remarks(claim, measurements, collapsed)
    return Outcome(claim, combine([part.status for part in parts]), parts, (), runs, "; ".join(remarks))


def _collapsed(claim: Claim, measurements: Measurements) -> dict[str, list[int]]:
    """Runs of l1 pruning that collapsed: they say that a training failed, not what the selection is worth."""
    scored = {quantity.recipe for quantity in claim.quantities if quantity.key in SCORES}
    pruned = [recipe for recipe in claim.recipes if recipe in scored and recipe.startswith(PRUNED_BY_L1)]
    return {recipe: seeds for recipe in pruned if (seeds := measurements.collapsed(recipe))}


def _judge_part(part: Part, table: pd.DataFrame, collapsed: dict[str, list[int]], vary: int) -> PartOutcome:
    """Judge a part by the seeds of which none of its runs collapsed, of a claim with so many parts that vary."""
    means = tuple(float(np.mean(table[quantity])) for quantity in part.quantities)
    without = {seed for quantity in part.quantities for seed in collapsed.get(quantity.recipe, ())}
    judged = table.drop(index=list(without))
    if judged.empty:
        return PartOutcome(part, "inconclusive", math.nan, (-math.inf, math.inf), means, 0)
    values = part.statistic(*(judged[quantity].to_numpy() for quantity in part.quantities))
    bound = part.bound
    if part.logs:
        values, bound = np.log(values), math.log(bound)
    contrast = Contrast(tuple(values.tolist()), bound)

    widened = 1 - (1 - LEVEL) / max(1, vary)
    low, high = _interval(part, contrast, LEVEL)
    status = decide(low, high, bound, part.side)
    if status == "not reproduced" and decide(*_interval(part, contrast, widened), bound, part.side) != status:
        status = "inconclusive"
    wrong = (contrast.mean > bound) != (part.side == "above")
    needed = contrast.seeds_to_decide(widened if wrong else LEVEL) if status == "inconclusive" else None
    back = np.exp if part.logs else float
    low, high = (float(back(end)) if math.isfinite(end) else end for end in (low, high))
    return PartOutcome(part, status, float(back(contrast.mean)), (low, high), means, len(values), needed)


def _interval(part: Part, contrast: Contrast, level: float) -> tuple[float, float]:
    """The t interval; of no width where nothing that varies over seeds is compared, even with one seed."""
    return (contrast.values[0],) * 2 if part.fixed else contrast.interval(level)


def _remarks(claim: Claim, measurements: Measurements, collapsed: dict[str, list[int]]) -> list[str]:
    """Remarks on the runs of a claim."""
    scored = {quantity.recipe for quantity in claim.quantities if quantity.key in SCORES}
    lost = [f"{name(recipe)} seed{'s' * (len(seeds) > 1)} {listed(seeds)}" for recipe, seeds in collapsed.items()]
    said = [f"left out, at chance: {'; '.join(lost)}"] if lost else []
    if any(recipe.startswith(PRUNED_BY_L1) for recipe in scored) and any(each.startswith("ppcd") for each in scored):
        said.append(f"l1 also cuts the trunk, #Par. and MACs: {', '.join(_sizes(claim.recipes, measurements))}")
    if {(SEARCHED, "fd"), (SEARCHED, "is")} & set(claim.quantities):
        said.append(f"{name(SEARCHED)} was selected by FD in the backbone that judges it")
    copies = measurements.copies_of_the_backbone(claim.recipes) if scored else 1
    return said + ([f"scores from {copies} separately trained copies of the backbone"] if copies > 1 else [])


def _sizes(recipes: Sequence[str], measurements: Measurements) -> list[str]:
    """`PPCD-GAN 41.9k 4.36M`, of each recipe."""
    sizes = measurements.table(Quantity(recipe, key) for recipe in recipes for key in ("params", "macs")).mean()
    return [" ".join([name(recipe), *(write_number(size, "count") for size in sizes[recipe])]) for recipe in recipes]


def check_claims(study: Study) -> list[Outcome]:
    """Every claim against the complete runs of a study, in the paper's order.

    A recipe counts only where every seed that was asked for is complete: a mean over other seeds than its rival's
    would not be paired, and less than what was asked must not look like it.

    Raises:
        PpcdError: no or impossible seeds, or runs that must not be compared.
    """
    if not study.seeds:
        raise PpcdError("claims need at least one seed, for example 0")
    measurements = Measurements(study, RECIPES_OF_CLAIMS)
    return [judge(claim, measurements) for claim in CLAIMS]


def as_json(outcome: Outcome, study: Study) -> dict[str, Any]:
    """An outcome for `claims.json`: plain values, nothing that is not finite."""
    claim, found = outcome.claim, outcome.parts or [None] * len(outcome.claim.parts)
    return {
        "id": claim.id, "sentence": claim.sentence, "where": claim.where, "status": outcome.status,
        "measured": outcome.measured, "runs": list(outcome.runs), "by_design": claim.by_design,
        "seeds_to_decide": outcome.needed if outcome.open else None, "reading": claim.reading,
        "tolerance": claim.tolerance, "recipes": list(claim.recipes), "missing": list(outcome.missing),
        "parts": [_part_json(part, each) for part, each in zip(claim.parts, found, strict=True)],
        "profile": study.name, "seeds": list(study.seeds), "backbone": study.profile.backbone,
        "interval_over": spread_over(study),
    }  # fmt: skip


def _part_json(part: Part, outcome: PartOutcome | None) -> dict[str, Any]:
    means = outcome.means if outcome else [None] * len(part.quantities)
    return {
        "text": part.text,
        "holds": f"{part.side} {part.bound:.6g}",
        "status": outcome.status if outcome else "not run",
        "value": outcome.value if outcome and math.isfinite(outcome.value) else None,
        "interval": list(outcome.interval) if outcome and math.isfinite(outcome.interval[0]) else None,
        "seeds_in_interval": outcome.seeds if outcome else 0,
        "paper": part.published(),
        "means": dict(zip((f"{MEASURES[key]} {name(recipe)}" for recipe, key in part.quantities), means, strict=True)),
    }


def spread_over(study: Study) -> str:
    """What the intervals are over, and of how many images the scores are."""
    profile = study.fitted
    few = samples_per_generation(profile.evaluation_samples, profile.num_classes)
    scores = f"scores of {profile.evaluation_samples} images a run, as in the tables; leakage of ten times {few}"
    if len(study.seeds) > 1:
        return f"seeds {listed(study.seeds)} (paired t; ratios by their logarithms); {scores}"
    return f"nothing: one seed, {listed(study.seeds)}, cannot decide what a training decides; {scores}"


def write_claims(outcomes: Sequence[Outcome], study: Study) -> Path:
    """Write `results/<profile>/claims.json`, atomically."""
    entries = [as_json(outcome, study) for outcome in outcomes]
    content = json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return sums.write(study.results, "claims.json", content)
