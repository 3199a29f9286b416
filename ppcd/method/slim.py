"""Slimming (section 3.2): masks gone, pruned channels physically gone, the same images.

The spectral norm is worked out before any channel goes, because removing channels would change it. A layer under
spectral norm and a class-conditional norm know how they become narrow (`narrowed`); torch's own layers are here.
"""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def slim(network: Network, *, for_training: bool = False) -> Network:
    """A copy that computes the same images with only the channels that its masks kept.

    Without masks it is the same network with the spectral norm worked into its weights. Outputs at evaluation
    agree to 1e-10 in float64 and 1e-4 in float32.

    Args:
        network: any that holds PP-Res blocks (every mask frozen) or none; it is not changed.
        for_training: keep the layers under spectral norm, with a scale each, so that training can go on.

    Returns:
        A network in evaluation mode, on the device and in the type of the given one.

    Raises:
        PpcdError: a mask has not frozen.
    """
    result = copy.deepcopy(network)
    done: set[nn.Module] = set()
    blocks: dict[str, Any] = {name: module for name, module in result.named_modules() if hasattr(module, "slim")}
    for name, block in blocks.items():
        block.slim(name, for_training=for_training)
        done |= {block.conv1, block.bn2, block.conv2, block.transition}
    _work_out(result, done, for_training)
    if callable(slimmed := getattr(result, "slimmed", None)):
        slimmed(for_training)
    return result.requires_grad_(True).eval()


def _work_out(module: nn.Module, done: set[nn.Module], for_training: bool) -> None:
    """Work the spectral norm into the layers that no block has made narrow."""
    for name, child in module.named_children():
        if child in done:
            continue
        if hasattr(child, "narrowed"):
            setattr(module, name, narrow(child, None, None, for_training=for_training))
        else:
            _work_out(child, done, for_training)


@torch.no_grad()
def narrow(layer: Any, rows: Tensor | None, columns: Tensor | None, *, for_training: bool = False) -> Any:
    """A copy of the layer with only these output channels (`rows`) and input channels (`columns`).

    Args:
        layer: a convolution, a linear layer, an embedding (rows are its classes, columns its channels), a batch norm
            (rows are its channels), or a layer that has a method `narrowed` of these arguments.
        rows, columns: indices, ascending; None: all.
        for_training: see `slim`.
    """
    if hasattr(layer, "narrowed"):
        return layer.narrowed(rows, columns, for_training)
    result = copy.deepcopy(layer)
    for name in ("bias", "running_mean", "running_var"):
        if getattr(layer, name, None) is not None:
            replace(result, name, select(getattr(layer, name), rows))
    set_weight(result, select(layer.weight, rows, columns))
    return result


def set_weight(layer: Any, weight: Tensor) -> None:
    """Give one of torch's layers another weight, of another shape."""
    replace(layer, "weight", weight)
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = weight.shape
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(weight)


def replace(layer: nn.Module, name: str, values: Tensor) -> None:
    """Set a parameter or a buffer to values of another shape."""
    values = values.detach().clone(memory_format=torch.contiguous_format)
    setattr(layer, name, nn.Parameter(values) if name in layer._parameters else values)


def select(values: Tensor, rows: Tensor | None, columns: Tensor | None = None) -> Tensor:
    """These rows and columns of a weight; None: all."""
    values = values if rows is None else values[rows]
    return values if columns is None else values[:, columns]
