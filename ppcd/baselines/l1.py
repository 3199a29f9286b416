"""Filter pruning by the l1 norm (Li et al., "Pruning filters for efficient convnets", ICLR 2017).

Section 3.1: a filter's importance is the sum of its absolute weights; the least important part of each layer is
removed from the trained network, once, and what is left is fine-tuned (3.4). Section 3.3, residual blocks: the first
convolution of a block is pruned freely; the second has to agree with the shortcut that it is added to, so both lose
the filters that are least important in the shortcut's 1x1 convolution, and the following block their input channels.

The paper gives no number of channels for a ratio. Here a layer of n filters loses as many as a mask layer of n
channels loses at that alpha (`ppcd.method.masks.channels_to_prune`), so that all methods keep the same number a
layer. The output of the first linear layer is no filter of a convolution and stays.
"""

from typing import cast

import torch
from torch import Tensor

from ppcd.baselines.channels import select_channels
from ppcd.method.masks import channels_to_prune
from ppcd.method.schedule import l1_norms
from ppcd.networks.generators import Generator
from ppcd.training.trainer import Trainer


def most_important(norms: Tensor, alpha: float) -> Tensor:
    """Indices, ascending, of the filters that stay when more than alpha of them go, the smallest norms first."""
    kept = len(norms) - channels_to_prune(len(norms), alpha)
    return norms.argsort(descending=True, stable=True)[:kept].sort().values


def prune_filters(generator: Generator, alpha: float, *, for_training: bool = False) -> Generator:
    """The network without the filters of the smallest l1 norm, alpha of each convolution in the residual blocks."""
    blocks = generator.residual_blocks()
    into = torch.arange(blocks[0].conv1.in_channels) if blocks else torch.arange(0)
    outputs = [most_important(l1_norms(block.conv_sc), alpha) for block in blocks]
    hidden = [most_important(l1_norms(block.conv1), alpha) for block in blocks]
    return select_channels(generator, [into.to(outputs[0]), *outputs], hidden, for_training=for_training)


class L1Trainer(Trainer):
    """Half of the iterations train the network, then it is pruned, the other half fine-tune it."""

    def switch(self) -> None:
        """Prune the trained network; its discriminator and the data's order go on."""
        before = self.generator.residual_blocks()
        pruned = prune_filters(self.generator, cast(float, self.recipe.alpha), for_training=True)
        for index, (old, new) in enumerate(zip(before, pruned.residual_blocks(), strict=True)):
            for name in ("conv1", "conv2"):
                row = {"layer": f"blocks.{index}.{name}", "channels": getattr(old, name).out_channels}
                row |= {"kept": getattr(new, name).out_channels, "frozen_at": self.iteration}
                self.mask_report.append(row | {"forced": 0, "rescued": 0})
        self._second_phase(pruned, "finetune")
