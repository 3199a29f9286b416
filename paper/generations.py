"""Ten generations of every complete run: the paper's "we generated images 10 times" (section 4.3).

One evaluation says nothing of how much its scores vary with the noise. Each of ten fixed seeds gives a separate
generation, measured alone; intervals and claims are made of them. `generations.json` lies in the run's directory
without being part of its seal.
"""

from collections.abc import Sequence
from concurrent.futures import as_completed
from contextlib import closing
from functools import cache
from typing import Any

import torch
from torch import nn

from paper import measurements
from paper.judges import get_judges
from paper.measurements import Content
from paper.study import Study, generator_of
from ppcd.base import PpcdError
from ppcd.metrics.diversity import Diversity
from ppcd.metrics.evaluate import DIVERSITY_SEED, check_fit, measure
from ppcd.metrics.evaluators import Evaluators
from ppcd.metrics.fidelity import frechet_distance, is_splits
from ppcd.metrics.sampling import fewest_samples
from ppcd.progress import Progress
from ppcd.records import GENERATOR, Record, read_run
from ppcd.runs import memory, provenance
from ppcd.runs.pool import count_workers, separate_processes
from ppcd.runs.train import resolve_device
from ppcd.stopping import describe_stop

VERSION = 1  # of the protocol: raised when a score means something else than before
FILE = "generations.json"
SEEDS = tuple(range(1000, 1010))  # of the noise; the evaluation's is the run's own seed
SHARE = 5  # a generation has a fifth of the evaluation's samples
SCORES = ("is", "fd", "diversity", "accuracy", "leakage")


def samples_per_generation(evaluation_samples: int, num_classes: int) -> int:
    """A fifth of the evaluation's samples, and never fewer than the metrics need."""
    return max(evaluation_samples // SHARE, fewest_samples(num_classes))


def measure_generation(
    G: nn.Module, evaluators: Evaluators, samples: int, seed: int, device: str = "cpu"
) -> tuple[dict[str, float], Diversity]:
    """The SCORES of one generation, with the metrics of `evaluate`, and how the diversity was taken."""
    found = measure(G, evaluators, samples, seed, device=device)
    scores = {
        "is": found.score[0],
        "fd": frechet_distance(found.statistics, evaluators.real),
        "diversity": found.diversity.value,
        "accuracy": found.accuracy,
        "leakage": found.leakage,
    }
    return scores, found.diversity


def measure_generations(study: Study, record: Record, device: str = "cpu") -> Content:
    """Measure ten generations of a complete run and write `generations.json` into its directory.

    Returns:
        what was written: schema, run, generator_sha256, protocol, generations (ten of seed and scores), provenance.

    Raises:
        PpcdError: the run was changed, or its data are others now.
    """
    began, record = provenance.collect(device), read_run(record.directory)
    data, evaluators = _prepared(study, device)
    if data.identity != record["data"]["identity"]:
        raise PpcdError(f"run {record['id']} is of {record['data']['identity']}, but the data are now {data.identity}")
    generator = generator_of(record).to(device)
    check_fit(generator, data)
    expected, generations = _expected_protocol(record), []
    for seed in SEEDS:
        scores, diversity = measure_generation(generator, evaluators, expected["samples"], seed, device)
        generations.append({"seed": seed, **scores})
    content = {
        "run": record["id"],
        "generator_sha256": record["files"][GENERATOR],
        "protocol": {
            **expected,
            "backbone_sha256": evaluators.network.sha256,
            "reference_sha256": data.sha256,
            "reference_images": evaluators.real.images,
            "is_splits": is_splits(expected["samples"]),
            "diversity": diversity.distance,
            "diversity_pairs_per_class": diversity.pairs_per_class,
            "diversity_seed": DIVERSITY_SEED,
            "classifier_sha256": evaluators.judge.sha256,
            "accuracy_classifier": evaluators.accuracy,
        },
        "generations": generations,
    }
    return measurements.write(study.results, f"runs/{record['id']}/{FILE}", content, began)


def read_generations(record: Record) -> Content | None:
    """`generations.json` of a run; None where it was not measured, or of other weights or in another way than now."""
    weights = record["files"][GENERATOR]
    content = measurements.read(record.directory, FILE, run=record["id"], generator_sha256=weights)
    same = content is not None and _expected_protocol(record).items() <= content["protocol"].items()
    return content if same else None


def _expected_protocol(record: Record) -> dict[str, Any]:
    """What the scores of a run's generations must have been taken with, as far as it is known beforehand.

    Not the weights of the networks that were trained for measuring: they differ between machines.
    """
    profile = record["config"]["profile"]
    judge = profile.get("judge")  # left out where it is None
    return {
        "version": VERSION,
        "backbone": profile["backbone"],
        "samples": samples_per_generation(profile["evaluation_samples"], profile["num_classes"]),
        "seeds": list(SEEDS),
        "reference": record["data"]["identity"],
        "classifier_epochs": profile["classifier_epochs"],
        **({} if judge is None else {"judge": judge}),
    }


_prepared = cache(get_judges)  # once per process


def ensure_generations(
    study: Study, records: Sequence[Record], device: str = "cpu", workers: int | None = None
) -> list[Content]:
    """Measure ten generations of the runs that lack them, in several processes at a time.

    Args:
        device: of the measuring. On a GPU one process does it all.
        workers: how many processes; None is one a core.

    Returns:
        `generations.json` of every run, in the given order.

    Raises:
        PpcdError: runs failed; the others were measured first.
    """
    if missing := [record for record in records if read_generations(record) is None]:
        with describe_stop(lambda: f"ten generations of {len(missing)} runs were stopped; those measured are kept"):
            _measure_in_processes(study, missing, resolve_device(device), workers)
    found = {record["id"]: read_generations(record) for record in records}
    if lost := [run for run, content in found.items() if content is None]:
        raise PpcdError(f"the ten generations of {', '.join(lost)} were not measured; the same command tries again")
    return [content for content in found.values() if content is not None]


def _measure_in_processes(study: Study, missing: Sequence[Record], device: str, workers: int | None = None) -> None:
    """Share the runs out to processes, each on one thread, and show in one line how many are measured."""
    workers = count_workers(workers, device) if device == "cpu" else 1
    progress, errors = Progress(len(missing)), []
    with separate_processes(min(workers, len(missing))) as pool, closing(progress):
        runs = {pool.submit(_measure_alone, study, record, device): record["id"] for record in missing}
        for done, future in enumerate(as_completed(runs), 1):
            try:
                future.result()
            except PpcdError as error:
                errors.append(f"{runs[future]}: {error}")
            progress.show(done, "ten generations of each run", "")
    if errors:
        raise PpcdError("; ".join(errors))


def _measure_alone(study: Study, record: Record, device: str) -> None:
    """In a separate process."""
    torch.set_num_threads(1)
    memory.keep_freed()  # as a training
    measure_generations(study, record, device)
