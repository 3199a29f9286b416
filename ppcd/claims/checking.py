"""Each claim of the paper, checked against the runs of a profile (`make claims`).

A claim is a conjunction of parts; a part is a statistic of measurements and a bound. Its 95% interval comes from
`ppcd.bootstrap`: wholly on the right side of the bound, the part is reproduced, wholly on the wrong side not
reproduced, otherwise inconclusive. A claim is reproduced where all its parts are, not reproduced where one of them is
not, else inconclusive; and not run where a run or a measurement that it needs is not there.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from ppcd import paths, sums
from ppcd.artifacts.sources import Context, listed
from ppcd.bootstrap import Array, Bootstrap, interval
from ppcd.claims.comparison import COMPARISON, INTRODUCTION
from ppcd.claims.compression import ABLATION, OTHER_METHODS
from ppcd.claims.evidence import Evidence, Missing
from ppcd.claims.predicates import MEASURES, SCORES, TIMES, Claim, Part, Quantity, name
from ppcd.errors import PpcdError
from ppcd.profiles import get_profile

CLAIMS: tuple[Claim, ...] = INTRODUCTION + COMPARISON + OTHER_METHODS + ABLATION
RECIPES_OF_CLAIMS = tuple(dict.fromkeys(recipe for claim in CLAIMS for recipe in claim.recipes))  # that they read

Status = Literal["reproduced", "not reproduced", "inconclusive", "not run"]
STATUSES: dict[Status, str] = {
    "reproduced": "the 95% interval of every part lies wholly where the claim puts it",
    "not reproduced": "that of at least one part lies wholly on the other side",
    "inconclusive": "no part is on the other side, but the interval of at least one holds both",
    "not run": "a run or a measurement that the claim needs is not there: nothing is known",
}


class Measurements(Protocol):
    """Where measurements come from: runs (`ppcd.claims.evidence.Evidence`)."""

    def values(self, quantity: Quantity, side_by_side: bool = True) -> Array: ...
    def side_by_side(self, recipes: Iterable[str]) -> bool: ...
    def runs(self, recipes: Iterable[str]) -> list[str]: ...
    def copies_of_the_backbone(self, recipes: Iterable[str]) -> int: ...


@dataclass(frozen=True)
class PartOutcome:
    """What a part came to: the statistic of the means, its interval, and what that says."""

    part: Part
    status: Status
    value: float
    interval: tuple[float, float]
    means: tuple[float, ...]  # of the part's quantities

    @property
    def text(self) -> str:
        """`IS PPCD-GAN / SA-GAN 1.27 [1.10, 1.40] > 1`."""
        low, high = self.interval
        shown = number(self.value) if low == high else f"{number(self.value)} [{number(low)}, {number(high)}]"
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
    def measured(self) -> str:
        """In one line: every part, or what is missing."""
        if self.missing:
            return "; ".join(self.missing)
        return "; ".join(outcome.text for outcome in self.parts) + (f" ({self.remark})" if self.remark else "")


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


def judge(claim: Claim, measurements: Measurements, bootstrap: Bootstrap) -> Outcome:
    """Check a claim.

    Args:
        claim: one of CLAIMS.
        measurements: of all systems, each [seed, generation] with the bootstrap's number of seeds.
        bootstrap: the resamples, shared by all claims.
    """
    timed = [quantity.recipe for quantity in claim.quantities if quantity.key in TIMES]
    together = measurements.side_by_side(timed)
    found: dict[Quantity, Array] = {}
    missing: dict[str, list[str]] = {}
    for quantity in claim.quantities:
        try:
            found[quantity] = measurements.values(quantity, together)
        except Missing as absent:
            missing.setdefault(absent.what, []).append(absent.of)
    runs = tuple(measurements.runs(claim.recipes))
    if missing:
        said = tuple(f"no {what}: {', '.join(dict.fromkeys(of))}" for what, of in missing.items())
        return Outcome(claim, "not run", (), said, runs)
    parts = tuple(_judge_part(part, found, bootstrap) for part in claim.parts)
    remarks = ["each timed after its own training, not side by side"] if timed and not together else []
    if any(quantity.key in SCORES for quantity in claim.quantities):
        copies = measurements.copies_of_the_backbone(claim.recipes)
        remarks += [f"scores from {copies} separately trained copies of the backbone"] if copies > 1 else []
    return Outcome(claim, combine([part.status for part in parts]), parts, (), runs, "; ".join(remarks))


def _judge_part(part: Part, found: dict[Quantity, Array], bootstrap: Bootstrap) -> PartOutcome:
    means = [found[quantity].mean() for quantity in part.quantities]
    resampled = [bootstrap.means(quantity.recipe, found[quantity]) for quantity in part.quantities]
    low, high = interval(part.statistic(*resampled))
    status = decide(low, high, part.bound, part.side)
    value = float(part.statistic(*(np.asarray(mean) for mean in means)))
    return PartOutcome(part, status, value, (low, high), tuple(map(float, means)))


def check_claims(profile: str, seeds: Sequence[int]) -> list[Outcome]:
    """Every claim against the complete runs of these seeds, in the paper's order.

    Raises:
        PpcdError: unknown profile, no or impossible seeds, or runs that must not be compared.
    """
    evidence = Evidence(get_profile(profile).name, tuple(seeds))
    if not seeds:
        raise PpcdError("claims need at least one seed, for example 0")
    evidence.read(RECIPES_OF_CLAIMS)
    bootstrap = Bootstrap(len(seeds))
    return [judge(claim, evidence, bootstrap) for claim in CLAIMS]


def as_json(outcome: Outcome, context: Context) -> dict[str, Any]:
    """An outcome for `claims.json`: plain values, nothing that is not finite."""
    claim = outcome.claim
    parts = [
        _part_json(part, outcome.parts[index] if outcome.parts else None) for index, part in enumerate(claim.parts)
    ]
    return {
        "id": claim.id, "sentence": claim.sentence, "where": claim.where, "status": outcome.status,
        "measured": outcome.measured, "runs": list(outcome.runs), "reading": claim.reading,
        "tolerance": claim.tolerance, "recipes": list(claim.recipes), "missing": list(outcome.missing),
        "parts": parts, "profile": context.profile, "seeds": list(context.seeds), "backbone": context.backbone,
        "interval_over": spread_over(context.seeds),
    }  # fmt: skip


def _part_json(part: Part, outcome: PartOutcome | None) -> dict[str, Any]:
    return {
        "text": part.text,
        "holds": f"{part.side} {part.bound:.6g}",
        "status": outcome.status if outcome else "not run",
        "value": outcome.value if outcome else None,
        "interval": list(outcome.interval) if outcome else None,
        "paper": part.published(),
        "means": {
            f"{MEASURES[quantity.key]} {name(quantity.recipe)}": outcome.means[index] if outcome else None
            for index, quantity in enumerate(part.quantities)
        },
    }


def spread_over(seeds: Sequence[int]) -> str:
    """What the intervals are over."""
    if len(seeds) > 1:
        return f"seeds {listed(seeds)} and the generations of each run"
    return f"the generations of seed {listed(seeds)} alone; the spread between seeds is not in the interval"


def write_claims(outcomes: Sequence[Outcome], context: Context) -> Path:
    """Write `results/<profile>/claims.json`, atomically."""
    entries = [as_json(outcome, context) for outcome in outcomes]
    content = json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return sums.write(paths.results(context.profile), "claims.json", content)
