"""What is kept of real images so that generators can be scored without them: `results/<profile>/reference.safetensors`.

Mean and covariance of their features give the Fréchet distance. KID, precision and recall compare with the features of
single images, which would take 50 MB, and are not measured. All other scores look at the generated images alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from ppcd import paths
from ppcd.data.images import ImageSet
from ppcd.metrics.cache import Entry, pack, read_entry
from ppcd.metrics.moments import Statistics

FILE = "reference.safetensors"
STEPS = 2**15 - 1  # of the 16-bit integers, from 0 to 1


@dataclass(frozen=True, kw_only=True)
class Reference(ImageSet):
    """A set of real images that holds none of them."""

    dataset: str  # what profiles call it
    real: Statistics  # of their features, without the features of single images
    backbone: str
    backbone_sha256: str
    judge_accuracy: float  # of the judge of the labels on real images, in [0, 1]
    path: Path


def packed_reference(
    dataset: str, data: ImageSet, real: Statistics, backbone: str, backbone_sha256: str, judge_accuracy: float
) -> bytes:
    """The file of these images; `dataset` is what the profile calls them."""
    correlations, deviation = pack_covariance(real.sigma)
    notes = {
        "dataset": dataset,
        "identity": data.identity,
        "sha256": data.sha256,
        "note": data.note,
        "classes": json.dumps(data.classes),
        "resolution": str(data.images.shape[-1]),
        "images": str(real.images),
        "backbone": backbone,
        "backbone_sha256": backbone_sha256,
        "judge_accuracy": repr(judge_accuracy),
    }
    tensors = {"mean": real.mu.float(), "deviation": deviation, "correlations": correlations}
    return pack(Entry(tensors, notes))


def read_reference(path: Path) -> Reference | None:
    """What such a file holds; None where it is missing or damaged."""
    if (entry := read_entry(path)) is None:
        return None
    tensors, notes = entry.tensors, entry.notes
    sigma = unpack_covariance(tensors["correlations"], tensors["deviation"])
    resolution = int(notes["resolution"])
    return Reference(
        images=torch.empty(0, 3, resolution, resolution, dtype=torch.uint8),
        labels=torch.empty(0, dtype=torch.int64),
        classes=tuple(json.loads(notes["classes"])),
        dataset=notes["dataset"],
        identity=notes["identity"],
        sha256=notes["sha256"],
        note=notes["note"],
        real=Statistics(tensors["mean"].double(), sigma, torch.empty(0, len(sigma)), int(notes["images"])),
        backbone=notes["backbone"],
        backbone_sha256=notes["backbone_sha256"],
        judge_accuracy=float(notes["judge_accuracy"]),
        path=path,
    )


def find_reference(
    profile: str, dataset: str, resolution: int, backbone: str, identity: str | None
) -> Reference | None:
    """What a profile is measured with, its own file first; None where no file has it, here or in the reference.

    Without an identity it may be of any images of the data set.
    """
    folders = (paths.results("."), paths.reference("."))
    own = [folder / profile / FILE for folder in folders]
    for path in (*own, *(path for folder in folders for path in sorted(folder.glob(f"*/{FILE}")))):
        each = read_reference(path)
        if each is None or (each.dataset, each.images.shape[-1], each.backbone) != (dataset, resolution, backbone):
            continue
        if identity in (None, each.identity):
            return each
    return None


def pack_covariance(
    sigma: Float[Tensor, "feature feature"],
) -> tuple[Int16[Tensor, " triangle"], Float[Tensor, " feature"]]:
    """The upper triangle of the correlations in 16-bit integers, and the standard deviations.

    It takes half of what the covariance takes in single precision, and a Fréchet distance changes by about 1e-6 of it.
    """
    deviation = sigma.diagonal().sqrt().float()
    correlations = (sigma / torch.outer(deviation, deviation)).nan_to_num(0.0)  # of constant features
    rows, columns = torch.triu_indices(*sigma.shape)
    return (correlations[rows, columns] * STEPS).round().to(torch.int16), deviation


def unpack_covariance(
    correlations: Int16[Tensor, " triangle"], deviation: Float[Tensor, " feature"]
) -> Float[Tensor, "feature feature"]:
    """The covariance in double precision."""
    whole = torch.zeros(len(deviation), len(deviation), dtype=torch.float64)
    rows, columns = torch.triu_indices(*whole.shape)
    whole[rows, columns] = whole[columns, rows] = correlations.double() / STEPS
    return whole * torch.outer(deviation, deviation)
