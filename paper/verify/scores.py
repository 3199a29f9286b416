"""`--scores`: the scores of run.json, generations.json and real.json, measured again. It takes long."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paper.generations import FILE as GENERATIONS
from paper.generations import measure_generation
from paper.judges import get_judges
from paper.real_images import FILE as REAL
from paper.real_images import measure_real_images, read_real_images
from paper.study import Study
from paper.verify.compare import Finding, close
from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.metrics.evaluate import evaluate
from ppcd.metrics.evaluators import Evaluators
from ppcd.metrics.reference import Reference
from ppcd.networks.io import load_generator
from ppcd.records import GENERATOR
from ppcd.training.profiles import Profile

RELATIVE = 1e-3  # what the arithmetic of another machine may change in a score
ABSOLUTE = 2e-3  # and in a share of the samples


def check_scores(study: Study, records: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[Finding]:
    """Scores that are measured again, run by run, and differ; `say` is called with a line when a run was measured."""
    profile = study.fitted
    data, evaluators = get_judges(study, kept=True)
    if isinstance(data, Reference):
        say(f"note: {REAL}, kid, precision and recall are not measured again: the images {data.identity} are not here")
    for number, (name, record) in enumerate(records.items(), 1):
        for problem in score_problems(record, study.source / "runs" / name, profile, data, evaluators):
            yield Finding(f"results/{profile.name}/runs/{name}/run.json", problem)
        say(f"{profile.name}: scores of {number} of {len(records)} runs measured again")
    for problem in () if isinstance(data, Reference) else real_problems(study, data, evaluators):
        yield Finding(f"results/{profile.name}/{REAL}", problem)


def other_judge(study: Study, records: Mapping[str, Any], kept: bool = False) -> str | None:
    """Why the networks that measured the runs are not available here; None where they are."""
    theirs = {record["metrics"]["protocol"].get("backbone_sha256") for record in records.values()}
    try:
        ours = get_judges(study, kept=kept)[1].network.sha256
    except PpcdError as error:
        return str(error)
    return None if theirs == {ours} else "it needs the classifier that measured the runs, and the one here is another"


def score_problems(
    record: dict[str, Any], directory: Path, profile: Profile, data: ImageSet, evaluators: Evaluators
) -> Iterator[str]:
    """Where the scores of the averaged generator are not what its file gives; the raw one has no file.

    Args:
        record: of the run in `directory`.
        profile: of the run.
        data, evaluators: what `paper.judges.get_judges` returns for it; scores that need images which are not here
            are passed over.
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
    said = {name: value for name, value in record["metrics"]["ema"].items() if found.get(name, value) is not None}
    yield from _differing("metrics.ema", said, found)
    if (directory / GENERATIONS).is_file():
        measured = json.loads((directory / GENERATIONS).read_text())
        for each in measured["generations"]:
            again, _ = measure_generation(generator, evaluators, measured["protocol"]["samples"], each["seed"])
            yield from _differing(f"{GENERATIONS}, seed {each['seed']}", {name: each[name] for name in again}, again)


def real_problems(study: Study, data: ImageSet, evaluators: Evaluators) -> Iterator[str]:
    """Where real.json is not what the real images give; nothing where it is not there."""
    if (committed := read_real_images(study.source)) is not None:
        profile = study.fitted
        found = measure_real_images(data, evaluators, profile.evaluation_samples, profile.classifier_epochs)["scores"]
        yield from _differing("scores", committed["scores"], found)


def _differing(where: str, said: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[str]:
    for name, value in said.items():
        if not close(value, measured.get(name), RELATIVE, ABSOLUTE):
            yield f"{where}.{name}: says {value}, {measured.get(name)} measured again"
