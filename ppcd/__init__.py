"""ppcd: PPCD-GAN (arXiv 2203.08456), compression of large class-conditional GANs.

What is named here is imported when it is first used, so that `import ppcd` takes no time and touches nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ppcd.base import PpcdError as PpcdError
    from ppcd.export.onnx import export_onnx as export_onnx
    from ppcd.method.blocks import Branch as Branch
    from ppcd.method.compressor import Compressor as Compressor
    from ppcd.method.masks import ChannelMask as ChannelMask
    from ppcd.method.narrow import register_norm as register_norm
    from ppcd.method.prunable import prunable as prunable
    from ppcd.method.restore import load_slim as load_slim
    from ppcd.method.slim import slim as slim
    from ppcd.metrics.complexity import complexity as complexity
    from ppcd.networks.biggan_pytorch import biggan_pytorch_state_dict as biggan_pytorch_state_dict
    from ppcd.networks.biggan_pytorch import load_biggan_pytorch as load_biggan_pytorch
    from ppcd.networks.biggan_pytorch import load_biggan_pytorch_discriminator as load_biggan_pytorch_discriminator
    from ppcd.networks.biggan_pytorch import save_biggan_pytorch as save_biggan_pytorch
    from ppcd.networks.discriminators import build_discriminator as build_discriminator
    from ppcd.networks.generators import build_generator as build_generator
    from ppcd.networks.io import load_generator as load_generator
    from ppcd.networks.io import save_generator as save_generator

_HOME = {
    "Branch": "ppcd.method.blocks",
    "ChannelMask": "ppcd.method.masks",
    "Compressor": "ppcd.method.compressor",
    "PpcdError": "ppcd.base",
    "biggan_pytorch_state_dict": "ppcd.networks.biggan_pytorch",
    "build_discriminator": "ppcd.networks.discriminators",
    "build_generator": "ppcd.networks.generators",
    "complexity": "ppcd.metrics.complexity",
    "export_onnx": "ppcd.export.onnx",
    "load_biggan_pytorch": "ppcd.networks.biggan_pytorch",
    "load_biggan_pytorch_discriminator": "ppcd.networks.biggan_pytorch",
    "load_generator": "ppcd.networks.io",
    "load_slim": "ppcd.method.restore",
    "prunable": "ppcd.method.prunable",
    "register_norm": "ppcd.method.narrow",
    "save_biggan_pytorch": "ppcd.networks.biggan_pytorch",
    "save_generator": "ppcd.networks.io",
    "slim": "ppcd.method.slim",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ppcd' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
