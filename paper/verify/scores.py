"""The scores of run.json and generations.json, measured again from the generator files, and those of real images.

Asked for by `--scores`: it takes long.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paper.generations import FILE as GENERATIONS
from paper.generations import measure_generation
from paper.real_images import measure_real_images, read_real_images
from paper.verify.compare import Difference, same
from ppcd.data.sets import ImageSet
from ppcd.metrics.evaluate import evaluate
from ppcd.metrics.gauges import Gauges
from ppcd.networks.io import load_generator
from ppcd.runs.train import GENERATOR
from ppcd.training.profiles import Profile

RELATIVE = 1e-3  # what the arithmetic of another machine may change in a score
ABSOLUTE = 2e-3  # and in a share of the samples


def score_differences(
    record: dict[str, Any], directory: Path, profile: Profile, data: ImageSet, gauges: Gauges
) -> Iterator[Difference]:
    """Where the scores of the averaged generator are not what its file gives; those of the raw one have no file.

    Args:
        record: of the run in `directory`.
        profile: of the run.
        data, gauges: what `paper.judges.get_judges` returns for it.
    """
    generator = load_generator(directory / GENERATOR)
    taken = record["metrics"]["protocol"]
    found = evaluate(
        generator,
        data,
        backbone=profile.backbone,
        samples=taken["samples"],
        seed=taken["seed"],
        classifier_epochs=profile.classifier_epochs,
        judge=profile.judge,
    )["scores"]
    for name, value in record["metrics"]["ema"].items():
        yield from _difference(f"metrics.ema.{name}", value, found[name])
    if not (directory / GENERATIONS).is_file():
        return
    measured = json.loads((directory / GENERATIONS).read_text())
    for each in measured["generations"]:
        scores, _ = measure_generation(generator, gauges, measured["protocol"]["samples"], each["seed"])
        for name, value in scores.items():
            yield from _difference(f"{GENERATIONS} of seed {each['seed']}, {name}", each[name], value)


def floor_differences(profile: Profile, data: ImageSet, gauges: Gauges) -> Iterator[Difference]:
    """Where the scores of real images, in `real.json`, are not what they give; none where it is not there."""
    if (floor := read_real_images(profile.name)) is None:
        return
    found = measure_real_images(data, gauges, profile.evaluation_samples, profile.classifier_epochs)["scores"]
    for name, value in floor["scores"].items():
        yield from _difference(f"scores.{name}", value, found.get(name))


def _difference(cell: str, says: Any, measured: float | None) -> Iterator[Difference]:
    near = isinstance(says, float) and isinstance(measured, float) and abs(says - measured) <= ABSOLUTE
    if not near and not same(says, measured, RELATIVE):
        yield cell, str(says), f"{measured} (measured again)"
