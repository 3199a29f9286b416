"""A labelled set of images, in memory or in a store; pixels as bytes and as numbers."""

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ppcd.data.store import StoredImages


@dataclass(frozen=True)
class ImageSet:
    """A labelled set of images."""

    images: UInt8[Tensor, "n 3 resolution resolution"] | StoredImages  # in memory, or read when indexed
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]  # the name of each label
    identity: str  # what was asked for: goes into a run's hash
    sha256: str  # of the image bytes and the labels, what was really seen: image_hash or store.content_hash
    note: str  # what a reader of results must know ("JPEG source"), or ""

    def __len__(self) -> int:
        return len(self.labels)


def image_hash(images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n"]) -> str:
    """SHA-256 (64 hex) of the image bytes, followed by the labels as little-endian int64."""
    digest = hashlib.sha256(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().astype("<i8").data)
    return digest.hexdigest()


def to_float(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0..255 to [-1, 1] in float32."""
    return images.float() / 127.5 - 1


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """[-1, 1] to 0..255, rounded; what lies outside is clamped. The inverse of to_float."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
