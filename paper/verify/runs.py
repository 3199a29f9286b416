"""Run directories against themselves: the seal, the generator file, the logs, the teacher, the measurements beside."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from paper import timing
from paper.generations import FILE as GENERATIONS
from paper.generations import read_generations
from paper.verify.compare import NOTHING, Difference, same
from ppcd.base import PpcdError
from ppcd.networks.generators import Generator, GeneratorConfig, table_channels
from ppcd.networks.io import load_generator
from ppcd.records import NOT_BROUGHT, file_hash, read_run
from ppcd.runs.directory import MASK_FILE
from ppcd.runs.finished import measure_complexity
from ppcd.runs.train import GENERATOR

LOGGED = 1e-5  # a log has six digits of a number
Record = dict[str, Any]  # a run.json


def read_sealed(directory: Path) -> tuple[Record | None, str]:
    """The record of a run whose files are what its run.json says; else None, and what is wrong.

    What was changed cannot be told from a broken seal, but for what the run's own files still say.
    """
    try:
        return read_run(directory), ""
    except PpcdError as error:
        return None, str(error).removeprefix(f"{directory / 'run.json'}: ")


def files_are_whole(record: Record, directory: Path) -> bool:
    """Whether the run's other files are those that its run.json names: then run.json alone was changed."""
    files = record.get("files")
    if not isinstance(files, dict) or GENERATOR not in files:
        return False
    there = {name: found for name, found in files.items() if name not in NOT_BROUGHT or (directory / name).is_file()}
    return all((directory / name).is_file() and file_hash(directory / name) == found for name, found in there.items())


def record_differences(record: Record, directory: Path, teachers: Mapping[str, Record]) -> Iterator[Difference]:
    """Where run.json says something else than what lies beside it: cell, what it says, what the files say.

    Args:
        record: of the run.
        directory: of the run.
        teachers: the records of the profile's runs by their ids.

    Raises:
        PpcdError: a file that cannot be read.
    """
    generator = load_generator(directory / GENERATOR)
    yield from _cells("complexity", record["complexity"], _complexity(generator.config))
    yield from _mask_differences(record, generator.config, directory)
    yield from _last_losses(record, directory)
    yield from _protocol(record)
    if record["teacher"] is not None and record["teacher"]["id"] in teachers:
        teacher = teachers[record["teacher"]["id"]]
        yield from _one("teacher.generator_sha256", record["teacher"]["generator_sha256"], teacher["files"][GENERATOR])
        yield from _one("config.teacher", record["config"]["teacher"], teacher["config_hash"])


@cache
def _complexity(config: GeneratorConfig) -> dict[str, Any]:
    """Parameters and MACs of every network of this shape."""
    return measure_complexity(Generator(config).eval())


def _mask_differences(record: Record, config: GeneratorConfig, directory: Path) -> Iterator[Difference]:
    """Kept channels against the generator's shapes; when a layer froze against masks.csv."""
    if not record["masks"]:
        return
    kept, dense = _layers(config), _layers(replace(config, hidden=None, channels=None))
    for mask in record["masks"]:
        layer = mask["layer"].replace("mask", "conv")  # a mask stands behind the convolution of its number
        yield from _one(f"masks[{mask['layer']}].kept", mask["kept"], kept.get(layer))
        yield from _one(f"masks[{mask['layer']}].channels", mask["channels"], dense.get(layer))
    if (directory / MASK_FILE).is_file():
        yield from _freezing(record, directory / MASK_FILE)


def _layers(config: GeneratorConfig) -> dict[str, int]:
    """Channels by layer: of the first linear layer, and of conv1 and conv2 of each block."""
    first, *outputs = table_channels(config)
    hidden = config.hidden or tuple((channels, channels) for channels in outputs)
    return {"linear": first} | {
        f"blocks.{block}.conv{number}": channels
        for block, pair in enumerate(hidden)
        for number, channels in enumerate(pair, 1)
    }


def _freezing(record: Record, log: Path) -> Iterator[Difference]:
    """A layer froze behind the last logged iteration at which it was open, and not behind the first at which not."""
    rows = _rows(log)
    for mask in record["masks"]:
        logged = [(int(row["iteration"]), row["frozen"] == "1") for row in rows if row["layer"] == mask["layer"]]
        earliest = max((iteration for iteration, frozen in logged if not frozen), default=0) + 1
        latest = min((iteration for iteration, frozen in logged if frozen), default=math.inf)
        at = mask["frozen_at"]
        if latest == math.inf and record["config"]["recipe"]["two_step"] and at is not None:
            latest = 2 * logged[-1][0] - logged[-2][0]  # the step that froze it also took the masks out of the network
        if (at is None) != (latest == math.inf) or (at is not None and not earliest <= at <= latest):
            expected = "never" if latest == math.inf else f"from {earliest} to {latest}"
            yield f"masks[{mask['layer']}].frozen_at", str(at), f"{expected} ({log.name})"


def _last_losses(record: Record, directory: Path) -> Iterator[Difference]:
    rows = _rows(directory / "history.csv")
    if not rows:
        return
    yield from _one("training.iterations", record["training"]["iterations"], int(rows[-1]["iteration"]))
    for name, value in record["training"]["last"].items():
        if rows[-1].get(name) and value is not None and not same(value, rows[-1][name], LOGGED):
            yield f"training.last.{name}", str(value), f"{rows[-1][name]} (history.csv)"


def _protocol(record: Record) -> Iterator[Difference]:
    """How scores were taken, against the configuration and the data."""
    taken, profile = record["metrics"]["protocol"], record["config"]["profile"]
    expected = {
        "backbone": profile["backbone"],
        "samples": profile["evaluation_samples"],
        "seed": record["seed"],
        "reference": record["data"]["identity"],
        "reference_sha256": record["data"]["sha256"],
        "classifier_epochs": profile["classifier_epochs"],
    }
    for name, value in expected.items():
        if name in taken:
            yield from _one(f"metrics.protocol.{name}", taken[name], value)


def beside(record: Record, directory: Path) -> Iterator[tuple[str, str]]:
    """File name and what is wrong with a measurement of the run that lies beside its record."""
    if (directory / GENERATIONS).is_file() and read_generations(record) is None:
        yield f"runs/{record['id']}/{GENERATIONS}", "it is damaged, of other weights, or not measured as it is now"


def timed(results: Path, records: Mapping[str, Record]) -> Iterator[Difference]:
    """Where runtime.json names runs that are not there, or other weights than theirs."""
    found = json.loads((results / timing.FILE).read_text())
    for name, run in found["runs"].items():
        if not (results / "runs" / name / "run.json").is_file():
            yield f"runs.{name}", "that it was timed", "there is no such run"
        elif name in records:
            yield from _one(f"runs.{name}.generator_sha256", run["generator_sha256"], records[name]["files"][GENERATOR])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _cells(place: str, says: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*says, *expected)):
        yield from _one(f"{place}.{name}", says.get(name, NOTHING), expected.get(name, NOTHING))


def _one(cell: str, says: Any, expected: Any) -> Iterator[Difference]:
    if says != expected:
        yield cell, str(says), str(expected)
