"""Options of how a training computes: the same networks and the same steps, except for rounding.

`STRAIGHTFORWARD` is one operation after another; `make bench` measures each option alone and all of them together
against it. Runs record their profile, whose `fast` says which of `EXACT` and `FAST` they took.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.layers import Conditional
from ppcd.networks.resampling import Resampling

RECOMPILATIONS = 256  # all blocks of a kind share one code object, and a freezing mask changes a block's shapes


@dataclass(frozen=True)
class ComputeOptions:
    """Options of the computation.

    With `half_teacher` L_CD differs by less than 5e-4 of itself, its gradient's direction by 1 - cos < 2e-5 (three
    trained pairs of the mnist profile, 256 images each).
    """

    merged: bool = True  # a convolution next to a change of size is one convolution (`ppcd.networks.resampling`)
    boxed: bool = False  # such a convolution sums pixels instead of taps
    channels_last: bool = True  # layout of the convolutions' weights, which the feature maps then have too
    fused: bool | None = None  # Adam's, one kernel for all weights; None: torch's own choice
    shrink: bool = False  # channels that frozen masks have removed are not computed (`GeneratorBlock.shrink`)
    half_teacher: bool = False  # the teacher of L_CD computes in bf16 where the device has it in hardware
    grouped: bool = False  # spectral norms of equal shapes are computed together (`norms_together`)
    compiled: bool = False  # torch.compile on the residual blocks, measured by `make bench`, used by no training

    def of_teacher(self) -> "ComputeOptions":
        """For a frozen teacher: it has no backward pass, and sums of pixels pay only there."""
        return replace(self, boxed=False)

    def apply(self, network: nn.Module) -> None:
        """Let the network compute so; a compiled one compiles when it first runs."""
        for module in network.modules():
            if isinstance(module, Conditional):
                module.grouped = self.grouped
            if isinstance(module, Resampling):
                module.merged, module.boxed = self.merged, self.boxed
                if isinstance(module, GeneratorBlock):
                    module.shrink = self.shrink
                if self.compiled:
                    torch._dynamo.config.recompile_limit = RECOMPILATIONS
                    torch._dynamo.config.accumulated_recompile_limit = 4 * RECOMPILATIONS
                    module.compile(dynamic=False)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)


STRAIGHTFORWARD = ComputeOptions(merged=False, channels_last=False)
EXACT = ComputeOptions()  # of the profiles whose committed runs must come out again to the last bit
FAST = ComputeOptions(boxed=True, fused=True, shrink=True, half_teacher=True)
# What a profile's `fast` takes on a kind of device. CPU: the fastest measured (docs/speed.md). GPU: not run, so the
# CPU's; `make gpu-check` measures there what may take its place.
FASTEST = {"cpu": FAST, "cuda": FAST}


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bf16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
