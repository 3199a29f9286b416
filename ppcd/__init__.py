"""ppcd: PPCD-GAN (arXiv 2203.08456), compression of large class-conditional GANs."""

from ppcd import stopping as _stopping  # noqa: F401 (first: the rest takes seconds, in which Ctrl-C is to be heard)
from ppcd.base import PpcdError
from ppcd.method.slim import slim
from ppcd.metrics.complexity import complexity
from ppcd.networks.biggan_pytorch import (
    biggan_pytorch_state_dict,
    load_biggan_pytorch,
    load_biggan_pytorch_discriminator,
    save_biggan_pytorch,
)
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import build_generator
from ppcd.networks.io import load_generator, save_generator

__version__ = "0.1.0"

__all__ = [
    "PpcdError",
    "biggan_pytorch_state_dict",
    "build_discriminator",
    "build_generator",
    "complexity",
    "load_biggan_pytorch",
    "load_biggan_pytorch_discriminator",
    "load_generator",
    "save_biggan_pytorch",
    "save_generator",
    "slim",
]
