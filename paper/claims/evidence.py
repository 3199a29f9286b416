"""What claims are judged by: the measurements of runs, one value a seed.

Scores are those of the tables, of as many images (`metrics` of run.json). Leakage, which is not measured there, is the
mean of a run's ten generations: a mean over images, so fewer of them do not bias it as they do a Fréchet distance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from paper.artifacts.sources import Record, common_protocol, find_records, listed, own_networks, read_csv, second_half
from paper.claims.predicates import SCORES, TIMES, Array, Quantity
from paper.generations import read_generations
from paper.real_images import comparable, read_real_images
from paper.timing import read_runtime
from ppcd.base import PpcdError
from ppcd.metrics.evaluate import is_free

BLOCKS = 10  # of the second half of a training, in each of which the spread of its loss is taken
STEP = 0.01  # of the training, in which a mask layer may close only so much
ERRORS = 3  # standard errors by which an accuracy must exceed chance


class Missing(Exception):
    """A run or a measurement that a claim needs is not there: what (`run`, `generations`, `GPU time`), and of which."""

    def __init__(self, what: str, of: str) -> None:
        super().__init__(f"no {what}: {of}")
        self.what, self.of = what, of


@dataclass
class Evidence:
    """The complete runs of a profile, read once, and what was measured of them.

    A recipe counts only where every seed that was asked for is complete: a mean over other seeds than its rival's
    would not be paired, and less than what was asked must not look like it.

    Raises:
        PpcdError: unknown profile, a run directory that was changed, or runs that were measured in different ways.
    """

    profile: str
    seeds: tuple[int, ...]
    _records: dict[str, list[Record]] = field(default_factory=dict)
    _generations: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    _times: dict[str, dict[str, float | None] | None] = field(default_factory=dict)

    def read(self, recipes: Iterable[str]) -> None:
        """Read the runs of these recipes and check that they may be compared."""
        for recipe in recipes:
            if recipe not in self._records:
                self._records[recipe] = find_records(self.profile, recipe, self.seeds)
        records = [record for found in self._records.values() for record in found]
        common_protocol(records)
        for record in records:
            self._generations[record["id"]] = read_generations(record)
            self._times[record["id"]] = read_runtime(record)
        self._check_generations(records)

    def _check_generations(self, records: Sequence[Record]) -> None:
        """All generations were measured alike: the same protocol, the same number of generations."""
        first: tuple[str, dict[str, Any]] | None = None
        for record in records:
            measured = self._generations[record["id"]]
            if measured is None:
                continue
            protocol = {
                key: value
                for key, value in measured["protocol"].items()
                if key != "classifier_epochs" and not is_free(key)
            } | {"generations": len(measured["generations"])}
            first = first or (record["id"], protocol)
            for key in sorted(set(protocol) | set(first[1])):
                if protocol.get(key) != first[1].get(key):
                    raise PpcdError(
                        f"generations of run {record['id']} were measured with {key} {protocol.get(key)!r}, those of "
                        f"{first[0]} with {first[1].get(key)!r}; measure them anew"
                    )

    def runs(self, recipes: Iterable[str]) -> list[str]:
        """Names of the complete runs of these recipes."""
        return [record["id"] for recipe in recipes for record in self._records.get(recipe, [])]

    def missing_runs(self, recipe: str) -> list[int]:
        """The seeds whose run of this recipe is not complete."""
        found = {record["seed"] for record in self._records.get(recipe, [])}
        return [seed for seed in self.seeds if seed not in found]

    def side_by_side(self, recipes: Iterable[str]) -> bool:
        """Whether all these systems were timed interleaved; else each run's own timing is taken, for all."""
        return all(self._times[run] is not None for run in self.runs(recipes))

    def copies_of_the_backbone(self, recipes: Iterable[str]) -> int:
        """How many copies of the backbone, trained on different machines, measured these systems' scores."""
        recipes = list(recipes)
        measured = [found for run in self.runs(recipes) if (found := self._generations[run]) is not None]
        leakages = len({found["protocol"].get("backbone_sha256") for found in measured})
        return max(leakages, own_networks([record for recipe in recipes for record in self._records[recipe]]))

    def collapsed(self, recipe: str) -> list[int]:
        """The seeds whose run of this recipe collapsed: its accuracy does not exceed chance (see `at_chance`)."""
        return [record["seed"] for record in self._records.get(recipe, []) if at_chance(record)]

    def values(self, quantity: Quantity, side_by_side: bool = True) -> Array:
        """A measurement, [seed].

        Args:
            quantity: which.
            side_by_side: for times: those of `runtime.json`, else those of each run's own record.

        Raises:
            Missing: a run is not complete, or it was not measured.
        """
        if absent := self.missing_runs(quantity.recipe):
            raise Missing("run", _of(quantity.recipe, absent, self.seeds))
        records = self._records[quantity.recipe]
        found = {record["seed"]: self._measured(record, quantity.key, side_by_side) for record in records}
        known = {seed: value for seed, value in found.items() if value is not None and np.isfinite(value)}
        if unmeasured := [seed for seed in found if seed not in known]:
            raise Missing(_called(quantity.key), _of(quantity.recipe, unmeasured, self.seeds))
        return np.array(list(known.values()), dtype=float)

    def _measured(self, record: Record, key: str, side_by_side: bool) -> float | None:
        """One run's measurement; None where there is none."""
        if key == "leakage":
            measured = self._generations[record["id"]]
            return None if measured is None else float(np.mean([each[key] for each in measured["generations"]]))
        if key in SCORES:
            return record["metrics"]["ema"][key]
        if key in TIMES:
            return _time(self._times[record["id"]] if side_by_side else None, record, key)
        if key == "real_leakage":
            floor = read_real_images(self.profile)
            same = floor is not None and comparable(floor["protocol"], record["metrics"]["protocol"])
            return floor["scores"].get("leakage") if floor is not None and same else None
        if key == "frozen":
            return float(np.mean([mask["frozen_at"] is not None for mask in record["masks"]]))
        if key == "loss_spread":
            return loss_spread(read_csv(record, "history.csv"))
        if key == "mask_step":
            return mask_step(record)
        return record["complexity"][key]


def _of(recipe: str, seeds: Sequence[int], asked: Sequence[int]) -> str:
    """`sagan`, or `sagan (seed 1)` where other seeds are there."""
    return recipe if len(seeds) == len(asked) else f"{recipe} (seed{'s' * (len(seeds) > 1)} {listed(seeds)})"


def _called(key: str) -> str:
    if key == "leakage":
        return "generations"
    return f"{key.upper()} time" if key in TIMES else key.replace("_", " ")


def _time(side_by_side: dict[str, float | None] | None, record: Record, key: str) -> float | None:
    """Seconds per batch of 64 images."""
    if side_by_side is not None:
        return side_by_side.get(key)
    own = record["runtime"].get(key)
    return None if own is None else own["seconds_per_batch"]


def at_chance(record: Record) -> bool:
    """Whether the judge recognises no more of a run's images than chance would: its classes have collapsed."""
    chance, samples = 1 / record["config"]["profile"]["num_classes"], record["metrics"]["protocol"]["samples"]
    error = np.sqrt(chance * (1 - chance) / samples)
    return bool(record["metrics"]["ema"]["accuracy"] <= chance + ERRORS * error)


def loss_spread(history: pd.DataFrame) -> float | None:
    """Standard deviation of D's loss, as logged: the mean of those of BLOCKS parts of a training's second half.

    Fewer parts where the history is short, so that each has two rows; None for fewer than that.
    """
    second = second_half(history)["loss_d"].to_numpy(dtype=float)
    blocks = min(BLOCKS, len(second) // 2)
    return float(np.mean([np.std(block, ddof=1) for block in np.array_split(second, blocks)])) if blocks else None


def mask_step(record: Record) -> float | None:
    """The largest share that a layer closes, of its channels that go, within STEP of the training; None without masks.

    Between two logged iterations that are further apart, channels count as closed at an even pace.
    """
    if not record["masks"]:
        return None
    window, steps = STEP * record["training"]["iterations"], []
    for _, rows in read_csv(record, "masks.csv").groupby("layer"):
        iterations, gone = (np.concatenate([[0.0], rows[name]]) for name in ("iteration", "ratio"))
        if gone[-1] > 0:
            before = np.interp(iterations - window, iterations, gone)
            steps.append(float(np.max(gone - before) / gone[-1]))
    return max(steps, default=None)
