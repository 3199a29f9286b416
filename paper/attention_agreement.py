"""How well a student's attention maps agree with the teacher's for the same noise, beyond what the class explains.

L_CD is small when a student has learnt the average map of each class and nothing of the image at hand. So the maps'
class averages are taken away, of teacher and student each, and what is left is correlated.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paper import measurements
from paper.measurements import Content
from paper.study import Study, generator_of, of_another_teacher
from ppcd.base import PpcdError
from ppcd.method.losses import normalized_map
from ppcd.method.teacher import Teacher
from ppcd.metrics.sampling import draw_noise, sample_labels
from ppcd.networks.generators import Generator
from ppcd.progress import say
from ppcd.records import GENERATOR, Record
from ppcd.runs import provenance
from ppcd.training.recipes import TEACHER

FILE = "following.json"
SAMPLES = 1000
BATCH = 100
NOISE_SEED = 2000  # no evaluation's


def _correlation(a: Tensor, b: Tensor) -> float:
    """sum(ab) / sqrt(sum(a^2) sum(b^2)); 0 where one of them is 0 everywhere."""
    size = torch.sqrt(a.square().sum() * b.square().sum()).item()
    return (a * b).sum().item() / size if size > 0 else 0.0


def _class_means(maps: Float[Tensor, "n pixel"], y: Int[Tensor, " n"]) -> Float[Tensor, "n pixel"]:
    """For each map the mean of its class's maps."""
    sums = maps.new_zeros(int(y.max()) + 1, maps.shape[1]).index_add_(0, y, maps)
    return (sums / torch.bincount(y)[:, None].clamp(min=1))[y]


def correlations(
    teacher: Float[Tensor, "n pixel"], student: Float[Tensor, "n pixel"], y: Int[Tensor, " n"]
) -> tuple[float, float]:
    """Of the maps of the same samples: within classes, and between the classes' means.

    Within: of the maps less the mean of their class. Between: of the classes' means less the mean of all. Both over all
    samples and pixels, in [-1, 1].

    Raises:
        PpcdError: no class has two of them.
    """
    if len(y) == 0 or torch.bincount(y).max() < 2:
        raise PpcdError("what is left beyond the class shows in classes of two samples or more; there is none")
    pair = [maps.double() for maps in (teacher, student)]
    means = [_class_means(maps, y) for maps in pair]
    within = _correlation(*(maps - mean for maps, mean in zip(pair, means, strict=True)))
    return within, _correlation(*(mean - mean.mean(0) for mean in means))


@torch.no_grad()
def measure_agreement(student: Generator, teacher: Teacher, samples: int = SAMPLES) -> list[dict[str, Any]]:
    """How well a generator's maps agree with a teacher's, of the blocks that L_CD compares.

    Args:
        student: in evaluation mode, of the teacher's classes and resolution, with at least as many noise entries.
        teacher: with the class-conditional normalisation under which its maps are looked at.

    Returns:
        for each block: block (from 1 on), pixels (of a side), within, between: see `correlations`.
    """
    z, y = draw_noise(samples, student.dim_z, NOISE_SEED), sample_labels(samples, student.num_classes)
    maps: list[list[tuple[Tensor, Tensor]]] = []
    for z_part, y_part in zip(z.split(BATCH), y.split(BATCH), strict=True):
        theirs, ours = teacher.features(z_part, y_part), student(z_part, y_part, return_features=True)[1][1:]
        maps.append([(normalized_map(a), normalized_map(b)) for a, b in zip(theirs, ours, strict=True)])
    found = []
    for number, parts in enumerate(zip(*maps, strict=True), start=1):
        of_teacher, of_student = (torch.cat(each) for each in zip(*parts, strict=True))
        within, between = correlations(of_teacher, of_student, y)
        side = round(of_teacher.shape[1] ** 0.5)
        found.append({"block": number, "pixels": side, "within": within, "between": between})
    return found


def ensure_agreement(study: Study, records: Sequence[Record]) -> dict[str, Content]:
    """Measure how the maps of these runs agree with those of the teacher of their seed, where that is not known.

    Of runs that had a teacher and of those that had none; of the teacher itself nothing. All are looked at under the
    teacher's class-conditional normalisation, whatever they were trained with. Written to following.json
    next to the runs.

    Returns:
        `runs` of the file: {id: generator_sha256, teacher, teacher_sha256, blocks (see `measure_agreement`)}.
    """
    began, known = provenance.collect("cpu"), _read(study.source)
    if study.source != study.results:
        return known  # the reference is only read
    runs = dict(known)
    teachers = {
        record["seed"]: (record, Teacher(generator_of(record), seed=record["seed"]))
        for record in replace(study, seeds=tuple({each["seed"] for each in records})).records(TEACHER)
    }
    for record in records:
        pair = teachers.get(record["seed"])
        # No teacher is compared with itself, and the blocks of Tiny-GAN have other sizes.
        if pair is None or record["config"]["recipe"]["generator"] in (TEACHER, "tinygan"):
            continue
        teacher, network = pair
        if of_another_teacher([teacher, record]):
            continue
        about = {
            "generator_sha256": record["files"][GENERATOR],
            "teacher": teacher["id"],
            "teacher_sha256": teacher["files"][GENERATOR],
        }
        if about.items() <= known.get(record["id"], {}).items():
            continue
        if runs == known:
            say("attention maps of students and teachers")
        runs[record["id"]] = {**about, "blocks": measure_agreement(generator_of(record), network, SAMPLES)}
    if runs != known:
        protocol = {"samples": SAMPLES, "seed": NOISE_SEED, "normalisation": "teacher"}
        measurements.write(study.results, FILE, {"protocol": protocol, "runs": runs}, began)
    return runs


def read_agreement(record: Record) -> list[dict[str, Any]] | None:
    """The blocks of a run; None where it was not measured, or with other weights."""
    found = measurements.of_run(_read(record.source), record)
    return found["blocks"] if found else None


def _read(folder: Path) -> dict[str, Content]:
    """The `runs` of following.json; {} where it is missing or damaged."""
    content = measurements.read(folder, FILE)
    return content["runs"] if content else {}
