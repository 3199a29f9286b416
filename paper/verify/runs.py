"""Run directories against themselves: what run.json says against the generator file, the logs and the teacher."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from paper.verify.compare import Finding, close
from ppcd.base import PpcdError
from ppcd.networks.generators import Generator, GeneratorConfig, table_channels
from ppcd.networks.io import load_generator
from ppcd.records import GENERATOR, flatten, read_run
from ppcd.runs.directory import MASK_FILE
from ppcd.runs.train import measure_complexity

LOGGED = 1e-5  # relative: a log has six digits of a number
Record = dict[str, Any]  # a run.json


def check_runs(shown: str, root: Path) -> tuple[dict[str, Record], list[Finding]]:
    """The records of the runs below a folder that are what was written, by id; and what is wrong with all of them.

    `shown` is what the folder is called.
    """
    records: dict[str, Record] = {}
    problems: dict[str, list[str]] = {}
    for directory in sorted(path.parent for path in (root / "runs").glob("*/run.json")):
        try:
            records[directory.name] = read_run(directory)
        except PpcdError as error:
            problems[directory.name] = [str(error).removeprefix(f"{directory / 'run.json'}: ")]
    for name, record in records.items():
        try:
            problems[name] = list(record_problems(record, root / "runs" / name, records))
        except (PpcdError, OSError, LookupError, TypeError, ValueError) as error:
            problems[name] = [f"cannot be compared with its files ({error})"]
    return records, [
        Finding(f"{shown}/runs/{name}/run.json", each) for name, found in problems.items() for each in found
    ]


def record_problems(record: Record, directory: Path, records: Mapping[str, Record]) -> Iterator[str]:
    """Where run.json says something other than the files next to it.

    Teachers are looked up in `records`, those of the profile's runs by their ids.
    """
    config = load_generator(directory / GENERATOR).config
    expected = {f"complexity.{name}": value for name, value in _complexity(config).items()}
    taken, profile = record["metrics"]["protocol"], record["config"]["profile"]
    protocol = {
        "backbone": profile["backbone"],
        "samples": profile["evaluation_samples"],
        "seed": record["seed"],
        "reference": record["data"]["identity"],
        "reference_sha256": record["data"]["sha256"],
        "classifier_epochs": profile["classifier_epochs"],
    }
    expected |= {f"metrics.protocol.{name}": value for name, value in protocol.items() if name in taken}
    if teacher := records.get((record["teacher"] or {}).get("id", "")):
        expected["teacher.generator_sha256"] = teacher["files"][GENERATOR]
        expected["config.teacher"] = teacher["config_hash"]
    expected |= _last_logged(record, directory)
    said = flatten(record)
    for place, value in expected.items():
        if not close(said.get(place), value, LOGGED if place.startswith("training.last.") else 0.0):
            yield f"{place}: says {said.get(place)}, the run's files say {value}"
    if record["masks"]:
        yield from _mask_problems(record, config, directory)


@cache
def _complexity(config: GeneratorConfig) -> dict[str, Any]:
    """Parameters and MACs of every network of this shape."""
    return measure_complexity(Generator(config).eval())


def _last_logged(record: Record, directory: Path) -> dict[str, float]:
    """The last row of history.csv, under the names that run.json has for it."""
    history = pd.read_csv(directory / "history.csv")
    if history.empty:
        return {}
    last = history.iloc[-1]
    losses = {
        name: float(last[name])
        for name, value in record["training"]["last"].items()
        if value is not None and pd.notna(last.get(name))
    }
    return {"training.iterations": int(last["iteration"])} | {
        f"training.last.{name}": value for name, value in losses.items()
    }


def _mask_problems(record: Record, config: GeneratorConfig, directory: Path) -> Iterator[str]:
    """Kept channels against the generator's shapes; when a layer froze against masks.csv."""
    kept, dense = _layers(config), _layers(replace(config, hidden=None, channels=None))
    log = pd.read_csv(directory / MASK_FILE) if (directory / MASK_FILE).is_file() else None
    for mask in record["masks"]:
        layer = mask["layer"].replace("mask", "conv")  # a mask follows the convolution of its number
        if (mask["kept"], mask["channels"]) != (kept.get(layer), dense.get(layer)):
            yield (
                f"masks[{mask['layer']}]: says {mask['kept']} of {mask['channels']} channels, "
                f"the generator has {kept.get(layer)} of {dense.get(layer)}"
            )
        if log is not None:
            two_step = record["config"]["recipe"]["two_step"]
            yield from _freezing_problems(mask, log[log["layer"] == mask["layer"]], two_step)


def _layers(config: GeneratorConfig) -> dict[str, int]:
    """Channels by layer: of the first linear layer, and of conv1 and conv2 of each block."""
    first, *outputs = table_channels(config)
    hidden = config.hidden or tuple((channels, channels) for channels in outputs)
    return {"linear": first} | {
        f"blocks.{block}.conv{number}": channels
        for block, pair in enumerate(hidden)
        for number, channels in enumerate(pair, 1)
    }


def _freezing_problems(mask: Mapping[str, Any], log: pd.DataFrame, two_step: bool) -> Iterator[str]:
    """A layer freezes after the last logged iteration at which it was open, up to the first at which it was not."""
    iterations, frozen, at = log["iteration"], log["frozen"] == 1, mask["frozen_at"]
    earliest = iterations[~frozen].max() + 1 if (~frozen).any() else 1
    latest = iterations[frozen].min() if frozen.any() else math.inf
    if latest == math.inf and two_step and at is not None:
        latest = 2 * iterations.iloc[-1] - iterations.iloc[-2]  # the freezing step also took the masks out
    if (at is None) != (latest == math.inf) or (at is not None and not earliest <= at <= latest):
        expected = "never" if latest == math.inf else f"from {earliest} to {latest}"
        yield f"masks[{mask['layer']}].frozen_at: says {at}, {MASK_FILE} says {expected}"
