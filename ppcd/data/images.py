"""A labelled set of images; pixels as bytes and as numbers."""

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """A labelled set of images."""

    images: UInt8[Tensor, "n 3 resolution resolution"]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]  # the name of each label
    identity: str  # what was asked for: goes into a run's hash
    sha256: str  # of the image bytes and the labels, what was really seen: image_hash or Archive.sha256
    note: str  # what a reader of results must know ("JPEG source"), or ""
    mapped: bool = False  # the images are a file's, too large for memory: read when indexed, never moved as a whole

    def __len__(self) -> int:
        return len(self.labels)


def image_hash(images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n"]) -> str:
    """SHA-256 (64 hex) of the image bytes, followed by the labels as little-endian int64."""
    digest = hashlib.sha256(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().astype("<i8").data)
    return digest.hexdigest()


def to_float(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0..255 to [-1, 1] in float32."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """[-1, 1] to 0..255, rounded; what lies outside is clamped. The inverse of to_float."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
