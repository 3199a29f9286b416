"""The PP-Res block (section 3.2; Figure 2, right), and how it becomes slim."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.masks import ChannelMask
from ppcd.method.narrow import narrow


class PPResBlock(nn.Module):
    """CBN-ReLU-up-conv3x3-CBN-[mask]-ReLU-conv3x3-[mask]-[1x1 transition], plus a 1x1 skip of up(x).

    The parts in brackets make a residual block of BigGAN a PP-Res block. The first mask follows the CBN, so that a
    pruned channel is exactly zero: conv1's filter, its CBN entries and conv2's input channel can go. The transition
    brings conv2's remaining channels back to the width of the block, so that slimming changes nothing outside it.

    Args:
        bn1, bn2: class-conditional batch norms, called with a feature map and the block's condition.
        conv1, conv2: 3x3 convolutions that keep the size.
        conv_sc: the 1x1 convolution of the skip.
        transition: a 1x1 convolution; None in a block that is not PP-Res.
        masked: with the two masks.
    """

    mask1: ChannelMask | None
    mask2: ChannelMask | None
    transition: nn.Conv2d | None
    bn1: Any
    bn2: Any

    def __init__(
        self,
        bn1: nn.Module,
        conv1: nn.Conv2d,
        bn2: nn.Module,
        conv2: nn.Conv2d,
        conv_sc: nn.Conv2d,
        transition: nn.Conv2d | None = None,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.bn1, self.conv1, self.bn2 = bn1, conv1, bn2
        self.mask1 = ChannelMask(conv1.out_channels) if masked else None
        self.conv2 = conv2
        self.mask2 = ChannelMask(conv2.out_channels) if masked else None
        self.transition = transition
        self.conv_sc = conv_sc

    def forward(
        self, x: Float[Tensor, "batch channel height width"], condition: Tensor
    ) -> Float[Tensor, "batch out_channel height2 width2"]:
        h = self.conv1(up(F.relu(self.bn1(x, condition))))
        h = self.bn2(h, condition)
        if self.mask1 is not None:
            h = self.mask1(h)
        h = self.conv2(F.relu(h))
        if self.mask2 is not None:
            h = self.mask2(h)
        if self.transition is not None:
            h = self.transition(h)
        return h + self.conv_sc(up(x))

    def slim(self, name: str, **options: Any) -> None:
        """Drop the masks and the channels that they have pruned (`name` is for the error, `options` of `narrow`)."""
        k1, k2 = kept(self.mask1, f"{name}.mask1"), kept(self.mask2, f"{name}.mask2")
        self.conv1 = narrow(self.conv1, k1, None, **options)
        self.bn2 = narrow(self.bn2, k1, None, **options)
        self.conv2 = narrow(self.conv2, k2, k1, **options)
        if self.transition is not None:
            self.transition = narrow(self.transition, None, k2, **options)
        self.mask1 = self.mask2 = None


def up(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height2 width2"]:
    """Twice the size, nearest."""
    return F.interpolate(x, scale_factor=2)


def kept(mask: ChannelMask | None, name: str) -> Tensor | None:
    """Indices of the channels that a frozen mask keeps; None without a mask: all."""
    if mask is None:
        return None
    if not mask.frozen:
        raise PpcdError(f"{name} has not frozen, so which channels go is not decided; train on, or mask.freeze(...)")
    return mask.indices


@dataclass(frozen=True)
class Branch:
    """The layers of a residual branch, by their names inside of the block ("conv1", "main.2").

    Args:
        conv1: the first convolution; its filters go where the first mask closes.
        norm: the norm that follows it, batch, instance or class-conditional; None where none does.
        conv2: the second convolution, whose output is added to the skip's.
        depthwise: depthwise convolutions between norm and conv2, where conv2 is a 1x1 convolution.
    """

    conv1: str
    norm: str | None
    conv2: str
    depthwise: tuple[str, ...] = ()


MASK, TRANSITION = "pp_res_mask", "pp_res_transition"


def attach(layer: nn.Module, mask: ChannelMask, transition: nn.Conv2d | None = None) -> None:
    """Let a mask follow a layer; after the second convolution the 1x1 transition too.

    They are modules of the layer, which stays where it is and what it is: a forward hook puts them to its output.
    """
    layer.add_module(MASK, mask)
    if transition is not None:
        layer.add_module(TRANSITION, transition)
    layer.register_forward_hook(masked_output)


def masked_output(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
    """The forward hook of `attach`."""
    h = layer.get_submodule(MASK)(output)
    return layer.get_submodule(TRANSITION)(h) if TRANSITION in layer._modules else h


def detach(layer: nn.Module) -> tuple[Any, Any]:
    """Undo `attach`; the mask and the transition, None where there was none."""
    for key, hook in list(layer._forward_hooks.items()):
        if hook is masked_output:
            del layer._forward_hooks[key]
    return layer._modules.pop(MASK), layer._modules.pop(TRANSITION, None)


def set_module(parent: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module at a place by its name."""
    *path, last = name.split(".")
    setattr(parent.get_submodule(".".join(path)), last, module)
