"""What claims and questions are judged by: the measurements of runs, paired by seed.

Scores are those of the tables, of as many images (`metrics` of run.json). Leakage, which is not measured there, is the
mean of a run's ten generations: a mean over images, so fewer of them do not bias it as they do a Fréchet distance.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from paper.attention_agreement import read_agreement
from paper.claims.predicates import SCORES, TIMES, Quantity
from paper.generations import read_generations
from paper.real_images import comparable, read_real_images
from paper.study import Study, common_protocol, listed, own_networks, read_csv, second_half
from paper.timing import read_runtime
from ppcd.records import Record

OWN_TIME = "own "  # before the name of a time: that of the run's own record, which was timed after its training
MAPS = ("within", "between")  # agreement of a student's attention maps with its teacher's
BLOCKS = 10  # of the second half of a training, in each of which the spread of its loss is taken
STEP = 0.01  # of the training, in which a mask layer may close only so much
ERRORS = 3  # standard errors by which an accuracy must exceed chance


class Measurements:
    """The complete runs of a study, each read once, and what was measured of them.

    Raises:
        PpcdError: a run directory that was changed, or runs that were measured in different ways.
    """

    def __init__(self, study: Study, recipes: Iterable[str]) -> None:
        self.seeds = list(study.seeds)
        self._records = {name: study.records(name) for name in dict.fromkeys(recipes)}
        self._values: dict[tuple[str, str, str], float] = {}  # run, key, weights
        everything = self.records(*self._records)
        common_protocol(everything)
        common_protocol([_as_measured(record, found) for record in everything if (found := read_generations(record))])

    def records(self, *recipes: str, seeds: Iterable[int] | None = None) -> list[Record]:
        """The records of the complete runs of these recipes, of some seeds or of all."""
        asked = set(self.seeds if seeds is None else seeds)
        return [record for name in recipes for record in self._records[name] if record["seed"] in asked]

    def runs(self, recipes: Iterable[str]) -> list[str]:
        """Names of the complete runs of these recipes."""
        return [record["id"] for record in self.records(*recipes)]

    def table(self, quantities: Iterable[Quantity], weights: str = "ema") -> pd.DataFrame:
        """A row for each seed, a column for each quantity; NaN where a run is not complete or was not measured.

        Args:
            quantities: of recipes that were read.
            weights: whose scores: "ema" or "raw", the last weights of the training.
        """
        columns = {}
        for quantity in quantities:
            values = {
                record["seed"]: self._value(record, quantity.key, weights) for record in self.records(quantity.recipe)
            }
            columns[quantity] = [values.get(seed, math.nan) for seed in self.seeds]
        return pd.DataFrame(columns, index=self.seeds)

    def _value(self, record: Record, key: str, weights: str) -> float:
        if (measurement := (record["id"], key, weights)) not in self._values:
            self._values[measurement] = measured(record, key, weights)
        return self._values[measurement]

    def missing(self, quantity: Quantity) -> tuple[str, str] | None:
        """What a quantity lacks (`run`, `generations`, `GPU time`) and of which recipe and seeds; None where all of
        them are there."""
        complete = {record["seed"] for record in self._records[quantity.recipe]}
        what, absent = "run", [seed for seed in self.seeds if seed not in complete]
        if not absent:
            what, values = _called(quantity.key), self.table([quantity])[quantity]
            absent = values.index[values.isna()].tolist()
        some = f" (seed{'s' * (len(absent) > 1)} {listed(absent)})" if len(absent) < len(self.seeds) else ""
        return (what, quantity.recipe + some) if absent else None

    def side_by_side(self, recipes: Iterable[str]) -> bool:
        """Whether all these systems were timed interleaved."""
        return all(read_runtime(record) is not None for record in self.records(*recipes))

    def copies_of_the_backbone(self, recipes: Iterable[str]) -> int:
        """How many copies of the backbone, trained on different machines, measured these systems' scores."""
        records = self.records(*recipes)
        generations = [found for record in records if (found := read_generations(record)) is not None]
        leakages = len({found["protocol"].get("backbone_sha256") for found in generations})
        return max(leakages, own_networks(records))

    def collapsed(self, recipe: str) -> list[int]:
        """The seeds whose run of this recipe collapsed (see `at_chance`)."""
        return [record["seed"] for record in self.records(recipe) if at_chance(record)]


def _as_measured(record: Record, generations: dict[str, Any]) -> dict[str, Any]:
    """What `common_protocol` compares, of the generations of a run."""
    protocol = {key: value for key, value in generations["protocol"].items() if key != "classifier_epochs"}
    count = {"generations": len(generations["generations"])}
    return {"id": record["id"], "metrics": {"protocol": protocol | count}}


def measured(record: Record, key: str, weights: str = "ema") -> float:
    """One measurement of a run; NaN where there is none.

    Args:
        record: of a complete run.
        key: one of `paper.claims.predicates.MEASURES`, or of SCORES, MAPS and TIMES, with OWN_TIME before a time.
        weights: whose scores: "ema" or "raw"; of the last weights there are no generations.
    """
    value = _measured(record, key, weights)
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _measured(record: Record, key: str, weights: str) -> float | None:
    if key == "leakage":
        found = read_generations(record) if weights == "ema" else None
        return None if found is None else float(np.mean([each["leakage"] for each in found["generations"]]))
    if key in SCORES:
        scores = record["metrics"][weights]  # an adopted teacher has no last weights
        return None if scores is None else scores[key]
    if key in TIMES:
        return (read_runtime(record) or {}).get(key)
    if key.startswith(OWN_TIME):
        return (record["runtime"].get(key.removeprefix(OWN_TIME)) or {}).get("seconds_per_batch")
    if key in MAPS:
        blocks = read_agreement(record)
        return None if blocks is None else float(np.mean([each[key] for each in blocks]))
    if key == "real_leakage":
        real = read_real_images(record.source)
        same = real is not None and comparable(real["protocol"], record["metrics"]["protocol"])
        return real["scores"].get("leakage") if real is not None and same else None
    if key == "frozen":
        return float(np.mean([mask["frozen_at"] is not None for mask in record["masks"]]))
    if key == "loss_spread":
        return loss_spread(read_csv(record, "history.csv"))
    if key == "mask_step":
        return mask_step(record)
    return record["complexity"][key]


def _called(key: str) -> str:
    """What is missing where a run has no such measurement."""
    if key == "leakage":
        return "generations"
    device = key.removeprefix(OWN_TIME)
    return f"{device.upper()} time" if device in TIMES else key.replace("_", " ")


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
