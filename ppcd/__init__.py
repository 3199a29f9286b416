"""ppcd: PPCD-GAN (arXiv 2203.08456), compression of large class-conditional GANs.

What is named here is imported when it is first used, so that `import ppcd` takes no time and touches nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ppcd.base import PpcdError
    from ppcd.export.onnx import export_onnx
    from ppcd.method.blocks import Branch
    from ppcd.method.compressor import Compressor
    from ppcd.method.masks import ChannelMask
    from ppcd.method.narrow import register_norm
    from ppcd.method.prunable import prunable
    from ppcd.method.restore import load_slim
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

__all__ = [
    "Branch",
    "ChannelMask",
    "Compressor",
    "PpcdError",
    "biggan_pytorch_state_dict",
    "build_discriminator",
    "build_generator",
    "complexity",
    "export_onnx",
    "load_biggan_pytorch",
    "load_biggan_pytorch_discriminator",
    "load_generator",
    "load_slim",
    "prunable",
    "register_norm",
    "save_biggan_pytorch",
    "save_generator",
    "slim",
]

_MODULES = {
    "ppcd.base": ("PpcdError",),
    "ppcd.export.onnx": ("export_onnx",),
    "ppcd.networks.biggan_pytorch": (
        "biggan_pytorch_state_dict",
        "load_biggan_pytorch",
        "load_biggan_pytorch_discriminator",
        "save_biggan_pytorch",
    ),
    "ppcd.networks.io": ("load_generator", "save_generator"),
    "ppcd.networks.discriminators": ("build_discriminator",),
    "ppcd.networks.generators": ("build_generator",),
    "ppcd.method.blocks": ("Branch",),
    "ppcd.method.compressor": ("Compressor",),
    "ppcd.method.masks": ("ChannelMask",),
    "ppcd.method.narrow": ("register_norm",),
    "ppcd.method.prunable": ("prunable",),
    "ppcd.method.restore": ("load_slim",),
    "ppcd.method.slim": ("slim",),
    "ppcd.metrics.complexity": ("complexity",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ppcd' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
